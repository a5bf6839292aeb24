"""Releases by name: a track, and the minute it came out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decoding import decode_plays
from models.events import YEAR_2000, YEAR_10000
from models.releases import HOUR, HOURS, parse_release, release_at
from tests.tables.ingest_bed import play

AT = 1_795_737_600_000
"""2026-11-27 00:00 UTC."""


def test_a_release_is_called_by_its_track_and_minute():
    assert release_at("t42", AT, AT) == "t42@2026-11-27T00:00Z"
    assert release_at("t42", AT + 59_999, AT + HOUR) == "t42@2026-11-27T00:00Z"


@pytest.mark.parametrize(
    ("age", "is_in"),
    [(-1, False), (0, True), (HOURS * HOUR - 1, True), (HOURS * HOUR, False), (-HOUR, False)],
)
def test_only_its_first_week_counts(age, is_in):
    assert (release_at("t42", AT + 30_000, AT + age) is not None) == is_in


@given(track=st.text(min_size=1), at=st.integers(YEAR_2000, YEAR_10000 - 1))
def test_a_name_gives_back_what_it_was_made_of(track, at):
    assert parse_release(release_at(track, at, at)) == (track, at - at % 60_000)


@pytest.mark.parametrize("text", ["", "t42", "t42@", "@", "t42@noon", "2026-11-27T00:00Z@t42"])
def test_another_text_is_no_release(text):
    assert parse_release(text) is None


@pytest.mark.parametrize(
    "released", ["1985-03-01T00:00:00Z", "1970-01-26T00:00:00Z", "0001-01-01T00:00:00+14:00",
                 478_483_200_000, -315_619_200_000, 478_483_200_000.0],
)  # fmt: skip
def test_an_old_track_has_no_first_week_and_its_plays_count(released):
    assert decode_plays([play(AT, released_at=released)]) == decode_plays([play(AT)])
