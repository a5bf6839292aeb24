"""Tracks in their first week: what is judged, learned, left out, and the same in any order."""

from __future__ import annotations

import math
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.attributing import HELD, AttributionConfig
from agents.evidence import hour_output
from agents.judging import RuleBook
from agents.releases import CURVES, RELEASE_STORES, TRACKS, WEEKS, ReleasesConfig, Track
from alerts.rules import parse_rule
from ml.release import LEAST, ReleaseCurve
from models.config import parse_series_config
from models.errors import StateError
from models.evidence import Hour, Passed, decode_testimony
from models.records import Value, Window, decode_finding, decode_window
from models.releases import HOUR, HOURS, WEEK, release_name
from tables.watermarks import END_OF_TIME
from tests.support import released
from tests.support.evidence_step import EvidenceStep

T0 = 1_767_225_600_000
PARTITIONS = 3
SERIES = parse_series_config(released.SERIES)
RULE = {"id": "course", "when": "release(plays) >= 3 for 2h", "severity": "page"}


class Step(EvidenceStep):
    """The step with rules on releases, and what it made."""

    def __init__(self, limit: int = 100, rules=(RULE,)) -> None:
        super().__init__()
        self.windows, self.findings, self.letters = [], [], []
        book = RuleBook([parse_rule(rule, SERIES) for rule in rules])
        self.config = AttributionConfig(PARTITIONS, self, None, ReleasesConfig(limit, book, self))

    def take(self, *told):
        """Fold what is told; the windows that it brought."""
        outputs = self.fold(told)
        made = [decode_window(o.value) for o in outputs if o.topic == "windows"]
        self.windows += made
        self.findings += [decode_finding(o.value) for o in outputs if o.topic == "findings"]
        self.letters += [o for o in outputs if o.topic == "dead-letters"]
        return made

    def kept(self, spec=TRACKS) -> dict[str, bytes]:
        return {key: spec.encode(value) for key, value in self.state[spec.name].items()}


def told(track: str, hour: int, plays: float, begin=T0, partition=0, stream="live", **more):
    name = release_name(track, begin)
    counts = {"plays": plays} | more
    return Hour("acme", stream, partition, name, hour, begin + hour * HOUR, counts)


def passed(hour: float, *partitions: int, stream="live") -> list[Passed]:
    at = int(T0 + hour * HOUR) if hour < math.inf else END_OF_TIME
    return [Passed("acme", stream, n, at) for n in partitions or range(PARTITIONS)]


def usual(hour: int, draw: random.Random, size: float = 400) -> int:
    return round(size * math.exp(-hour / 40) * math.exp(draw.gauss(0, 0.1))) + 20


def taught(step: Step, tracks: int = 8) -> None:
    """Past releases, an hour's judgement at a time; their weeks are over."""
    draw = random.Random(3)
    for hour in range(HOURS):
        hours = [told(f"p{i}", hour, usual(hour, draw, 100 * (i + 1))) for i in range(tracks)]
        step.take(*hours, *passed(hour + 1))
    step.windows.clear()


def follow(step: Step, hours: int, begin: int, change=None) -> None:
    draw = random.Random(8)
    first = (begin - T0) / HOUR
    for hour in range(hours):
        plays = usual(hour, draw)
        plays = (change or {}).get(hour, lambda n: n)(plays)
        step.take(told("t42", hour, plays, begin), *passed(first + hour + 1))


NEW = T0 + WEEK + HOUR


