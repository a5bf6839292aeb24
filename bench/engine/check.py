"""What a system has made durable, read back and compared with what the events come to.

A changelog's last value of a key is the state that a restart would find; a tombstone means that a window
was closed, and the value before it was its result.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition

from bench.engine.dataset import PANE, PARTITIONS, Dataset
from bench.engine.process import RunError

Cell = tuple[bytes, int, int, int]
"""Key, number of the window since the epoch, count, sum."""

Decode = Callable[[bytes, bytes], Iterator[Cell]]
"""Cells of a changelog record's key and value; none if it holds something else."""

_CELLS = struct.Struct("<IIq")
_PAIR = struct.Struct(">qq")
_LONG = struct.Struct(">q")
_RESULT = struct.Struct("<16sqqq")


def backbeat_cells(key: bytes, value: bytes) -> Iterator[Cell]:
    """``windows NUL key`` and all of the key's panes."""
    store, _, name = key.partition(b"\0")
    if store == b"windows":
        for pane, count, total in _CELLS.iter_unpack(value):
            yield name, pane, count, total


def streams_cells(key: bytes, value: bytes) -> Iterator[Cell]:
    """Kafka Streams: key, start (8 bytes), a number (4); two longs."""
    count, total = _PAIR.unpack(value[-_PAIR.size :])
    yield key[:-12], _LONG.unpack(key[-12:-4])[0] // PANE, count, total


def faust_cells(key: bytes, value: bytes) -> Iterator[Cell]:
    """Faust: ``[key, [start, end]]`` in seconds; ``[count, sum]``."""
    name, (start, _) = msgspec.json.decode(key)
    count, total = msgspec.json.decode(value)
    yield name.encode(), round(start * 1000) // PANE, count, total


def quix_cells(key: bytes, value: bytes) -> Iterator[Cell]:
    """Quix: ``key|start|end``, numbers in 8 bytes; an object of count and sum, in this order."""
    if len(key) > 18 and key[-9:-8] == b"|" and key[-18:-17] == b"|":
        pair = msgspec.json.decode(value)
        if isinstance(pair, dict):
            count, total = pair.values()
            yield key[:-18], _LONG.unpack(key[-17:-9])[0] // PANE, count, total


def bytewax_cells(path: Path) -> Iterator[Cell]:
    """The windows that our Bytewax sink wrote."""
    for name, pane, count, total in _RESULT.iter_unpack(path.read_bytes()):
        yield name.rstrip(b"\0"), pane, count, total


class Found:
    """Totals as they come in."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.totals = dataset.empty()
        self.records = 0
        """Of the changelog, tombstones too: what a restart reads."""

    def take(self, cells: Iterator[Cell]) -> None:
        """Each cell replaces what was known of it."""
        counts, sums = self.totals
        first = self._dataset.first_pane
        for name, pane, count, total in cells:
            at = int(name[1:]), pane - first
            counts[at], sums[at] = count, total

    def compare(self) -> None:
        """Raise RunError if this is not what the events come to."""
        expected = self._dataset.expected
        wrong = self.totals.differences(expected)
        if wrong:
            got, want = int(self.totals.counts.sum()), int(expected.counts.sum())
            msg = f"{wrong} windows are not as expected; {got} events counted, {want} expected"
            raise RunError(msg)


def check_file(dataset: Dataset, path: Path) -> None:
    """Compare a results file; raises RunError."""
    found = Found(dataset)
    found.take(bytewax_cells(path))
    found.compare()


async def check_changelog(bootstrap: str, dataset: Dataset, named: str, decode: Decode) -> int:
    """Compare the changelogs whose names contain ``named``; how many records they hold.

    Raises RunError if a window differs.
    """
    found = Found(dataset)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest",
        isolation_level="read_committed", max_partition_fetch_bytes=4 * 1024 * 1024,
    )  # fmt: skip
    await consumer.start()
    try:
        topics = [t for t in await consumer.topics() if named in t and "changelog" in t]
        tps = [TopicPartition(topic, number) for topic in topics for number in range(PARTITIONS)]
        await _read(consumer, tps, found, decode)
    finally:
        await consumer.stop()
    found.compare()
    return found.records


async def _read(consumer: Any, tps: list[TopicPartition], found: Found, decode: Decode) -> None:
    if not tps:
        msg = "it has no changelog"
        raise RunError(msg)
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    waiting = set(tps)
    while waiting:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            found.records += len(records)
            for record in records:
                if record.value is not None:
                    found.take(decode(record.key, record.value))
        for tp in list(waiting):
            end = consumer.highwater(tp)
            if end is not None and await consumer.position(tp) >= end:
                waiting.discard(tp)
