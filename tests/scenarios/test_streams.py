"""Streams beside each other: each has a clock of its own, and a replay has an end."""

from __future__ import annotations

from collections.abc import Sequence

from models.records import LIVE, Window, decode_window
from tests.support import oracle, small
from tests.support.comparison import compare, of_windows, refuse_foreign
from tests.support.oracle import Definitions, Stored
from tests.support.pipeline import PARTITIONS, Pipeline, Schedule, shipped_steps
from tests.support.plays import DAY, MINUTE, Plan, Sent, by_partition, end_markers, make_plays

KNOWN = Definitions.of(small.SERIES)
REPLAY = Plan(
    seed=4, plays=300, listeners=20, begin=small.LIVE_PLAN.begin - 30 * DAY, span=8 * MINUTE,
    tenants=("demo",), stream="replay", very_late=0,
)  # fmt: skip


def run(*sources: Sequence[Sent], seed: int = 1) -> Pipeline:
    """A worker over these records, taken in turns."""
    pipeline = Pipeline(shipped_steps(small.SERIES, small.RULES, small.TENANTS), small.NOW)
    mixed = [(i / len(source), record) for source in sources for i, record in enumerate(source)]
    pipeline.send("plays", [record for _, record in sorted(mixed, key=lambda item: item[0])])
    pipeline.run(Schedule(seed, (1, 20, 300)))
    return pipeline


def windows_of(pipeline: Pipeline, stream: str) -> list[Window]:
    """All versions of one stream's windows."""
    return [w for w in map(decode_window, pipeline.values("windows")) if w.stream == stream]


def test_a_replay_beside_the_live_stream_changes_nothing_there():
    """It is a month older: on the same clock it would be late, or hold the live windows open."""
    live = make_plays(small.LIVE_PLAN)
    alone = run(live).results()
    beside = run(live, [*make_plays(REPLAY), *end_markers(REPLAY)], seed=2).results()
    assert {k: w for k, w in beside.first.items() if w.stream == LIVE} == alone.first
    assert any(w.stream == "replay" for w in beside.first.values())
    assert len(beside.late) == len(alone.late) > 0


def test_the_live_stream_does_not_close_a_replay():
    """Nor does a month of live plays make the replay's on-time plays late."""
    replay = make_plays(REPLAY)
    alone = run(replay).results()
    beside = run(make_plays(small.LIVE_PLAN), replay, seed=2).results()
    assert {k: w for k, w in beside.first.items() if w.stream == "replay"} == alone.first


def test_an_end_marker_closes_every_window_of_its_stream():
    """Compared with a batch job: without the ends the last windows are missing, with them none."""
    replay, ends = make_plays(REPLAY), end_markers(REPLAY)
    stored = [
        [Stored(offset, r.at, r.value, r.headers) for offset, r in enumerate(partition)]
        for partition in by_partition([*replay, *ends], PARTITIONS)
    ]
    wanted = oracle.expected(oracle.judge(stored, KNOWN, small.TENANTS), KNOWN, PARTITIONS)
    ended = of_windows(windows_of(run(replay, seed=3), "replay"))
    assert compare(ended, wanted, KNOWN.measures).missing
    some = of_windows(windows_of(_ended(replay, ends[:-1]), "replay"))
    assert some == ended
    every = of_windows(windows_of(_ended(replay, ends), "replay"))
    result = compare(every, wanted, KNOWN.measures)
    refuse_foreign(result, every, wanted)
    assert result.faults == []
    assert result.excess == {}


def test_nothing_is_kept_of_a_stream_that_has_ended():
    """Neither clocks, nor listeners, nor panes; so a name can be used again."""
    pipeline = _ended(make_plays(REPLAY), end_markers(REPLAY))
    assert pipeline.left_of("replay") == set()
    before = windows_of(pipeline, "replay")
    again = [
        r._replace(value=(r.value or b"").replace(b'"replay-4-', b'"again-'))
        for r in make_plays(REPLAY)
    ]
    pipeline.send("plays", [*again, *end_markers(REPLAY)])
    pipeline.run(Schedule(5, (40,)))
    assert len(windows_of(pipeline, "replay")) >= 2 * len({w.id for w in before})


def _ended(plays: Sequence[Sent], ends: Sequence[Sent]) -> Pipeline:
    pipeline = run(plays, seed=3)
    pipeline.send("plays", ends)
    pipeline.run(Schedule(4, (1,)))
    return pipeline
