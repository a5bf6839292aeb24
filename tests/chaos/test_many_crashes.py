"""Crashes at many instants, in process: the folds and their state without a broker.

The same promise as in ``test_crash``, held over schedules that a real worker would take hours for: each
flush may end in a crash that left some outputs behind, to some partitions, and no state.
"""

from __future__ import annotations

from functools import cache

import pytest

from models.records import Window, decode_window
from tests.support import oracle, small
from tests.support.comparison import compare, of_windows, refuse_foreign
from tests.support.oracle import Definitions, Expected, Stored, WindowKey
from tests.support.pipeline import PARTITIONS, Schedule
from tests.support.plays import by_partition

KNOWN = Definitions.of(small.SERIES)


@cache
def wanted() -> tuple[dict[WindowKey, Expected], set[tuple[int, int]]]:
    """What a batch job makes of the same records: windows, and what it rejects."""
    stored = [
        [Stored(offset, r.at, r.value, r.headers) for offset, r in enumerate(partition)]
        for partition in by_partition(small.records(), PARTITIONS)
    ]
    verdicts = oracle.judge(stored, KNOWN, small.TENANTS)
    return oracle.expected(verdicts, KNOWN, PARTITIONS), verdicts.rejected


def versions(windows: list[Window], key: WindowKey) -> list[str]:
    """How one window was published, for a message."""
    return [
        f"revision {w.revision}: {w.count} plays, {w.late} late"
        for w in windows if (w.group, w.stream, w.size, w.slide, w.start) == key
    ]  # fmt: skip


def test_without_a_crash_windows_are_those_of_the_batch_job():
    pipeline = small.make_pipeline()
    pipeline.run(Schedule(1, (50,)))
    windows, rejected = wanted()
    found = of_windows(map(decode_window, pipeline.values("windows")))
    result = compare(found, windows, KNOWN.measures)
    refuse_foreign(result, found, windows)
    assert result.faults == []
    assert result.excess == {}
    assert len(windows) > 2_500
    results = pipeline.results()
    assert {(partition, offset) for _, partition, offset, _ in results.dead} == rejected


@pytest.mark.parametrize("seed", [0, 3, 12, 19, 26, 44])
def test_crashes_lose_nothing(seed):
    """A window may exceed by what was repeated; it never lacks a play, and rejects stay the same."""
    pipeline = small.make_pipeline()
    schedule = Schedule(seed, (20, 60, 200), crashes=0.15)
    pipeline.run(schedule)
    windows, rejected = wanted()
    published = [decode_window(value) for value in pipeline.values("windows")]
    found = of_windows(published)
    result = compare(found, windows, KNOWN.measures)
    refuse_foreign(result, found, windows)
    assert len(pipeline.crashed) > 3
    lacking = [(key, versions(published, key)) for key, _, _ in result.short[:3]]
    assert lacking == []
    assert result.missing == []
    assert result.foreign == []
    assert result.counted_twice(10_000) <= sum(pipeline.crashed)
    results = pipeline.results()
    assert {(partition, offset) for _, partition, offset, _ in results.dead} == rejected
