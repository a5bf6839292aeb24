"""The API's own Kafka clients against real brokers: publishing, lag, and a broker that is away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from fastapi import FastAPI

from api.app import create_api, create_default_api, create_tables
from api.services.lag import KafkaLag, Lag
from api.services.producer import BrokerUnavailableError, KafkaProducer, Message
from models.errors import StorageUnavailableError
from models.settings import Settings
from models.topics import TOPICS
from storage.feeds import MemoryFeed
from tests.api.history import FAMILY, FIRST, MINUTE, store_with_history, train
from tests.api.seed import series_config
from tests.support.tansu import TansuServer

NOISE = {"aiokafka": 60, "aiokafka.client": 60, "aiokafka.conn": 60, "aiokafka.producer.sender": 60}


@pytest.fixture(autouse=True)
def _quiet(caplog):
    for name, level in NOISE.items():
        caplog.set_level(level, name)


def settings_for(server, name: str) -> Settings:
    return Settings(broker=server.url, topic_prefix=f"{name}-", app_id=name, partitions=2)


async def make_topics(settings: Settings) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(settings.topic(t), 2, 1) for t in TOPICS])
    finally:
        await admin.close()


async def publish(producer: KafkaProducer, messages: list[Message]) -> None:
    """Publish, once the broker knows of the topic that was just made."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await producer.publish("plays", messages)
            except BrokerUnavailableError as error:
                if "does not exist" not in str(error):
                    raise
                await asyncio.sleep(0.1)


async def lags_of(lag: KafkaLag) -> list[Lag]:
    """The lags, once the broker has made the topic in which it keeps groups."""
    async with asyncio.timeout(20):
        while True:
            try:
                return list(await lag.lags())
            except StorageUnavailableError:
                await asyncio.sleep(0.1)


async def test_events_are_acknowledged_and_land_by_key(any_broker, unique_name):
    settings = settings_for(any_broker, unique_name)
    producer = KafkaProducer(settings, timeout=30.0)
    await producer.start()
    await producer.start()
    messages = [Message(f"demo:l{n % 7}".encode(), b"%d" % n) for n in range(500)]
    try:
        with pytest.raises(BrokerUnavailableError, match="does not exist yet"):
            await producer.publish("plays", messages)
        await make_topics(settings)
        await publish(producer, messages)
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(settings.topic("plays"), p) for p in (0, 1)])
        got, places = [], {}
        async with asyncio.timeout(20):
            while len(got) < len(messages):
                for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                    for record in records:
                        got.append(Message(record.key, record.value))
                        places.setdefault(record.key, set()).add(tp.partition)
    finally:
        await consumer.stop()
    assert sorted(got) == sorted(messages)
    assert all(len(partitions) == 1 for partitions in places.values())


async def test_lag_is_what_no_group_has_handled(any_broker, unique_name):
    settings = settings_for(any_broker, unique_name)
    await make_topics(settings)
    producer, lag = KafkaProducer(settings, timeout=30.0), KafkaLag(settings)
    await producer.start()
    await lag.start()
    try:
        assert await lags_of(lag) == []
        # One at a time: the embedded broker's ends are those of the last batch's first record.
        for n in range(10):
            await publish(producer, [Message(b"k", b"%d" % n)])
        for group in (settings.app_id, f"{settings.app_id}-notify"):
            topic = "plays" if group == settings.app_id else "notifications"
            places = {TopicPartition(settings.topic(topic), p): 0 for p in (0, 1)}
            consumer = AIOKafkaConsumer(
                bootstrap_servers=settings.bootstrap, group_id=group, enable_auto_commit=False
            )
            await consumer.start()
            consumer.assign(list(places))
            await consumer.commit(places)
            await consumer.stop()
        want = [Lag("notify", "notifications", 0), Lag("worker", "plays", 10)]
        assert want == list(await lag.lags())
    finally:
        await lag.stop()
        await producer.stop()


async def test_a_broker_that_goes_away_is_said_in_time(tmp_path, unique_name):
    server = await asyncio.to_thread(TansuServer(tmp_path).start)
    settings = settings_for(server, unique_name)
    producer, lag = KafkaProducer(settings, timeout=1.0), KafkaLag(settings)
    try:
        await make_topics(settings)
        await producer.start()
        await lag.start()
        await publish(producer, [Message(b"k", b"v")])
    finally:
        await asyncio.to_thread(server.stop)
    began = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="0 of 1"):
        await producer.publish("plays", [Message(b"k", b"v")])
    with pytest.raises(StorageUnavailableError):
        await lag.lags()
    await producer.stop()
    await lag.stop()
    assert time.monotonic() - began < 20


