"""The alert feed from Kafka: missing topics, aborted transactions, an absent broker."""

import asyncio
from contextvars import ContextVar
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.consumer.fetcher import Fetcher

from models.errors import StorageUnavailableError
from models.records import to_json
from storage import cluster, kafka_feed
from storage.cluster import identify, partitions_of
from storage.feeds import FeedGapError
from storage.kafka_feed import KafkaAlertFeed
from tests.storage.feed_sources import (
    create_topic,
    reach,
    take,
)
from tests.storage.rows import alert
from tests.support.kafka import KafkaServer
from tests.support.process import ServerUnavailableError
from tests.support.tansu import TansuServer


async def test_a_missing_topic_is_waited_for(tansu_server, unique_name: str):
    feed = KafkaAlertFeed(tansu_server.bootstrap, unique_name, timeout=1.0)
    with pytest.raises(StorageUnavailableError, match=unique_name):
        await feed.start()
    patient = KafkaAlertFeed(tansu_server.bootstrap, unique_name, timeout=10.0)
    starting = asyncio.create_task(patient.start())
    await asyncio.sleep(0.3)
    assert not starting.done()
    await create_topic(tansu_server.bootstrap, unique_name)
    await starting
    await patient.stop()


async def test_a_topic_that_is_just_being_made_is_followed_whole(any_broker, unique_name: str):
    names = [f"{unique_name}-{n}" for n in range(5)]
    feeds = [KafkaAlertFeed(any_broker.bootstrap, name, timeout=60.0) for name in names]
    starting = [asyncio.create_task(feed.start()) for feed in feeds]
    for name in names:
        await create_topic(any_broker.bootstrap, name)
    await asyncio.gather(*starting)
    assert [set(feed.nearest(None)) for feed in feeds] == [{0, 1}] * 5
    for feed in feeds:
        await feed.stop()


class _Forming:
    """A broker's word on a topic that is being made: not there, there without partitions, whole."""

    def __init__(self) -> None:
        self.names = iter([[], ["alerts"], ["alerts"]])
        self.partitions = iter([[], [1, 0]])

    async def list_topics(self) -> list[str]:
        return next(self.names)

    async def describe_topics(self, _: list[str]) -> list[dict]:
        return [{"partitions": [{"partition": n} for n in next(self.partitions)]}]


async def test_partitions_are_waited_for(monkeypatch):
    monkeypatch.setattr(cluster, "_LOOK", 0.0)
    assert await partitions_of(_Forming(), "alerts") == [0, 1]


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
            sent = await producer.send_and_wait(unique_name, value, b"key", partition=0)
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


async def test_a_broker_that_lost_its_memory_is_another_cluster(tmp_path: Path, monkeypatch):
    """Its new log is longer than the old was: nothing but the cluster's mark can tell."""
    monkeypatch.setattr(kafka_feed, "_LOOK", 0.1)
    server = await asyncio.to_thread(TansuServer(tmp_path).start)
    await create_topic(server.bootstrap, "alerts")
    feed = KafkaAlertFeed(server.bootstrap, "alerts")
    await feed.start()
    try:
        old, subscription = feed.cluster_id, await feed.subscribe()
        await _send(server.bootstrap, "a", "b")
        assert [r.alert.id for r in await take(subscription, 2)] == ["a", "b"]
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await create_topic(server.bootstrap, "alerts")
        await _send(server.bootstrap, "1", "2", "3", "4")
        with pytest.raises(FeedGapError, match="made anew"):
            await take(subscription, 5)
        await reach(feed, 0, 3)
        assert feed.cluster_id != old
        everything = await feed.subscribe({0: -1, 1: -1})
        assert [r.alert.id for r in await take(everything, 4)] == ["1", "2", "3", "4"]
    finally:
        await feed.stop()
        await asyncio.to_thread(server.stop)


async def test_a_cluster_is_the_same_for_everybody_and_after_a_restart(any_broker, unique_name):
    clients = {"bootstrap_servers": any_broker.bootstrap}
    asking = [asyncio.create_task(identify(clients, unique_name)) for _ in range(5)]
    await create_topic(any_broker.bootstrap, unique_name)
    (name,) = {await task for task in asking}
    assert name == await identify(clients, unique_name)
    await create_topic(any_broker.bootstrap, f"{unique_name}-other")
    assert name != await identify(clients, f"{unique_name}-other")


async def test_the_first_mark_counts_whenever_positions_are_known(
    tansu_server, unique_name, monkeypatch
):
    """The consumer's own first reset is answered only when the beginning has been asked for, and a
    second mark has come: read from there, the two who found the topic empty would disagree.
    """
    clients = {"bootstrap_servers": tansu_server.bootstrap}
    await create_topic(tansu_server.bootstrap, unique_name)
    async with AIOKafkaProducer(**clients) as producer:
        await producer.send_and_wait(unique_name, b"{}", b"one", partition=0)
    sought, own = asyncio.Event(), ContextVar("own", default=False)
    reset, update = Fetcher.request_offset_reset, Fetcher._update_fetch_positions
    answer = Fetcher._proc_offset_request

    def ask(self, *args):
        future = reset(self, *args)
        sought.set()
        return future

    async def update_itself(self, *args):
        own.set(True)
        return await update(self, *args)

    async def answer_late(self, *args):
        offsets = await answer(self, *args)
        if own.get() and not sought.is_set():
            await sought.wait()
            async with AIOKafkaProducer(**clients) as producer:
                await producer.send_and_wait(unique_name, b"{}", b"two", partition=0)
        return offsets

    monkeypatch.setattr(Fetcher, "_proc_offset_request", answer_late)
    monkeypatch.setattr(Fetcher, "request_offset_reset", ask)
    monkeypatch.setattr(Fetcher, "_update_fetch_positions", update_itself)
    assert (await identify(clients, unique_name)).endswith(".one")


async def _send(bootstrap: str, *names: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    for name in names:
        await producer.send_and_wait("alerts", to_json(alert(name)), partition=0)
    await producer.stop()
