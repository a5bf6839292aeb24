"""A promotion on a running worker: no restart, within five seconds."""

from __future__ import annotations

import asyncio
import contextlib
import time

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from engine.changelog import reader
from ml import life, registry
from models.events import Metric
from models.learning import Selector, key_of
from models.records import decode_window, to_json
from tests.support.worker import Worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

PANE = 10_000
SERIES = "demo|load{host=a}"
EFFECTIVE = 5.0
"""Seconds within which a running worker is promised to follow."""


@pytest.fixture
def worker(any_broker, unique_name, tmp_path):
    env = {
        "BACKBEAT_BROKER": any_broker.url,
        "BACKBEAT_APP_ID": unique_name,
        "BACKBEAT_TOPIC_PREFIX": f"{unique_name}-",
        "BACKBEAT_FLUSH_INTERVAL": "0.05",
        "BACKBEAT_ROLES": "ingest,windows",
    }
    with Worker("faust_app", tmp_path, **env) as worker:
        worker.bootstrap, worker.name = any_broker.bootstrap, unique_name
        worker.wait_ready(120)
        yield worker


async def feed(worker: Worker, producer: AIOKafkaProducer) -> None:
    """A sample every ten seconds of event time, twenty of them a second, until cancelled."""
    at = (int(time.time() * 1000) - 6 * 3_600_000) // PANE * PANE
    while True:
        at += PANE
        sample = Metric("demo", "load", 100.0 + at // PANE % 7, at, {"host": "a"})
        await producer.send(
            f"{worker.name}-metrics", key=b"load", value=msgspec.json.encode(sample)
        )
        await asyncio.sleep(0.05)


async def until_judged_by(consumer: AIOKafkaConsumer, model: str, seconds: float) -> None:
    """Wait for a window whose value is scored by a model ("" for the configured detector)."""
    async with asyncio.timeout(seconds):
        async for record in consumer:
            value = decode_window(record.value).values["value"]
            if value.model == model and not value.learning and value.score is not None:
                return


def now() -> int:
    return int(time.time() * 1000)


async def publish(worker, producer, *records):
    for record in records:
        await producer.send_and_wait(
            f"{worker.name}-models", key=key_of(record), value=to_json(record)
        )


async def test_a_promotion_and_a_roll_back_take_effect_within_five_seconds(worker):
    """The model comes with what it was trained with, so its first window is scored."""
    detector = registry.create("lite")
    for i in range(60):
        detector.learn(100.0 + i % 7, i * PANE)
    model = life.new_version(
        [], tenant="demo", family="load", kind="detector", selector=Selector("load"),
        spec={"name": "lite"}, created_by="ann", now=1,
    )  # fmt: skip
    states = [life.state_of(model, SERIES, PANE, 0, detector.dump())]
    first = life.seal(model, states)
    second = life.new_version(
        [first], tenant="demo", family="load", kind="detector", selector=Selector("load"),
        spec={"name": "zscore"}, created_by="ann", now=2,
    )  # fmt: skip
    models = {m.id: m for m in (first, second)}
    producer = AIOKafkaProducer(bootstrap_servers=worker.bootstrap, acks="all")
    await producer.start()
    pid = worker.process.pid
    async with reader(worker.bootstrap) as consumer:
        consumer.subscribe([f"{worker.name}-windows"])
        feeding = asyncio.create_task(feed(worker, producer))
        try:
            await until_judged_by(consumer, "", 60)
            await publish(worker, producer, *states, *models.values())
            for serves in ("load.1", "load.2", "load.1 again"):
                if serves.endswith("again"):
                    records = life.roll_back(models, "load", by="ann", now=now())
                else:
                    records = life.transition(models, serves, "active", by="ann", now=now())
                models |= {m.id: m for m in records}
                await publish(worker, producer, *records)
                await until_judged_by(consumer, serves.removesuffix(" again"), EFFECTIVE)
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding
            await producer.stop()
    assert worker.is_running
    assert worker.process.pid == pid