def test_a_track_that_is_throttled_is_an_alert_in_words():
    step = Step()
    taught(step)
    assert not step.findings
    follow(step, 40, NEW, {h: lambda n: n // 5 for h in (30, 31, 32)})
    pending, firing, resolved = step.findings
    assert (pending.state, firing.state, resolved.state) == ("pending", "firing", "resolved")
    assert (firing.kind, firing.measure, firing.at) == ("release", "plays", NEW + 32 * HOUR)
    assert firing.series == "acme|release:plays{release=t42@2026-01-08T01:00Z}"
    assert firing.tags == {"release": "t42@2026-01-08T01:00Z"}
    band = f"{firing.low:,.0f}–{firing.high:,.0f}"
    assert firing.reason.startswith(
        f"plays of t42 in its 32nd hour are {firing.value:g}, expected {band} as releases go, for 2 h"
        ": a dip, one in "
    )
    assert firing.reason.endswith(" of releases' hours")
    assert resolved.reason.startswith("plays of t42 in its 35th hour are ")
    assert firing.score >= 3


def test_a_direction_asks_for_that_side_of_the_band():
    step = Step(rules=[RULE | {"when": "release(plays) >= 3 up"}])
    taught(step)
    follow(step, 40, NEW, {20: lambda n: n // 5, 30: lambda n: n * 5})
    firing = step.findings[0]
    assert (firing.state, firing.window_start) == ("firing", NEW + 30 * HOUR)


def test_every_hour_is_a_window_of_a_series_of_its_own():
    step = Step()
    taught(step)
    follow(step, 3, NEW)
    assert [w.start for w in step.windows] == [NEW + h * HOUR for h in range(3)]
    window = step.windows[1]
    assert window.group == "acme|metric:release:plays{release=t42@2026-01-08T01:00Z}"
    assert (window.size, window.slide) == (HOUR, HOUR)
    value = window.values["value"]
    assert value.low < value.value < value.high
    assert value.score < 3


def test_a_series_begins_its_hours_with_the_clock_and_alerts_with_the_release():
    """Stores keep windows of an hour by the whole hours they begin in."""
    step = Step()
    taught(step)
    follow(step, 14, NEW + HOUR // 2, {h: lambda n: n // 5 for h in (12, 13)})
    assert [w.start for w in step.windows] == [NEW + h * HOUR for h in range(14)]
    assert step.findings[0].window_start == NEW + HOUR // 2 + 12 * HOUR


def test_nothing_is_said_until_five_weeks_were_learned():
    for tracks, learns in ((LEAST - 1, True), (LEAST, False)):
        step = Step()
        taught(step, tracks)
        follow(step, 1, NEW)
        assert step.windows[0].values["value"].learning == learns


def test_a_week_is_learned_when_it_is_over_and_its_track_forgotten():
    step = Step()
    taught(step, 2)
    assert not step.state[TRACKS.name]
    assert not step.state[WEEKS.name]
    (curve,) = step.state[CURVES.name].values()
    assert curve.typical(0) is not None
    assert curve.typical(HOURS - 1) is not None


def test_an_hour_is_judged_by_the_weeks_that_were_over_before_it():
    """A week that ends with the hour is not known to it, whatever was passed at once."""
    step = Step()
    taught(step, LEAST - 1)
    begin = NEW + HOUR
    for hour in range(HOURS):
        step.take(told("late", hour, 50 + hour, NEW), *passed(HOURS + hour + 2))
    step.windows.clear()
    other = Step()
    other.state = {k: dict(v) for k, v in step.state.items()}
    assert all(c.typical(0) for c in step.state[CURVES.name].values())
    step.take(told("t", 0, 9, begin + WEEK - HOUR), *passed(2 * HOURS + 3))
    assert not step.windows[0].values["value"].learning


def test_an_incident_ends_with_the_week():
    step = Step()
    taught(step)
    follow(step, HOURS, NEW, {h: lambda n: n // 5 for h in range(160, 169)})
    last = step.findings[-1]
    assert (last.state, last.at) == ("resolved", NEW + WEEK)
    assert last.reason == "plays of t42: its first week is over"
    assert not step.state[TRACKS.name]


def test_a_stream_that_ends_takes_all_that_is_known_with_it():
    step = Step()
    taught(step)
    follow(step, 40, NEW, {h: lambda n: n // 5 for h in range(35, 40)})
    step.take(*passed(math.inf))
    last = step.findings[-1]
    assert (last.state, last.reason) == ("resolved", "plays of t42: the stream has ended")
    assert last.at == NEW + 40 * HOUR
    assert not any(step.state[spec.name] for spec in RELEASE_STORES)


def test_an_incident_of_a_track_that_stays_silent_goes_on_until_it_is_played_or_its_week_over():
    """24 hours of nought are told; after that the windows step has nothing to tell."""
    for again, until in ((70, 70 * HOUR), (0, WEEK)):
        step = Step()
        taught(step)
        follow(step, 54, NEW, {h: lambda _: 0 for h in range(30, 54)})
        if again:
            step.take(told("t42", again, 80, NEW), *passed(HOURS + 1 + again + 1))
        step.take(*passed(HOURS + 1 + HOURS))
        assert [f.state for f in step.findings] == ["pending", "firing", "resolved"]
        assert step.findings[-1].at == NEW + until + (HOUR if again else 0)


def test_hours_of_which_nothing_was_told_are_not_known_and_not_nought():
    step = Step()
    taught(step)
    step.take(told("t42", 0, 400, NEW), *passed(HOURS + 2))
    step.take(told("t42", 5, 350, NEW), *passed(HOURS + 7))
    (track,) = step.state[TRACKS.name].values()
    assert track.counts == [400, None, None, None, None, 350]
    step.take(*passed(3 * HOURS))
    (curve,) = step.state[CURVES.name].values()
    assert [int(curve._seen[h]) for h in (0, 1, 5, 6)] == [9, 8, 9, 8]


def test_tracks_are_bounded_a_tenant_by_event_time_and_name():
    for names in (("a", "b", "c"), ("c", "b", "a")):
        step = Step(limit=2)
        step.take(*(told(name, 0, 5) for name in names), *passed(1))
        step.take(*(told(name, 1, 5) for name in names), *passed(2))
        assert {w.group.partition("=")[2][0] for w in step.windows} == {"a", "b"}
        assert step.counted == {"releases over_limit": 2}
        step.take(*passed(HOURS))
        step.take(told("d", 0, 5, T0 + WEEK), *passed(HOURS + 1))
        assert len(step.windows) == 5


def test_an_hour_that_is_told_again_is_counted_and_left_out():
    step = Step()
    step.take(told("a", 3, 5), *passed(4))
    assert step.take(told("a", 3, 7), *passed(5)) == []
    assert step.counted == {"releases repeated": 1}


def test_measures_are_judged_apart():
    step = Step()
    step.take(told("a", 0, 5, listeners=3), *passed(1))
    assert [w.group.split("{")[0] for w in step.windows] == [
        "acme|metric:release:listeners", "acme|metric:release:plays",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"hour": -1}, {"hour": HOURS}, {"counts": {"plays": -1.0}},
     {"counts": {"plays": math.inf}}, {"counts": {"plays": math.nan}}, {"counts": {"plays": "x"}}],
)  # fmt: skip
def test_what_cannot_be_is_a_dead_letter(change):
    step = Step()
    step.take(msgspec.structs.replace(told("a", 0, 5), **change), *passed(1))
    assert len(step.letters) == 1
    assert step.counted == {"evidence undecodable": 1}
    assert not step.windows


def test_state_of_another_version_is_refused_and_a_foreign_curve_begins_anew(caplog):
    step = Step()
    step.take(told("a", 0, 5), *passed(1))
    (state,) = step.kept().values()
    saved = msgspec.msgpack.decode(state)
    for damaged in ([*saved[:3], [9, 9]], saved[0], "x"):
        with pytest.raises(StateError):
            TRACKS.decode(msgspec.msgpack.encode(damaged))
    curve = ReleaseCurve()
    curve.learn([5.0])
    foreign = msgspec.msgpack.decode(curve.dump())
    for bad in (msgspec.msgpack.encode(["release/9", *foreign[1:]]), b"\xc1"):
        assert CURVES.decode(bad).typical(0) is None
    assert "release curve begins anew" in caplog.text


def test_what_was_held_before_releases_were_judged_can_be_read():
    old = msgspec.msgpack.encode([{0: T0}, {}, {}])
    assert HELD.decode(old).furthest < T0


def test_nothing_is_kept_where_releases_are_not_judged():
    step = Step()
    step.config = AttributionConfig(PARTITIONS, step)
    assert step.take(told("a", 0, 5), *passed(1)) == []
    assert not any(step.state[spec.name] for spec in RELEASE_STORES)


def test_a_tracks_state_stays_small():
    step = Step()
    taught(step)
    follow(step, HOURS - 1, NEW, {h: lambda n: n * 1000 for h in range(20, HOURS)})
    assert len(next(iter(step.kept().values()))) < 6_000
    assert isinstance(next(iter(step.state[TRACKS.name].values())), Track)


# -- what the judge of windows tells -----------------------------------------------------------------


def window(start: int, release="t42@2026-01-01T00:30Z", slide=1_800_000, **changes):
    values = {"plays": Value(7.0, 7.0), "error_rate": Value(0.5)}
    group = changes.pop("group", f"acme|release{{release={release}}}")
    return Window("acme", group, "live", start, start + HOUR, HOUR, slide, 7, values, **changes)


def test_an_hour_of_the_age_is_told_with_the_measures_that_rules_ask_for():
    (output,) = hour_output(window(T0 + 5 * HOUR // 2), ["plays", "listeners"])
    hour = decode_testimony(output.value)
    assert (output.topic, output.key) == ("evidence", b"acme")
    assert (hour.release, hour.hour, hour.counts) == ("t42@2026-01-01T00:30Z", 2, {"plays": 7.0})


@pytest.mark.parametrize(
    "it",
    [
        window(T0 + HOUR), window(T0 - HOUR // 2), window(T0 + HOUR // 2 + WEEK),
        window(T0 + HOUR // 2, revision=1), window(T0 + HOUR // 2, release="odd"),
        window(T0 + HOUR // 2, group="acme|all{}"),
        window(T0, group="acme|metric:x{release=t42@2026-01-01T00:00Z}"),
        window(T0, group="acme|country_release{country=FR,release=t42@2026-01-01T00:00Z}"),
    ],
)  # fmt: skip
def test_other_windows_are_not_told(it):
    assert hour_output(it, ["plays"]) == []


def test_hours_begin_where_windows_do():
    (output,) = hour_output(window(T0, "t42@2026-01-01T00:07Z"), ["plays"])
    assert decode_testimony(output.value).hour == 0


# -- any order ---------------------------------------------------------------------------------------

events = st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.integers(0, 50))
"""(track, hours from its release to its first hour told, plays)."""
logs = st.lists(
    st.lists(events | st.integers(1, 12), max_size=20), min_size=PARTITIONS, max_size=PARTITIONS
)


@settings(max_examples=60)
@given(log=logs, seed=st.integers(0, 2**32), ended=st.booleans())
def test_the_order_across_partitions_and_the_cuts_change_nothing(log, seed, ended):
    def go_through(rng: random.Random | None) -> Step:
        step = Step(limit=2)
        step.take_all([_told(p, items, ended) for p, items in enumerate(log)], rng)
        return step

    one, other = go_through(None), go_through(random.Random(seed))
    assert one.windows == other.windows
    assert one.findings == other.findings
    assert one.counted == other.counted
    for spec in RELEASE_STORES:
        assert one.kept(spec) == other.kept(spec)


def _told(partition: int, items, ended: bool) -> list:
    """A partition's log: edges half a day apart, and hours that are over at the next one."""
    made, edge = [], 0
    for item in items:
        if isinstance(item, int):
            edge += item
            made += passed(12 * edge, partition)
            continue
        track, hour, plays = item
        begin = T0 + 12 * (edge + 1) * HOUR - (hour + 1) * HOUR
        made.append(told(f"{track}{partition}", hour, plays, begin, partition))
        edge += 1
        made += passed(12 * edge, partition)
    return made + passed(math.inf if ended else 12 * 200, partition)
