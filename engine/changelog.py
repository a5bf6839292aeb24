"""Reading compacted topics to their end: changelogs at assignment, global stores at start."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from engine.store import last_values

POLL_MS = 100


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
    bootstrap: str, topic: str, partitions: Sequence[int]
) -> tuple[dict[int, dict[bytes, bytes]], float]:
    """The last value of each key of some partitions of a changelog, and the seconds it took."""
    began = time.monotonic()
    read: dict[int, list[tuple[bytes, bytes | None]]] = {p: [] for p in partitions}

    def take(tp: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        read[tp.partition].extend((r.key, r.value) for r in records)

    async with reader(bootstrap) as consumer:
        await read_to_end(consumer, [TopicPartition(topic, p) for p in partitions], take)
    values = {p: last_values(records) for p, records in read.items()}
    return values, time.monotonic() - began