async def test_a_broker_that_was_never_there_is_said():
    settings = Settings(broker="kafka://127.0.0.1:1")
    for client in (KafkaProducer(settings), KafkaLag(settings)):
        with pytest.raises(StorageUnavailableError):
            await client.start()
        await client.stop()
    with pytest.raises(BrokerUnavailableError, match="not been reached"):
        await KafkaProducer(settings).publish("plays", [])
    with pytest.raises(StorageUnavailableError, match="not been reached"):
        await KafkaLag(settings).lags()


async def test_the_api_of_the_environment_answers_without_anything(monkeypatch, tmp_path):
    """It starts at once with no broker and no file, and says what is missing."""
    monkeypatch.setenv("BACKBEAT_BROKER", "kafka://127.0.0.1:1")
    monkeypatch.setenv("BACKBEAT_DATA_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)
    app = create_default_api()
    transport = httpx.ASGITransport(app)
    async with (
        asyncio.timeout(20),
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        assert (await client.get("/health/live")).status_code == 200
        answer = await client.get("/health/ready")
        down = {p["name"] for p in answer.json()["parts"] if p["status"] == "down"}
        assert {"feed", "producer", "lag"} <= down
        assert answer.status_code == 503
        answer = await client.post("/api/v1/metrics", json={"name": "x", "value": 1})
        assert answer.status_code == 503


async def test_the_api_of_the_environment_works_on_the_embedded_broker(
    tansu_server, unique_name, monkeypatch, tmp_path
):
    settings = settings_for(tansu_server, unique_name)
    await make_topics(settings)
    for name in ("broker", "topic_prefix", "app_id", "partitions"):
        monkeypatch.setenv(f"BACKBEAT_{name.upper()}", str(getattr(settings, name)))
    monkeypatch.setenv("BACKBEAT_DATA_DIR", str(tmp_path))
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)
    app = create_default_api()
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        async with asyncio.timeout(20):
            await app.state.context.stream.connection.started.wait()
            while True:
                answer = await client.post(
                    "/api/v1/metrics", content=json.dumps({"name": "x", "value": 1}),
                    headers={"Content-Type": "application/json"},
                )  # fmt: skip
                if answer.status_code == 202:
                    break
                await asyncio.sleep(0.05)
        assert answer.json()["accepted"] == 1


async def test_models_and_labels_are_read_back_from_their_topics(tansu_server, unique_name):
    """What was answered is there at once, and for an API that starts later."""
    settings = settings_for(tansu_server, unique_name)
    await make_topics(settings)
    store = await store_with_history()

    def make() -> FastAPI:
        return create_api(
            settings, queries=store, feed=MemoryFeed("c1"), series=series_config(),
            producer=KafkaProducer(settings, timeout=30.0), tables=create_tables(settings),
        )  # fmt: skip

    async with asyncio.timeout(60), serving(make()) as client:
        job = await train(client)
        model = f"/api/v1/ml/models/{job['model']}"
        assert (await client.get(model)).json()["seal"] == "intact"
        answer = await client.post(f"{model}/promote", json={"by": "ann"})
        assert answer.json()["changed"][0]["state"] == "active"
        given = {"series": FAMILY, "since": FIRST, "until": FIRST + MINUTE, "verdict": "false"}
        label = (await client.post("/api/v1/labels", json=given)).json()
        assert (await client.get("/api/v1/labels")).json()["items"] == [label]
    async with asyncio.timeout(60), serving(make()) as client:
        found = (await client.get(model)).json()
        assert (found["model"]["state"], found["seal"]) == ("active", "intact")
        assert (await client.get("/api/v1/labels")).json()["items"] == [label]
        assert (await client.delete(f"/api/v1/labels/{label['id']}")).status_code == 204
        assert (await client.get("/api/v1/labels")).json()["items"] == []


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """An API with all its connections, and a client of it."""
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        while (await client.get("/health/ready")).json()["status"] != "ready" or any(
            p["status"] == "down" for p in (await client.get("/health/ready")).json()["parts"]
        ):
            await asyncio.sleep(0.05)
        yield client
