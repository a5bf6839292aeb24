"""Whole record batches: the same records and positions as aiokafka's record by record."""

import gc
import struct
import weakref
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from aiokafka.consumer.fetcher import (
    READ_COMMITTED,
    READ_UNCOMMITTED,
    FetchResult,
    PartitionRecords,
)
from aiokafka.errors import CorruptRecordException
from aiokafka.record._crc32c import crc as crc32c
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from engine.batches import read_batches
from engine.hooks import _drain

TP = TopicPartition("plays", 0)
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
CONTROL, ATTRIBUTES, BODY = 0x20, 21, 21
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
            builder.append(offset, at, b"k%d" % at, None if at % 5 == 0 else b"v" * at, headers)
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


def test_a_wrong_checksum_is_said():
    raw = bytearray(encode(Part("plain", 1, (0, 1), 2, "none"), 0))
    raw[-1] ^= 1
    part = PartitionRecords(TP, MemoryRecords(bytes(raw)), [], 0, None, None, True, READ_COMMITTED)
    with pytest.raises(CorruptRecordException, match="batch at 0"):
        read_batches(part, 100)


@pytest.mark.parametrize("is_ours", [True, False], ids=["read", "discarded"])
def test_a_fetch_is_given_back_without_the_garbage_collector(is_ours):
    """A result is tied to itself by aiokafka; were it left so, every fetch's bytes would stay for minutes."""
    part = fetched([Part("plain", 1, (0, 1), 2, "none")], READ_COMMITTED, 0)
    held = weakref.ref(part)
    state = SimpleNamespace(
        position=0, highwater=2, has_valid_position=True, paused=False, consumed_to=lambda _to: None
    )
    assignment = SimpleNamespace(active=True, state_value=lambda _tp: state)
    result = FetchResult(TP, assignment=assignment, partition_records=part, backoff=0)
    fetcher = SimpleNamespace(
        _records={TP: result},
        _subscriptions=SimpleNamespace(is_assigned=lambda _tp: is_ours),
        _notify=lambda _future: None,
        _wait_consume_future=None,
    )
    gc.disable()
    try:
        chunks = _drain(fetcher, {TP} if is_ours else set())
        del part, result
        assert not fetcher._records
        assert held() is None
    finally:
        gc.enable()
    assert [len(chunk.records) for found in chunks.values() for chunk in found] == [2] * is_ours
