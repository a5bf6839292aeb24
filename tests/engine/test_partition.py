"""A partition takes only what continues where it stands, and gives whole chunks."""

from faust.types import TP

from engine.chunk import Chunk
from engine.partition import Partition
from models.flow import TIMERS, Record, Records


def chunk(start, stop, *, offsets=None):
    offsets = range(start, stop) if offsets is None else offsets
    records = Records.of(Record(o, 0, None, b"") for o in offsets)
    return Chunk("plays", 0, start, stop, 100, records)


def ready(position=0):
    partition = Partition(TP("plays", 0), [], 1000)
    partition.position = position
    partition.ready = True
    return partition


def test_chunks_that_do_not_continue_are_refused():
    partition = ready(10)
    assert not partition.accept(chunk(0, 10))
    assert not partition.accept(chunk(11, 20))
    assert partition.accept(chunk(10, 20))
    assert partition.position == 20


def test_nothing_is_accepted_before_the_state_is_restored_or_after_revocation():
    partition = ready()
    partition.ready = False
    assert not partition.accept(chunk(0, 5))
    partition.ready, partition.revoked = True, True
    assert not partition.accept(chunk(0, 5))
    assert not partition.is_open


def test_gaps_and_empty_chunks_move_the_offset():
    """Compacted or control records leave gaps; the next offset is the header's, not the record's."""
    partition = ready()
    partition.accept(chunk(0, 10, offsets=[0, 7]))
    partition.accept(chunk(10, 15, offsets=[]))
    records, end = partition.take(100)
    assert [r.offset for r in records] == [0, 7]
    assert end == 15


def test_take_stops_at_the_limit_but_gives_at_least_one_chunk():
    partition = ready()
    partition.accept(chunk(0, 10))
    partition.accept(chunk(10, 20))
    records, end = partition.take(5)
    assert (len(records), end, partition.buffered) == (10, 10, 10)


def test_a_full_buffer_closes_the_gate_and_taking_opens_it():
    partition = ready()
    partition.max_buffered = 10
    partition.accept(chunk(0, 10))
    assert not partition.is_open
    partition.take(100)
    assert partition.is_open


def test_a_timer_comes_due_once_in_order_of_time():
    partition = ready()
    timers = partition.state.stores[TIMERS]
    timers["late"], timers["soon"], timers["later"] = 20, 10, 99
    assert partition.has_due(20)
    assert [d.key for d in partition.take_due(20)] == ["soon", "late"]
    assert not partition.has_due(20)
    assert timers.dirty >= {"soon", "late"}
