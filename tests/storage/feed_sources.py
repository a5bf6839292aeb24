"""Where alert feeds get their alerts in tests, and how to wait for what they feed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from models.records import Alert, to_json
from storage.feeds import AlertFeed, FeedRecord, MemoryFeed
from storage.kafka_feed import KafkaAlertFeed
from storage.protocols import Rows
from storage.redis import RedisSink
from storage.redis_feed import RedisAlertFeed
from tests.storage.rows import alert

RING = 10


@dataclass
class Source:
    """`publish(alert, partition)` puts one on the feeds that `feed()` makes; gives its offset."""

    publish: Callable[[Alert, int], Awaitable[int]]
    feed: Callable[..., AlertFeed]

    async def publish_all(self, *ids: str, partition: int = 0) -> list[int]:
        return [await self.publish(alert(name), partition) for name in ids]


@asynccontextmanager
async def memory_source(request: pytest.FixtureRequest) -> AsyncIterator[Source]:
    feeds: list[MemoryFeed] = []
    shared = MemoryFeed(ring=1000)

    def make(ring: int = RING, queue: int = 500) -> MemoryFeed:
        feeds.append(MemoryFeed(ring=ring, queue=queue))
        for record in shared._broadcast._ring:
            feeds[-1].publish(record.alert, record.partition)
        return feeds[-1]

    async def publish(row: Alert, partition: int) -> int:
        for feed in feeds:
            feed.publish(row, partition)
        return shared.publish(row, partition)

    yield Source(publish, make)


@asynccontextmanager
async def redis_source(request: pytest.FixtureRequest) -> AsyncIterator[Source]:
    url = request.getfixturevalue("valkey_server").url
    prefix = request.getfixturevalue("unique_name")
    sink = RedisSink(url, prefix=prefix)
    await sink.open()
    offsets = {0: -1, 1: -1}

    async def publish(row: Alert, partition: int) -> int:
        offsets[partition] += 2  # every other offset is a transaction's marker
        place = (partition, offsets[partition])
        await sink.write(Rows(alerts=[row], alert_offsets=[place]))
        return offsets[partition]

    yield Source(publish, lambda **sizes: RedisAlertFeed(url, prefix, **{"ring": RING, **sizes}))
    await sink.close()


@asynccontextmanager
async def kafka_source(request: pytest.FixtureRequest, broker: str) -> AsyncIterator[Source]:
    bootstrap = request.getfixturevalue(f"{broker}_server").bootstrap
    topic = request.getfixturevalue("unique_name")
    await create_topic(bootstrap, topic)
    options = {} if broker == "tansu" else {"transactional_id": topic}
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", enable_idempotence=broker != "tansu", **options
    )
    await producer.start()

    async def publish(row: Alert, partition: int) -> int:
        if broker == "tansu":
            return (await producer.send_and_wait(topic, to_json(row), partition=partition)).offset
        async with producer.transaction():
            return (await producer.send_and_wait(topic, to_json(row), partition=partition)).offset

    yield Source(publish, lambda **o: KafkaAlertFeed(bootstrap, topic, **{"ring": RING, **o}))
    await producer.stop()


async def create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 2, 1), NewTopic("cluster", 1, 1)])
    await admin.close()


@asynccontextmanager
async def started(source: Source, **sizes: int) -> AsyncIterator[AlertFeed]:
    feed = source.feed(**sizes)
    await feed.start()
    try:
        yield feed
    finally:
        await feed.stop()


async def take(subscription: AsyncIterator[FeedRecord], number: int) -> list[FeedRecord]:
    async with asyncio.timeout(10):
        return [await anext(subscription) for _ in range(number)]


async def reach(feed: AlertFeed, partition: int, offset: int) -> None:
    """Wait until the feed has passed an offset."""
    async with asyncio.timeout(10):
        while feed.nearest(None).get(partition, -1) < offset:
            await asyncio.sleep(0.01)
