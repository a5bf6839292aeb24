"""The alert feed from Kafka: missing topics, aborted transactions, an absent broker."""

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from models.errors import StorageUnavailableError
from models.records import to_json
from storage.kafka_feed import KafkaAlertFeed
from tests.storage.feed_sources import (
    create_topic,
    reach,
    take,
)
from tests.storage.rows import alert
from tests.support.kafka import KafkaServer
from tests.support.process import ServerUnavailableError


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


async def _send(bootstrap: str, name: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    await producer.send_and_wait("alerts", to_json(alert(name)), partition=0)
    await producer.stop()
