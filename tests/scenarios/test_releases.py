"""A track is throttled in its first week: one alert, the same whatever the batches."""

from __future__ import annotations

from functools import cache, partial

import pytest

from models.records import Window
from models.releases import HOURS, release_name
from tests.support.pipeline import Pipeline, Results, Schedule, Tally, at_once, shipped_steps
from tests.support.plays import HOUR
from tests.support.released import (
    END,
    FOLLOWED,
    NEW,
    RULES,
    SERIES,
    THROTTLED,
    closing,
    end_markers,
    records,
    releases,
)
from tests.support.same import assert_same


def run(schedule: Schedule, tally: Tally | None = None) -> Results:
    pipeline = Pipeline(shipped_steps(SERIES, RULES, ("demo",), tally), END + 48 * HOUR)
    both = records() + records("replay", seed=2)
    pipeline.send("plays", sorted(both, key=lambda s: s.at))
    pipeline.send("plays", closing() + end_markers())
    pipeline.run(schedule)
    return pipeline.results()


reference = cache(partial(at_once, run))


def week(found: Results, track: str, stream: str) -> list[Window]:
    name = release_name(track, releases()[track])
    return found.windows_of(f"demo|metric:release:plays{{release={name}}}", stream)


@pytest.mark.parametrize("stream", ["live", "replay"])
def test_a_throttled_track_is_alerted_and_its_twin_is_not(stream):
    found, _ = reference()
    mine = [
        a for a in found.alerts.values()
        if a.rule == "course" and a.stream == stream and a.started_at < NEW + 24 * HOUR
    ]  # fmt: skip
    fired, resolved = sorted(mine, key=lambda a: a.revision)
    assert fired.series == "demo|release:plays{release=new-0@2026-01-08T08:30Z}"
    assert (fired.kind, fired.state, resolved.state) == ("release", "firing", "resolved")
    assert fired.started_at == NEW + THROTTLED[0] * HOUR
    assert fired.fired_at == NEW + (THROTTLED[0] + 2) * HOUR
    assert resolved.resolved_at == NEW + (THROTTLED[-1] + 3) * HOUR
    assert fired.reason.startswith("plays of new-0 in its 14th hour are ")
    assert " as releases go, for 2 h: a dip, one in " in fired.reason


@pytest.mark.parametrize("stream", ["live", "replay"])
def test_every_hour_of_a_first_week_is_judged_once(stream):
    found, _ = reference()
    for track, begin in releases().items():
        windows = week(found, track, stream)
        hours = HOURS if track.startswith("past") else FOLLOWED + 1
        assert [w.start for w in windows[:hours]] == [
            begin - begin % HOUR + h * HOUR for h in range(hours)
        ]
        learning = [w.values["value"].learning for w in windows]
        assert learning[:-1] == [track.startswith("past")] * (len(windows) - 1)
    plain = {
        (w.group, w.start): w.count for w in found.first.values() if w.stream == stream
    }  # fmt: skip
    for window in week(found, "past-3", stream):
        tags = window.group.partition("{")[2]
        assert plain["demo|release{" + tags, window.start] == window.count


def test_nothing_is_dropped_and_releases_take_no_room():
    _, tally = reference()
    assert not [key for key in tally.counts if key[0] in {"releases", "groups_refused"}]


@pytest.mark.parametrize("seed", range(1, 9))
def test_batches_restarts_and_interleaving_change_nothing(seed):
    schedule = Schedule(
        seed, (7, 100, 1_000), (0.01, 0.3, 1.0)[seed % 3], restarts=0.1 * (seed % 2), tick=100
    )
    tally = Tally()
    assert_same(run(schedule, tally), reference()[0])
