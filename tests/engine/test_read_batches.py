"""Whole record batches: the same records and positions as aiokafka's record by record."""

import asyncio
import gc
import struct
import weakref
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from aiokafka.consumer.fetcher import (
    READ_COMMITTED,
    READ_UNCOMMITTED,
    FetchError,
    FetchResult,
    PartitionRecords,
)
from aiokafka.errors import CorruptRecordException, TopicAuthorizationFailedError
from aiokafka.record._crc32c import crc as crc32c
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from engine.batches import read_batches, read_values
from engine.hooks import _drain, next_values

TP = TopicPartition("plays", 0)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
CONTROL, ATTRIBUTES, BODY = 0x20, 21, 21
KEYS = 3
"""So few that most records replace an earlier one of their key, and tombstones some."""

ABORT, COMMIT = struct.pack(">HH", 0, 0), struct.pack(">HH", 0, 1)


class Part(NamedTuple):
    """One batch: offsets kept of a run of ``length``, who wrote it, and how it ends."""

    kind: str  # plain, data, abort, commit
    producer: int
    kept: tuple[int, ...]
    length: int
    codec: str


@st.composite
def parts(draw):
    length = draw(st.integers(1, 6))
    kept = draw(st.sets(st.integers(0, length - 1)))
    return Part(
        draw(st.sampled_from(["plain", "data", "data", "abort", "commit"])),
        draw(st.integers(1, 2)),
        tuple(sorted(kept)),
        length,
        draw(st.sampled_from(list(CODECS))),
    )


def encode(part, base):
    """The bytes of a batch at an offset, as a broker has them after compaction."""
    transactional = part.kind != "plain"
    control = part.kind in {"abort", "commit"}
    codec = 0 if control or not part.kept else CODECS[part.codec]  # as a broker writes them
    builder = DefaultRecordBatchBuilder(
        2, codec, int(transactional), part.producer if transactional else -1, 0, 0, 1 << 20
    )
    if control:
        builder.append(0, 1, ABORT if part.kind == "abort" else COMMIT, b"", [])
    else:
        for offset in part.kept:
            at = base + offset
            headers = [("n", b"%d" % at)] if at % 2 else []
            builder.append(
                offset, at, b"k%d" % (at % KEYS), None if at % 5 == 0 else b"v" * at, headers
            )
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)
    struct.pack_into(">i", raw, 23, 0 if control else part.length - 1)
    if control:
        (attributes,) = struct.unpack_from(">h", raw, ATTRIBUTES)
        struct.pack_into(">h", raw, ATTRIBUTES, attributes | CONTROL)
    struct.pack_into(">I", raw, 17, crc32c(bytes(raw[BODY:])))
    return bytes(raw)


def fetched(plan, isolation, start):
    """What one fetch brings: bytes, and the transactions that the broker says were aborted."""
    raw, base, first, aborted = b"", 0, {}, []
    for part in plan:
        raw += encode(part, base)
        if part.kind == "data":
            first.setdefault(part.producer, base)
        elif part.kind in {"abort", "commit"}:
            began = first.pop(part.producer, None)
            if part.kind == "abort" and began is not None:
                aborted.append((part.producer, began))
        base += 1 if part.kind in {"abort", "commit"} else part.length
    return PartitionRecords(TP, MemoryRecords(raw), aborted, start, None, None, True, isolation)


@given(
    st.lists(parts(), max_size=8),
    st.sampled_from([READ_COMMITTED, READ_UNCOMMITTED]),
    st.integers(0, 4),
    st.integers(1, 10),
)
def test_batches_hold_what_aiokafka_reads_one_by_one(plan, isolation, start, limit):
    """If a batch were skipped, or an aborted one taken, records or the next offset would differ."""
    reference = fetched(plan, isolation, start)
    wanted = [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in reference]
    part = fetched(plan, isolation, start)
    found, more = [], True
    while more:
        records, more = read_batches(part, limit)
        found += [tuple(record) for record in records]
    assert found == wanted
    assert part.next_fetch_offset == reference.next_fetch_offset


