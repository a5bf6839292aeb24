"""The alert feed from Redis: trimmed streams, other clusters, an absent server, foreign entries."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from models.errors import StorageUnavailableError
from models.records import to_json
from storage.feeds import AlertFeed, FeedGapError
from storage.kafka_feed import KafkaAlertFeed
from storage.protocols import Rows
from storage.redis import RedisSink
from storage.redis_feed import RedisAlertFeed
from tests.storage.feed_sources import (
    reach,
    take,
)
from tests.storage.rows import alert
from tests.support.valkey import ValkeyServer


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
    sink = RedisSink(valkey_server.url, unique_name)
    await sink.open()
    await sink.write(Rows(alerts=[alert("old")], alert_offsets=[(0, 500)], cluster="one"))
    feed = RedisAlertFeed(valkey_server.url, unique_name)
    await feed.start()
    assert feed.cluster_id == "one"
    subscription = await feed.subscribe()
    await sink.write(Rows(alerts=[alert("new")], alert_offsets=[(0, 3)], cluster="two"))
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
