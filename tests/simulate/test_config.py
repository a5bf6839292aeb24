import pytest

from simulate.config import SimulationConfig
from simulate.incidents import Incident, late_batch, live, past

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0}, "rate is 0; it must be more than 0"),
        ({"listeners": 0}, "listeners is 0"),
        ({"tracks": 10, "artists": 11}, "11 artists cannot each have one of only 10 tracks"),
        ({"garbage": 1.0}, "garbage is 1.0; it is a share"),
        ({"incidents": (Incident("x", "silence", 5, 5, "ios"),)}, "'x' ends at 5"),
        ({"incidents": (Incident("x", "release", 5, 6),)}, "'x' of kind release names no platform"),
        ({"incidents": (late_batch("x", 0, 5, 9, 9),)}, "0 < youngest < oldest, not 9 and 9"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        SimulationConfig(**changes)


def test_the_first_live_incident_is_a_release_fifteen_seconds_in():
    first = min(live(1_000_000, 3), key=lambda i: i.start)
    assert (first.kind, first.start, first.platform, first.country) == (
        *("release", 1_015_000),
        *("ios", "FR"),
    )


def test_incidents_have_unique_ids_and_the_past_ones_end_before_now():
    now = 1_790_000_000_000
    both = [*past(now, 6 * HOUR), *live(now, 48)]
    assert len({i.id for i in both}) == len(both)
    assert all(now - 6 * HOUR < i.start < i.end < now for i in past(now, 6 * HOUR))


def test_a_short_history_has_no_incidents():
    assert past(1_790_000_000_000, HOUR // 4) == []