@given(
    st.lists(parts(), max_size=8),
    st.sampled_from([READ_COMMITTED, READ_UNCOMMITTED]),
    st.integers(0, 4),
    st.integers(1, 10),
)
def test_last_values_are_those_of_the_records_one_by_one(plan, isolation, start, limit):
    """If one were taken that does not count, or an older one won, a restore would not be the last flush."""
    reference = fetched(plan, isolation, start)
    wanted = {}
    records = 0
    for record in reference:
        wanted[record.key] = record.value
        records += 1
    part = fetched(plan, isolation, start)
    found, read, more = {}, 0, True
    while more:
        count, more = read_values(part, limit, found)
        read += count
    assert (found, read) == (wanted, records)
    assert part.next_fetch_offset == reference.next_fetch_offset


def test_a_wrong_checksum_is_said():
    raw = bytearray(encode(Part("plain", 1, (0, 1), 2, "none"), 0))
    raw[-1] ^= 1
    part = PartitionRecords(TP, MemoryRecords(bytes(raw)), [], 0, None, None, True, READ_COMMITTED)
    with pytest.raises(CorruptRecordException, match="batch at 0"):
        read_batches(part, 100)


def holding(part, *, is_ours=True):
    """A fetcher that holds one fetch's result, read from offset 0."""
    state = SimpleNamespace(position=0, highwater=9, has_valid_position=True, paused=False)
    state.consumed_to = partial(setattr, state, "position")
    assignment = SimpleNamespace(active=True, state_value=lambda _tp: state)
    return SimpleNamespace(
        _records={TP: FetchResult(TP, assignment=assignment, partition_records=part, backoff=0)},
        _subscriptions=SimpleNamespace(is_assigned=lambda _tp: is_ours),
        _notify=lambda _future: None,
        _wait_consume_future=None,
    )


@pytest.mark.parametrize("is_ours", [True, False], ids=["read", "discarded"])
def test_a_fetch_is_given_back_without_the_garbage_collector(is_ours):
    """A result is tied to itself by aiokafka; were it left so, every fetch's bytes would stay for minutes."""
    part = fetched([Part("plain", 1, (0, 1), 2, "none")], READ_COMMITTED, 0)
    held = weakref.ref(part)
    fetcher = holding(part, is_ours=is_ours)
    gc.disable()
    try:
        chunks = _drain(fetcher, {TP} if is_ours else set())
        del part
        assert not fetcher._records
        assert held() is None
    finally:
        gc.enable()
    assert [len(chunk.records) for found in chunks.values() for chunk in found] == [2] * is_ours


def restoring(fetcher, into):
    """One look of a restore at what a fetcher holds."""
    return asyncio.run(next_values(SimpleNamespace(_fetcher=fetcher), into, 0.0))


PLAN = [Part("plain", 1, (0, 1), 2, "lz4"), Part("plain", 1, (), 3, "none")]


def test_a_restore_takes_a_partitions_values_and_moves_behind_what_is_compacted_away():
    fetcher, into = holding(fetched(PLAN, READ_COMMITTED, 0)), {0: {b"k1": b"older"}}
    state = fetcher._records[TP]._assignment.state_value(TP)
    assert restoring(fetcher, into) == {0: 2}
    assert into == {0: {b"k0": None, b"k1": b"v"}}
    assert (state.position, fetcher._records) == (5, {})


def test_what_comes_for_a_partition_that_is_done_does_not_stop_the_others():
    """If it stayed where it is, a restore would look at it for ever and never wait for the next fetch."""
    fetcher = holding(fetched(PLAN, READ_COMMITTED, 0))
    assert restoring(fetcher, {1: {}}) == {0: 2}
    assert not fetcher._records


def test_a_damaged_fetch_of_a_changelog_is_read_again():
    raw = bytearray(encode(PLAN[0], 0))
    raw[-1] ^= 1
    damaged = PartitionRecords(
        TP, MemoryRecords(bytes(raw)), [], 0, None, None, True, READ_COMMITTED
    )
    fetcher, into = holding(damaged), {0: {}}
    state = fetcher._records[TP]._assignment.state_value(TP)
    assert restoring(fetcher, into) == {}
    assert (state.position, fetcher._records, into) == (0, {}, {0: {}})


def test_a_broker_that_refuses_a_fetch_of_a_changelog_is_an_error():
    fetcher = holding(fetched(PLAN, READ_COMMITTED, 0))
    fetcher._records = {TP: FetchError(error=TopicAuthorizationFailedError("no"), backoff=0)}
    with pytest.raises(TopicAuthorizationFailedError):
        restoring(fetcher, {0: {}})
