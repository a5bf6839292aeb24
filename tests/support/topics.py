"""Reading and filling topics from tests that are not coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.structs import ConsumerRecord, TopicPartition

from engine.changelog import read_to_end, reader
from tests.support.plays import Sent

PARTITIONS = 4


def read_topic(bootstrap: str, topic: str) -> list[list[ConsumerRecord]]:
    """Every record of a topic, partition by partition in offset order."""
    return asyncio.run(read_partitions(bootstrap, topic))


async def read_partitions(bootstrap: str, topic: str) -> list[list[ConsumerRecord]]:
    """As :func:`read_topic`, for coroutines."""
    found: list[list[ConsumerRecord]] = [[] for _ in range(PARTITIONS)]

    def take(tp: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        found[tp.partition].extend(records)

    async with reader(bootstrap) as consumer:
        await read_to_end(consumer, [TopicPartition(topic, p) for p in range(PARTITIONS)], take)
    return found


def values_of(bootstrap: str, topic: str) -> list[bytes]:
    """All values of a topic."""
    return [record.value for records in read_topic(bootstrap, topic) for record in records]


def ends_of(bootstrap: str, topics: Collection[str]) -> dict[str, list[int]]:
    """The ends of topics, as Kafka's ListOffsets tells them (the embedded broker does not)."""
    return asyncio.run(_ends(bootstrap, topics))


async def _ends(bootstrap: str, topics: Collection[str]) -> dict[str, list[int]]:
    tps = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
    async with reader(bootstrap) as consumer:
        ends = await consumer.end_offsets(tps)
    return {topic: [ends[TopicPartition(topic, p)] for p in range(PARTITIONS)] for topic in topics}


def committed_of(bootstrap: str, group: str, topics: Collection[str]) -> dict[str, list[int]]:
    """What a consumer group has committed of topics; 0 where nothing."""
    return asyncio.run(_committed(bootstrap, group, topics))


async def _committed(bootstrap: str, group: str, topics: Collection[str]) -> dict[str, list[int]]:
    tps = [TopicPartition(topic, p) for topic in topics for p in range(PARTITIONS)]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(group, partitions=tps)
    finally:
        await admin.close()
    return {
        topic: [max(0, found[TopicPartition(topic, p)].offset) for p in range(PARTITIONS)]
        for topic in topics
    }


def produce(
    bootstrap: str, topic: str, records: Iterable[Sent], *, max_bytes: int = 1 << 20
) -> None:
    """Send records with their partitions and timestamps, in order; all acknowledged on return."""
    asyncio.run(send_all(bootstrap, topic, records, max_bytes=max_bytes))


async def send_all(
    bootstrap: str,
    topic: str,
    records: Iterable[Sent],
    *,
    timestamps: bool = True,
    max_bytes: int = 1 << 20,
    may_send: Callable[[int], bool] = lambda _: True,
) -> int:
    """As :func:`produce`; waits while ``may_send(how many were sent)`` is false. How many were sent.

    Without ``timestamps`` records get the time they are sent at.
    """
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=5, max_request_size=max_bytes
    )
    sent = 0
    await producer.start()
    try:
        futures = []
        for record in records:
            while not may_send(sent):  # paced by the reader, not by the clock
                await asyncio.sleep(0.02)
            future = await producer.send(
                topic, key=record.key, value=record.value, partition=record.partition,
                timestamp_ms=record.at if timestamps else None, headers=list(record.headers),
            )  # fmt: skip
            futures.append(future)
            sent += 1
        for future in futures:
            await future
    finally:
        await producer.stop()
    return sent
