"""Reading compacted topics to their end: changelogs at assignment, global stores at start."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from engine.hooks import next_values

POLL_MS = 100
POLL_SECONDS = POLL_MS / 1000


class Restored(NamedTuple):
    """What a partition of a changelog holds: the last value of each key, and the log's end.

    ``values`` is None where the end is the one that was known already.
    """

    values: dict[bytes, bytes] | None
    end: int


@asynccontextmanager
async def reader(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, committed records only."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        fetch_max_wait_ms=POLL_MS,
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_to_end(
    consumer: AIOKafkaConsumer,
    tps: Iterable[TopicPartition],
    take: Callable[[TopicPartition, Sequence[ConsumerRecord]], None],
) -> None:
    """Hand ``take`` every record of the partitions, from the first to the end there was.

    The end is the high watermark that a fetch brings, as not every broker's ListOffsets can be
    trusted. The consumer is assigned to the partitions and left at their end.
    """
    waiting = set(tps)
    consumer.assign(list(waiting))
    await consumer.seek_to_beginning(*waiting)
    # The end is taken once, so that a topic which is being written to is not chased for ever.
    ends: dict[TopicPartition, int] = {}
    while waiting:
        batches = await consumer.getmany(timeout_ms=POLL_MS)
        for tp, records in batches.items():
            take(tp, records)
        for tp in list(waiting):
            highwater = consumer.highwater(tp)
            if highwater is not None:
                ends.setdefault(tp, highwater)
            if tp in ends and await consumer.position(tp) >= ends[tp]:
                waiting.discard(tp)


async def restore(
    bootstrap: str,
    topic: str,
    partitions: Mapping[int, int | None],
    progress: Callable[[int, int], None] = lambda _partition, _records: None,
) -> dict[int, Restored]:
    """Read some partitions of a changelog to their end.

    Args:
        bootstrap: the broker.
        topic: the changelog.
        partitions: each partition, with the end at which its state is known already, or None. Where
            the log still ends there nothing is read; otherwise everything is.
        progress: told of the records read of a partition, as they come.

    The caller has fenced every other writer: a partition's end stands still.
    """
    found: dict[int, Restored] = {}
    read: dict[int, dict[bytes, bytes | None]] = {p: {} for p in partitions}
    async with reader(bootstrap) as consumer:
        tps = {TopicPartition(topic, p): known for p, known in partitions.items()}
        consumer.assign(list(tps))
        fresh = [tp for tp, known in tps.items() if known is None]
        if fresh:
            await consumer.seek_to_beginning(*fresh)
        for tp, known in tps.items():
            if known is not None:
                consumer.seek(tp, known)
        while len(found) < len(tps):
            for number, records in (await next_values(consumer, read, POLL_SECONDS)).items():
                progress(number, records)
            for tp in [tp for tp in tps if tp.partition not in found]:
                await _settle(consumer, tp, tps, read, found)
    return found


async def _settle(
    consumer: AIOKafkaConsumer,
    tp: TopicPartition,
    tps: dict[TopicPartition, int | None],
    read: dict[int, dict[bytes, bytes | None]],
    found: dict[int, Restored],
) -> None:
    """See whether a partition has been read to its end; start over where the known end is not it."""
    end, known = consumer.highwater(tp), tps[tp]
    if end is None:
        return
    if known is not None and known != end:
        tps[tp] = None
        read[tp.partition].clear()
        await consumer.seek_to_beginning(tp)
    elif known is not None:
        found[tp.partition] = Restored(None, end)
    elif await consumer.position(tp) >= end:
        values: dict[bytes, Any] = read.pop(tp.partition)
        for key in [key for key, value in values.items() if value is None]:
            del values[key]
        found[tp.partition] = Restored(values, end)
