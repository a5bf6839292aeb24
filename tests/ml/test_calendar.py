"""Kinds of days: what the calendar says of an instant, and what it refuses."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.calendar import Calendar
from models.detection import CalendarSpec, parse_calendar
from models.errors import ConfigurationError


def utc(*parts):
    return int(dt.datetime(*parts, tzinfo=dt.UTC).timestamp() * 1000)


def calendar(**keys):
    return Calendar(parse_calendar({"timezone": "Europe/Paris"} | keys))


FRIDAYS = {"name": "release day", "start": dt.date(2026, 1, 2), "weekly": True}


def test_a_holiday_begins_and_ends_at_local_midnight():
    paris = calendar(countries=["FR"])

    assert paris.context(utc(2026, 7, 13, 21, 59)) == "ordinary"
    assert paris.context(utc(2026, 7, 13, 22, 0)) == "holiday"
    assert paris.context(utc(2026, 7, 14, 21, 59)) == "holiday"
    assert paris.context(utc(2026, 7, 14, 22, 0)) == "ordinary"


def test_a_country_has_its_own_holidays_and_a_total_those_of_all():
    both = calendar(countries=["FR", "DE"])
    bastille, unity = utc(2026, 7, 14, 12), utc(2026, 10, 3, 12)

    assert [both.context(bastille, country=c) for c in (None, "FR", "DE", "US")] == [
        "holiday", "holiday", "ordinary", "ordinary",
    ]  # fmt: skip
    assert [both.context(unity, country=c) for c in (None, "FR", "DE")] == [
        "holiday", "ordinary", "holiday",
    ]  # fmt: skip


def test_a_weekly_event_comes_every_week_from_its_first_on_also_across_summer_time():
    fridays = calendar(events=[FRIDAYS])

    assert fridays.context(utc(2025, 12, 26, 12)) == "ordinary"
    assert fridays.context(utc(2026, 1, 9, 12)) == "release day"
    assert fridays.context(utc(2026, 1, 10, 12)) == "ordinary"
    assert fridays.context(utc(2026, 7, 2, 22, 30)) == "release day"  # half past midnight in Paris
    assert fridays.context(utc(2026, 7, 3, 22, 30)) == "ordinary"


def test_hours_are_told_apart_and_a_tenants_events_are_its_own():
    event = {
        "name": "campaign", "tenant": "demo",
        "start": dt.datetime.fromisoformat("2026-03-02T09:00:00"), "end": dt.datetime.fromisoformat("2026-03-02T18:30:00"),
    }  # fmt: skip
    ours = calendar(events=[event])

    assert ours.context(utc(2026, 3, 2, 7, 45), "demo") == "ordinary"
    assert ours.context(utc(2026, 3, 2, 8, 0), "demo") == "campaign"
    assert ours.context(utc(2026, 3, 2, 17, 29), "demo") == "campaign"
    assert ours.context(utc(2026, 3, 2, 17, 30), "demo") == "ordinary"
    assert ours.context(utc(2026, 3, 2, 12), "acme") == "ordinary"


def test_an_event_comes_before_a_holiday_and_the_first_before_the_second():
    second = FRIDAYS | {"name": "quiet friday"}
    mixed = calendar(countries=["FR"], events=[FRIDAYS, second])

    assert mixed.context(utc(2026, 5, 1, 12)) == "release day"  # 1 May is a Friday


def test_dates_are_whole_days_and_the_last_is_included():
    sale = {"name": "sale", "start": dt.date(2026, 3, 2), "end": dt.date(2026, 3, 4)}

    assert calendar(events=[sale]).context(utc(2026, 3, 4, 22, 45)) == "sale"
    assert calendar(events=[sale]).context(utc(2026, 3, 4, 23, 0)) == "ordinary"


@given(at=st.integers(0, 4_102_444_800_000))
def test_a_calendar_of_nothing_knows_only_ordinary_days(at):
    assert Calendar(CalendarSpec("Asia/Kathmandu")).context(at) == "ordinary"


@given(at=st.integers(0, 4_000_000_000_000), later=st.integers(0, 899_999))
def test_what_is_remembered_of_a_quarter_holds_for_all_of_it(at, later):
    at -= at % 900_000
    one, other = calendar(events=[FRIDAYS]), calendar(events=[FRIDAYS])

    assert one.context(at) == other.context(at + later)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"timezone": "Paris"}, "'Paris' is not known"),
        ({"timezone": "../Paris"}, "is not known"),
        ({"countries": ["XX"]}, "'XX'"),
        ({"countries": ["FRA"]}, "'FRA'"),
        ({"holidays": []}, "holidays"),
        ({"events": [{"name": "x", "start": "2026-01-02"}]}, "neither a date"),
        ({"events": [{"name": "x", "start": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)}]}, "offset"),
        ({"events": [{"name": " ", "start": dt.date(2026, 1, 2)}]}, "neither empty"),
        ({"events": [{"name": "ordinary", "start": dt.date(2026, 1, 2)}]}, "ordinary"),
        ({"events": [FRIDAYS | {"end": dt.date(2026, 1, 1)}]}, "must be later"),
        ({"events": [FRIDAYS | {"end": dt.date(2026, 1, 9)}]}, "longer than a week"),
        ({"events": [FRIDAYS | {"color": "red"}]}, "color"),
        ({"timezone": None}, "str"),
    ],
)
def test_what_cannot_be_a_calendar_is_refused(keys, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        calendar(**keys)


def test_the_kinds_are_those_that_can_come():
    assert calendar().kinds == frozenset()
    assert calendar(countries=["FR"], events=[FRIDAYS]).kinds == {"holiday", "release day"}


def test_without_the_table_there_is_no_calendar():
    assert parse_calendar(None) is None
