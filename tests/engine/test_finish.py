"""A fold that fails: only what breaks it is left out, and nothing of a failed try stays."""

import json
from types import SimpleNamespace

import msgspec
import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from engine.finish import finish
from engine.metrics import EngineMetrics
from engine.partition import Partition
from engine.store import PartitionState, last_values
from engine.work import Work
from models.flow import TIMERS, Batch, Due, Output, Record, StoreSpec

LISTS = StoreSpec("lists", msgspec.msgpack.encode, msgspec.msgpack.Decoder(list[int]).decode)


class Log:
    """A writer that keeps what it is given, as a broker does."""

    def __init__(self):
        self.changes, self.outputs, self.offsets = [], [], []

    async def write(self, outputs, changes, next_offset, now):
        self.outputs += outputs
        self.changes += changes
        self.offsets.append(next_offset)
        return len(self.changes)


class Bed:
    """A step's partition without a broker; its changelog is the writer's."""

    def __init__(self):
        self.name = self.source = self.topic = "plays"
        settings = SimpleNamespace(flush_deadline=5)
        self.metrics = EngineMetrics(CollectorRegistry())
        self.engine = SimpleNamespace(
            settings=settings, metrics=self.metrics, now=lambda: 5, flushed=lambda step, work: None
        )
        self.log = Log()
        self.reloads = 0
        self.partition = Partition(TP("plays", 0), [LISTS], 100)
        self.partition.writer = self.log

    async def reload(self, partition):
        self.reloads += 1
        partition.state = PartitionState.restored([LISTS], last_values(self.log.changes))

    async def run(self, fold, records, due=()):
        """One batch, as a step does it."""
        for timer in due:
            self.partition.state.stores[TIMERS].pop(timer.key, None)
        end = records[-1].offset + 1 if records else self.partition.next_offset
        work = Work(self.partition, Batch("plays", 0, records, at_end=False, due=due), end, 0)
        work.apply(fold)
        await finish(self, work)

    @property
    def lists(self):
        return dict(self.partition.state.stores["lists"])

    @property
    def letters(self):
        return [json.loads(o.value) for o in self.log.outputs if o.topic == "dead-letters"]

    @property
    def told(self):
        return [int(o.value) for o in self.log.outputs if o.topic == "windows"]


def folding(bad, *, once=(), huge=()):
    """A fold that changes lists in place, then fails at some offsets; at ``once`` only the first time."""
    failed = set()

    def fold(batch, state, now):
        made = []
        for record in batch.records:
            values = state["lists"].setdefault(record.key.decode(), [])
            values.append(record.offset)
            state["lists"][record.key.decode()] = values
            if record.offset in bad or (record.offset in once and record.offset not in failed):
                failed.add(record.offset)
                raise ValueError(f"cannot take {record.offset}")
            size = 1_000_000 if record.offset in huge else 0
            made.append(Output("windows", b"k", b"%d" % record.offset + b" " * size))
        for due in batch.due:
            state["lists"].setdefault(due.key, []).append(due.at)
            if due.key.startswith("bad"):
                raise ValueError(due.key)
        return made

    return fold


def records(offsets):
    return [Record(o, 1, b"k%d" % (o % 3), b"v%d" % o) for o in offsets]


OFFSETS = st.sets(st.integers(0, 39), max_size=8)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), OFFSETS, OFFSETS, OFFSETS)
async def test_all_but_the_bad_records_are_folded_once_in_order(sizes, bad, once, huge):
    """If a failed try leaked, or a good record went with a bad one, lists or outputs would differ."""
    bed = Bed()
    fold = folding(bad, once=once, huge=huge)
    start = 0
    for size in sizes:
        await bed.run(fold, records(range(start, start + size)))
        start += size
    broken = {o for o in bad | huge if o < start}
    good = [o for o in range(start) if o not in broken]
    assert bed.told == good
    assert [letter["offset"] for letter in bed.letters] == sorted(broken)
    wanted = {}
    for offset in good:
        wanted.setdefault(f"k{offset % 3}", []).append(offset)
    assert {k: v for k, v in bed.lists.items() if v} == wanted
    restored = PartitionState.restored([LISTS], last_values(bed.log.changes))
    assert dict(restored.stores["lists"]) == bed.lists
    assert restored.meta.next_offset == start
    assert bed.log.offsets == sorted(bed.log.offsets)


