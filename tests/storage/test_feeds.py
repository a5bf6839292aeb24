"""The alert feeds: one contract over memory, Redis and Kafka, then what is each one's own."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from redis.asyncio import Redis

from models.errors import StorageUnavailableError
from models.records import Alert, to_json
from storage.feeds import AlertFeed, FeedGapError, FeedRecord, MemoryFeed, SlowSubscriberError
from storage.kafka_feed import KafkaAlertFeed
from storage.protocols import Rows
from storage.redis import RedisSink
from storage.redis_feed import RedisAlertFeed
from tests.storage.rows import alert
from tests.support.kafka import KafkaServer
from tests.support.process import ServerUnavailableError
from tests.support.valkey import ValkeyServer

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
    await admin.create_topics([NewTopic(topic, 2, 1)])
    await admin.close()


@pytest.fixture(params=["memory", "redis", "kafka", "tansu"])
async def source(request: pytest.FixtureRequest) -> AsyncIterator[Source]:
    async with AsyncExitStack() as stack:
        kind = request.param
        if kind == "memory":
            made = memory_source(request)
        elif kind == "redis":
            made = redis_source(request)
        else:
            made = kafka_source(request, kind)
        yield await stack.enter_async_context(made)


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


# The contract


async def test_a_subscriber_gets_what_comes_after_it_subscribed(source: Source):
    (before,) = await source.publish_all("before")
    async with started(source) as feed:
        await reach(feed, 0, before)
        first, second = await feed.subscribe(None), await feed.subscribe()
        offsets = await source.publish_all("a", "b")
        for subscription in (first, second):
            found = await take(subscription, 2)
            assert [(r.partition, r.offset, r.alert.id) for r in found] == [
                (0, offsets[0], "a"),
                (0, offsets[1], "b"),
            ]
            assert found[0].alert == alert("a")


async def test_a_vector_resumes_exactly_behind_it(source: Source):
    zero = await source.publish_all("a", "b", "c")
    (one,) = await source.publish_all("x", partition=1)
    async with started(source) as feed:
        await reach(feed, 0, zero[-1])
        await reach(feed, 1, one)
        resumed = await feed.subscribe({0: zero[0], 1: one - 1})
        await source.publish_all("d")
        found = await take(resumed, 4)
        assert [r.alert.id for r in found if r.partition == 0] == ["b", "c", "d"]
        assert [r.alert.id for r in found if r.partition == 1] == ["x"]


async def test_a_feed_that_starts_later_can_resume_as_well(source: Source):
    """Another process behind the same load balancer, or this one after a restart."""
    offsets = await source.publish_all("a", "b", "c")
    for _ in range(2):
        async with started(source) as feed:
            await reach(feed, 0, offsets[-1])
            resumed = await feed.subscribe({**feed.nearest(None), 0: offsets[1]})
            assert [r.alert.id for r in await take(resumed, 1)] == ["c"]


async def test_what_the_ring_no_longer_holds_is_a_gap(source: Source):
    offsets = await source.publish_all(*(f"a{n}" for n in range(RING + 5)))
    async with started(source) as feed:
        await reach(feed, 0, offsets[-1])
        end = feed.nearest(None)
        with pytest.raises(FeedGapError, match="no longer held"):
            await feed.subscribe({**end, 0: offsets[0]})
        await feed.subscribe({**end, 0: offsets[-2]})
        again = await source.publish_all(*(f"b{n}" for n in range(RING + 1)))
        await reach(feed, 0, again[-1])
        with pytest.raises(FeedGapError):
            await feed.subscribe({**end, 0: offsets[-1]})


async def test_what_has_not_been_reached_is_a_gap(source: Source):
    (offset,) = await source.publish_all("a")
    async with started(source) as feed:
        await reach(feed, 0, offset)
        with pytest.raises(FeedGapError, match="has not been reached"):
            await feed.subscribe({**feed.nearest(None), 0: offset + 1000})


async def test_the_nearest_vector_can_always_be_subscribed_to(source: Source):
    offsets = await source.publish_all(*(f"a{n}" for n in range(RING + 5)))
    async with started(source) as feed:
        await reach(feed, 0, offsets[-1])
        for wish in (None, {}, {0: -1}, {0: offsets[-2], 1: 10**9}, {0: 10**9}, {7: 3}):
            await feed.subscribe(feed.nearest(wish))
        resumed = await feed.subscribe(feed.nearest({0: offsets[-3]}))
        assert [r.offset for r in await take(resumed, 2)] == offsets[-2:]
        oldest = await take(await feed.subscribe(feed.nearest({})), 3)
        assert len({r.offset for r in oldest}) == 3


async def test_a_slow_subscriber_is_ended_and_counted_and_hinders_nobody(source: Source):
    async with started(source, queue=3) as feed:
        slow, fast = await feed.subscribe(), await feed.subscribe()
        names = [f"a{n}" for n in range(6)]
        for name in names:
            await source.publish_all(name)
            assert [r.alert.id for r in await take(fast, 1)] == [name]
        assert [r.alert.id for r in await take(slow, 3)] == names[:3]
        for _ in range(2):
            with pytest.raises(SlowSubscriberError, match="3 alerts waiting"):
                await anext(slow)
        assert feed.slow_subscribers == 1


async def test_stopping_ends_the_subscriptions(source: Source):
    feed = source.feed()
    await feed.start()
    await feed.start()
    subscription = await feed.subscribe()
    waiting = asyncio.create_task(anext(subscription, None))
    await asyncio.sleep(0)
    await feed.stop()
    await feed.stop()
    assert await waiting is None
    assert feed.cluster_id


async def test_closing_a_subscription_ends_it():
    feed = MemoryFeed()
    await feed.start()
    subscription = await feed.subscribe()
    feed.publish(alert())
    await subscription.aclose()
    assert [record async for record in subscription] == []
    feed.publish(alert())
    assert feed.slow_subscribers == 0


# Redis


async def test_redis_alerts_trimmed_unseen_end_the_subscribers(valkey_server, unique_name: str):
    sink = RedisSink(valkey_server.url, prefix=unique_name)
    feed = RedisAlertFeed(valkey_server.url, unique_name)
    await sink.open()
    await feed.start()
    subscription = await feed.subscribe()
    client = Redis.from_url(valkey_server.url)
    async with client.pipeline(transaction=True) as pipeline:
        # As if the feed had been away while 40 alerts came and went.
        pipeline.hset(f"{unique_name}:alerts:last", "0", "40")
        await pipeline.execute()
    await sink.write(Rows(alerts=[alert("late")], alert_offsets=[(0, 41)]))
    with pytest.raises(FeedGapError, match="up to offset 40 of partition 0 were trimmed unseen"):
        await take(subscription, 1)
    await reach(feed, 0, 41)
    resumed = await feed.subscribe({0: 40})
    assert [r.alert.id for r in await take(resumed, 1)] == ["late"]
    await client.aclose()
    await feed.stop()
    await sink.close()


async def test_redis_alerts_of_another_cluster_end_the_subscribers(valkey_server, unique_name):
    sink = RedisSink(valkey_server.url, "one", unique_name)
    await sink.open()
    await sink.write(Rows(alerts=[alert("old")], alert_offsets=[(0, 500)]))
    feed = RedisAlertFeed(valkey_server.url, unique_name)
    await feed.start()
    assert feed.cluster_id == "one"
    subscription = await feed.subscribe()
    await sink.close()
    sink = RedisSink(valkey_server.url, "two", unique_name)
    await sink.open()
    await sink.write(Rows(alerts=[alert("new")], alert_offsets=[(0, 3)]))
    with pytest.raises(FeedGapError, match="another Kafka cluster"):
        await take(subscription, 1)
    await reach(feed, 0, 3)
    assert feed.cluster_id == "two"
    with pytest.raises(FeedGapError):
        await feed.subscribe({0: 500})
    await feed.stop()
    await sink.close()


async def test_redis_feed_waits_for_its_server_and_misses_nothing(tmp_path: Path):
    with ValkeyServer(tmp_path) as server:
        sink = RedisSink(server.url)
        await sink.open()
        feed = RedisAlertFeed(server.url)
        await feed.start()
        subscription = await feed.subscribe()
        await sink.write(Rows(alerts=[alert("a")], alert_offsets=[(0, 1)]))
        assert [r.alert.id for r in await take(subscription, 1)] == ["a"]
        await asyncio.to_thread(server.kill)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(server.start)
        await sink.write(Rows(alerts=[alert("b")], alert_offsets=[(0, 2)]))
        assert [r.alert.id for r in await take(subscription, 1)] == ["b"]
        await feed.stop()
        await sink.close()


async def test_redis_entries_that_are_no_alert_are_counted(valkey_server, unique_name: str):
    feed = RedisAlertFeed(valkey_server.url, unique_name)
    await feed.start()
    subscription = await feed.subscribe()
    client = Redis.from_url(valkey_server.url)
    fields = {"cluster": feed.cluster_id, "partition": 0, "tenant": "acme"}
    for offset, body in ((0, "{"), (1, to_json(alert("good")))):
        entry = {**fields, "offset": offset, "previous": offset - 1, "alert": body}
        await client.xadd(f"{unique_name}:alerts", entry)
    assert [r.alert.id for r in await take(subscription, 1)] == ["good"]
    assert feed.undecodable == 1
    await client.aclose()
    await feed.stop()


@pytest.mark.parametrize("feed", [
    RedisAlertFeed("redis://127.0.0.1:9/0", timeout=0.5),
    KafkaAlertFeed("127.0.0.1:9", "alerts", timeout=0.5),
])  # fmt: skip
async def test_a_feed_without_its_server_does_not_start(feed: AlertFeed):
    with pytest.raises(StorageUnavailableError):
        await feed.start()
    await feed.stop()


# Kafka


async def test_a_missing_topic_is_waited_for(tansu_server, unique_name: str):
    feed = KafkaAlertFeed(tansu_server.bootstrap, unique_name, timeout=1.0)
    with pytest.raises(StorageUnavailableError, match=unique_name):
        await feed.start()
    starting = asyncio.create_task(
        KafkaAlertFeed(tansu_server.bootstrap, unique_name, timeout=10.0).start()
    )
    await asyncio.sleep(0.3)
    await create_topic(tansu_server.bootstrap, unique_name)
    feed = KafkaAlertFeed(tansu_server.bootstrap, unique_name, timeout=10.0)
    await feed.start()
    await starting
    await feed.stop()


async def test_kafka_records_that_are_no_alert_or_were_aborted_are_passed_over(
    kafka_server, unique_name: str
):
    await create_topic(kafka_server.bootstrap, unique_name)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka_server.bootstrap, transactional_id=unique_name
    )
    await producer.start()
    feed = KafkaAlertFeed(kafka_server.bootstrap, unique_name)
    await feed.start()
    subscription = await feed.subscribe()
    await producer.begin_transaction()
    await producer.send_and_wait(unique_name, to_json(alert("never")), partition=0)
    await producer.abort_transaction()
    async with producer.transaction():
        for value in (b"{", None, to_json(alert("good"))):
            sent = await producer.send_and_wait(unique_name, value, partition=0)
    assert [r.alert.id for r in await take(subscription, 1)] == ["good"]
    assert feed.undecodable == 2
    await reach(feed, 0, sent.offset + 1)  # the marker behind it
    await feed.stop()
    await producer.stop()


@pytest.mark.slow
async def test_kafka_feed_waits_for_its_broker_and_misses_nothing(tmp_path: Path):
    server = KafkaServer(tmp_path)
    try:
        await asyncio.to_thread(server.start)
    except ServerUnavailableError as error:
        pytest.skip(str(error))
    try:
        await create_topic(server.bootstrap, "alerts")
        feed = KafkaAlertFeed(server.bootstrap, "alerts")
        await feed.start()
        subscription = await feed.subscribe()
        await _send(server.bootstrap, "a")
        assert [r.alert.id for r in await take(subscription, 1)] == ["a"]
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await _send(server.bootstrap, "b")
        async with asyncio.timeout(30):
            assert (await anext(subscription)).alert.id == "b"
        await feed.stop()
    finally:
        if server.process is not None:
            await asyncio.to_thread(server.stop)


async def _send(bootstrap: str, name: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait("alerts", to_json(alert(name)), partition=0)
    await producer.stop()
