"""Times and durations as clients write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from api.services.stream import format_id, parse_id
from api.times import (
    SizeParam,
    SpanParam,
    TimeParam,
    format_time,
    parse_size,
    parse_span,
    parse_time,
)

LAST = 253_402_300_799_999
MOMENT = 1_767_323_045_678


@given(st.integers(0, LAST))
def test_times_survive_a_round_trip(ms):
    assert parse_time(format_time(ms)) == ms
    assert parse_time(str(ms)) == ms


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05.678Z",
        "2026-01-02T03:04:05.678+00:00",
        "2026-01-02T04:04:05.678+01:00",
        "2026-01-02T04:04:05.678 01:00",  # a + that nobody escaped
        "2026-01-01T19:04:05.678-08:00",
        "2026-01-02 03:04:05.678Z",
        str(MOMENT),
        MOMENT,
    ],
)
def test_ways_to_write_one_moment(text):
    assert parse_time(text) == MOMENT


@pytest.mark.parametrize(
    "text", ["", "now", "-1", "1e3", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z",
             "²", "99999999999999999999", None, 1.5],
)  # fmt: skip
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match="neither RFC 3339"):
        parse_time(text)


@pytest.mark.parametrize(
    "text",
    ["1969-12-31T23:59:59.999Z", "1900-01-01T00:00:00Z", "1970-01-01T00:30:00+01:00",
     "9999-12-31T23:59:59-01:00"],
)  # fmt: skip
def test_a_time_that_no_answer_could_tell_is_none(text):
    with pytest.raises(ValueError, match="is not between 1970 and 9999"):
        parse_time(text)


def test_a_number_with_more_digits_than_python_reads_is_no_time():
    with pytest.raises(ValueError, match="neither RFC 3339"):
        parse_time("9" * 5_000)


def test_times_beyond_the_calendar_become_its_ends():
    assert format_time(-5) == "1970-01-01T00:00:00.000Z"
    assert format_time(LAST + 10) == "9999-12-31T23:59:59.999Z"


@pytest.mark.parametrize(("text", "ms"), [("10s", 10_000), ("1h30m", 5_400_000), ("250", 250)])
def test_durations(text, ms):
    assert parse_span(text) == ms
    assert parse_size(text) == ms


@pytest.mark.parametrize("text", ["", "0", "0s", "-1s", "fast", "10 parsecs"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="duration"):
        parse_span(text)


def test_parameters_say_what_they_take():
    for kind in (TimeParam, SpanParam, SizeParam):
        assert "description" in TypeAdapter(kind).json_schema()
    assert TypeAdapter(SizeParam).validate_python("detect") == "detect"


@given(
    st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True),
    st.dictionaries(st.integers(0, 1023), st.integers(-1, 2**62)),
)
def test_ids_survive_a_round_trip(cluster, vector):
    assert parse_id(format_id(cluster, vector)) == (cluster, vector)


@given(st.text())
def test_no_text_breaks_the_reading_of_an_id(text):
    found = parse_id(text)
    assert found is None or parse_id(format_id(*found)) == found