async def test_the_second_failure_needs_no_changelog():
    """The first failure reads the state again; later ones have the undo log."""
    bed = Bed()
    fold = folding({3, 7, 11})
    for start in range(0, 12, 4):
        await bed.run(fold, records(range(start, start + 4)))
    assert [letter["offset"] for letter in bed.letters] == [3, 7, 11]
    assert bed.reloads == 1


async def test_a_state_that_a_failed_fold_has_touched_is_not_kept():
    """Given up before it was undone, it must be read again, though no key counts as changed."""

    def fold(batch, state, now):
        for values in state["lists"].values():
            values.append(99)
        raise ValueError

    bed = Bed()
    await bed.run(folding(()), records(range(3)))
    bed.partition.ready = True
    assert bed.partition.is_as_flushed
    bed.partition.revoked = True
    await bed.run(fold, records([3]))
    assert not bed.partition.state.is_dirty
    assert not bed.partition.is_as_flushed


async def test_a_dead_letter_says_what_broke_and_where():
    bed = Bed()
    await bed.run(folding({1}), records(range(3)))
    (letter,) = bed.letters
    assert (letter["reason"], letter["topic"], letter["partition"]) == (
        "handler_failed",
        "plays",
        0,
    )
    assert letter["detail"] == "ValueError: cannot take 1"
    assert "in fold" in letter["traceback"]
    assert (
        bed.metrics.registry.get_sample_value(
            "backbeat_records_isolated_total", {"source": "plays", "reason": "handler_failed"}
        )
        == 1
    )


async def test_a_timer_that_breaks_the_fold_is_left_out_alone():
    """If it stayed, it would come due for ever; if the others went with it, time would be lost."""
    bed = Bed()
    timers = bed.partition.state.stores[TIMERS]
    due = [Due("a", 1), Due("bad", 2), Due("c", 3)]
    for timer in due:
        timers[timer.key] = timer.at
    bed.partition.state.meta = None
    await bed.run(folding(()), records([0]))
    await bed.run(folding(()), [], due)
    assert {k: v for k, v in bed.lists.items() if k in "ac"} == {"a": [1], "c": [3]}
    assert "bad" not in bed.lists
    assert dict(bed.partition.state.stores[TIMERS]) == {}
    assert [letter["detail"] for letter in bed.letters] == ["ValueError: bad"]


async def test_native_code_that_panics_is_a_failed_fold():
    """An estimator's panic is a BaseException: it must not end the agent."""

    class PanicError(BaseException):
        pass

    def fold(batch, state, now):
        if any(r.offset == 1 for r in batch.records):
            raise PanicError
        return []

    bed = Bed()
    await bed.run(fold, records(range(3)))
    assert [letter["offset"] for letter in bed.letters] == [1]


@pytest.mark.parametrize(("highwater", "stable", "lag", "held"), [(10, 10, 6, 0), (10, 4, 0, 6)])
def test_what_open_transactions_hold_back_is_no_standstill(highwater, stable, lag, held):
    partition = Partition(TP("plays", 0), [LISTS], 100)
    partition.ready, partition.next_offset, partition.moved_at = True, 4, 0.0
    partition.highwater, partition.stable = highwater, stable
    assert (partition.readable_lag, partition.held_back, partition.lag) == (lag, held, 6)
    assert (partition.stood_still() > 1_000) == (lag > 0)


def test_metrics_are_of_the_partitions_there_are_at_the_scrape():
    metrics = EngineMetrics(CollectorRegistry())
    there = []
    metrics.watch(lambda: there)
    labels = {"source": "plays", "partition": "0"}
    read = metrics.registry.get_sample_value
    assert read("backbeat_partition_lag_records", labels) is None
    partition = Partition(TP("plays", 0), [LISTS], 100, lambda state: 7_000)
    partition.highwater = 5
    there.append(("plays", partition))
    assert read("backbeat_partition_lag_records", labels) == 5
    assert read("backbeat_partition_watermark_seconds", labels) == 7
    there.clear()
    assert read("backbeat_partition_lag_records", labels) is None
