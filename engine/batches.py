"""Kafka's record batches in and out, many records at a time.

aiokafka's own ways cost more a record than the record: a coroutine or a method call in Python to write
one, an object of eleven fields to read one. These take hold of its private parts; ``hooks.SOURCES`` names
what they rely on.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, dropwhile, islice
from typing import TYPE_CHECKING, Any

from aiokafka import codec
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException

from engine.store import Changes
from models.flow import Records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka.producer.message_accumulator import BatchBuilder

PIECE = 256
"""Records that are taken apart together."""


def fill(builder: BatchBuilder, entries: Sequence[Any], start: int, now: int) -> int:
    """Put entries (key, value[, headers]) into a record batch until it is full.

    Replaces ``BatchBuilder.append`` for every record.

    Returns:
        the index after the last entry that had room.
    """
    append = builder._builder.append
    none: list[Any] = []
    size = 0
    if isinstance(entries, Changes):
        keys, values = entries.names, entries.values
        if start:
            keys, values = keys[start:], values[start:]
        for key, value in zip(keys, values, strict=True):
            if append(size, now, key, value, none) is None:
                break
            size += 1
    else:
        for entry in entries[start:] if start else entries:
            headers = none if len(entry) == 2 else list(entry[2])
            if append(size, now, entry[0], entry[1], headers) is None:
                break
            size += 1
    builder._relative_offset = size
    return start + size


def compress_fast() -> None:
    """Have aiokafka compress with lz4's fast mode, level 1.

    Its default, 9, is the slow mode: 25 times the CPU for 26 % less on a changelog's batches
    (measured: 4.0 and 0.15 µs a record), and it has no setting. Every reader reads both.
    """
    codec.lz4_encode.__defaults__ = (1,)


def read_batches(part: PartitionRecords, limit: int) -> tuple[Records, bool]:
    """Whole record batches of one fetch by column, until there are ``limit`` records or no more batches.

    Returns:
        the records, and whether batches are left.

    Raises:
        CorruptRecordException: a checksum is wrong.
    """
    found = Records()
    _, more = _walk(part, limit, partial(_add_all, found))
    return found, more


def read_values(
    part: PartitionRecords, limit: int, into: dict[bytes, bytes | None]
) -> tuple[int, bool]:
    """As ``read_batches``, but keep only the last value of each key: what a compacted topic says.

    Half the cost of columns that are put into a dict afterwards; a dict of many keys is what costs, so
    it pays to stay with one for many records.

    Returns:
        how many records there were, and whether batches are left.
    """
    return _walk(part, limit, partial(_put_all, into))


def _walk(part: PartitionRecords, limit: int, take: Callable[[Any, int], int]) -> tuple[int, bool]:
    """Give ``take`` the batches that count, each with the first offset that is wanted of it.

    Replaces ``PartitionRecords._unpack_records``. As there: aborted and control batches only move the
    position, and the position after a batch comes from its header, so that compacted and empty batches
    move it too.
    """
    count = 0
    memory = part._records
    while count < limit and memory.has_next():
        batch = memory.next_batch()
        if part._check_crcs and not batch.validate_crc():
            msg = f"checksum of the batch at {batch.base_offset} is wrong"
            raise CorruptRecordException(msg)
        if not batch.is_control_batch and not _is_aborted(part, batch):
            count += take(batch, part.next_fetch_offset)
        elif batch.is_control_batch and part._isolation_level == READ_COMMITTED:
            _is_aborted(part, batch)
            if part._contains_abort_marker(batch):
                part._aborted_producers.discard(batch.producer_id)
        part.next_fetch_offset = batch.next_offset
    return count, memory.has_next()


def _is_aborted(part: PartitionRecords, batch: Any) -> bool:
    if part._isolation_level != READ_COMMITTED or batch.producer_id is None:
        return False
    part._consume_aborted_up_to(batch.base_offset)
    return batch.is_transactional and batch.producer_id in part._aborted_producers


def _add_all(found: Records, batch: Any, first: int) -> int:
    """A batch's records by column, some at a time: their objects are then still in the CPU's cache."""
    before = len(found)
    records = chain(batch)  # a batch takes being asked for its iterator only once
    while piece := list(islice(records, PIECE)):
        _add(found, piece, first)
    return len(found) - before


def _add(found: Records, records: list[Any], first: int) -> None:
    if records[0].offset < first:  # the position is inside a batch
        records = [r for r in records if r.offset >= first]
        if not records:
            return
    start, end = records[0].offset, records[-1].offset + 1
    # Offsets rise: where the last says that there are no gaps, none need be asked for.
    is_whole = end - start == len(records)
    found.offsets += range(start, end) if is_whole else [r.offset for r in records]
    found.timestamps += [r.timestamp for r in records]
    found.keys += [r.key for r in records]
    found.values += [r.value for r in records]
    found.headers += [tuple(h) if (h := r.headers) else () for r in records]


def _put_all(into: dict[bytes, bytes | None], batch: Any, first: int) -> int:
    count = 0
    for record in dropwhile(lambda record: record.offset < first, batch):
        into[record.key] = record.value
        count += 1
    return count
