"""Each real server answers in its own protocol, keeps what it promises to keep, and is gone after.

Other integration tests rest on these servers; a failure here explains theirs.
"""

import asyncio
import os
import signal
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from influxdb_client import InfluxDBClient, Point
from influxdb_client.client.write_api import SYNCHRONOUS
from playwright.async_api import async_playwright
from redis.asyncio import Redis

from tests.support import browser
from tests.support.influxdb import InfluxDBServer
from tests.support.kafka import KafkaServer
from tests.support.process import ServerError, free_port, port_is_free
from tests.support.tansu import TansuServer
from tests.support.valkey import ValkeyServer

pytestmark = pytest.mark.integration


async def create_topic(bootstrap: str, name: str, partitions: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
    finally:
        await admin.close()


async def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(topic, value)


async def consume(bootstrap: str, topic: str, count: int, group: str | None = None) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
        isolation_level="read_committed",
    )  # fmt: skip
    async with consumer, asyncio.timeout(30):
        return [(await consumer.getone()).value for _ in range(count)]


async def test_a_broker_gives_back_what_was_produced(any_broker, unique_name):
    await create_topic(any_broker.bootstrap, unique_name)
    await produce(any_broker.bootstrap, unique_name, [b"one", b"two"])
    assert await consume(any_broker.bootstrap, unique_name, 2) == [b"one", b"two"]


async def test_a_broker_serves_consumer_groups(any_broker, unique_name):
    await create_topic(any_broker.bootstrap, unique_name, partitions=2)
    await produce(any_broker.bootstrap, unique_name, [b"one", b"two"])
    values = await consume(any_broker.bootstrap, unique_name, 2, group=unique_name)
    assert sorted(values) == [b"one", b"two"]


async def test_kafka_hides_an_aborted_transaction(kafka_server, unique_name):
    await create_topic(kafka_server.bootstrap, unique_name)
    async with AIOKafkaProducer(
        bootstrap_servers=kafka_server.bootstrap, transactional_id=unique_name
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(unique_name, b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(unique_name, b"committed")
    assert await consume(kafka_server.bootstrap, unique_name, 1) == [b"committed"]


@pytest.mark.server
@pytest.mark.usefixtures("kafka_server")  # so that a missing tool is told in the same way
async def test_a_killed_kafka_comes_back_on_its_port_with_its_data(tmp_path, unique_name):
    with KafkaServer(tmp_path / "kafka") as kafka:
        port = kafka.port
        await create_topic(kafka.bootstrap, unique_name)
        await produce(kafka.bootstrap, unique_name, [b"kept"])
        kafka.kill()
        assert port_is_free(port)
        await asyncio.to_thread(kafka.restart)
        assert kafka.port == port
        async with asyncio.timeout(30):
            assert await consume(kafka.bootstrap, unique_name, 1) == [b"kept"]
    assert port_is_free(port)


@pytest.mark.usefixtures("tansu_server")
async def test_a_restarted_tansu_is_empty(tmp_path, unique_name):
    with TansuServer(tmp_path) as tansu:
        await create_topic(tansu.bootstrap, unique_name)
        tansu.kill()
        tansu.restart()
        async with AIOKafkaConsumer(bootstrap_servers=tansu.bootstrap) as consumer:
            assert unique_name not in await consumer.topics()


async def test_valkey_gives_back_what_was_set(valkey_server, unique_name):
    async with Redis.from_url(valkey_server.url) as redis:
        await redis.set(unique_name, "1")
        assert await redis.get(unique_name) == b"1"


@pytest.mark.usefixtures("valkey_server")
async def test_a_killed_valkey_comes_back_with_its_data(tmp_path):
    with ValkeyServer(tmp_path) as valkey:
        async with Redis.from_url(valkey.url) as redis:
            await redis.set("kept", "1")
        valkey.kill()
        valkey.restart()
        async with Redis.from_url(valkey.url) as redis:
            assert await redis.get("kept") == b"1"


def write_and_read_a_point(server: InfluxDBServer, database: str, token: str) -> list[float]:
    server.create_database(database)
    with InfluxDBClient(server.url, token=token, org=server.org) as client:
        with client.write_api(write_options=SYNCHRONOUS) as writer:
            writer.write(f"{database}/autogen", record=Point("plays").field("count", 3.0))
        flux = f'from(bucket: "{database}/autogen") |> range(start: -1h)'
        return [row.get_value() for table in client.query_api().query(flux) for row in table]


def test_influxdb_gives_back_what_was_written(influxdb_server, unique_name):
    assert write_and_read_a_point(influxdb_server, unique_name, influxdb_server.token) == [3.0]


@pytest.mark.usefixtures("influxdb_server")
def test_influxdb_with_a_password_refuses_another(tmp_path):
    with InfluxDBServer(tmp_path, password="s3cret") as server:
        assert write_and_read_a_point(server, "one", server.token) == [3.0]
        with pytest.raises(Exception, match="401"):
            write_and_read_a_point(server, "two", "backbeat:wrong")
        server.restart()
        assert server.answers()


async def test_chromium_renders_a_page(chromium_path):
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(
            executable_path=chromium_path, args=list(browser.FLAGS)
        )
        page = await chromium.new_page()
        await page.set_content("<button onclick=\"this.textContent = 'on'\">off</button>")
        await page.click("button")
        assert await page.inner_text("button") == "on"
        await chromium.close()


class TestProcess:
    """What every server promises, shown on the quickest one."""

    pytestmark = pytest.mark.usefixtures("valkey_server")

    def test_a_paused_server_holds_its_port_and_does_not_answer(self, tmp_path):
        with ValkeyServer(tmp_path) as valkey:
            with valkey.paused(), pytest.raises(OSError, match="timed out"):
                valkey.answers()
            assert valkey.answers()

    def test_a_server_that_died_by_itself_is_an_error_at_its_stop(self, tmp_path):
        valkey = ValkeyServer(tmp_path).start()
        os.kill(valkey.pid, signal.SIGKILL)
        valkey.process.wait()
        with pytest.raises(ServerError, match="had ended by itself with code -9"):
            valkey.stop()

    def test_a_server_that_will_not_stop_is_an_error_and_gone(self, tmp_path, monkeypatch):
        monkeypatch.setattr(ValkeyServer, "stop_within", 0.2)
        valkey = ValkeyServer(tmp_path).start()
        with (
            valkey.paused(),
            pytest.raises(ServerError, match="did not stop within 0 s of SIGTERM"),
        ):
            valkey.stop()
        assert port_is_free(valkey.port)

    def test_a_server_that_cannot_start_says_why_at_once(self, tmp_path):
        class Broken(ValkeyServer):
            def command(self) -> list[str]:
                return [*super().command(), "--no-such-option", "1"]

        began = time.monotonic()
        with pytest.raises(ServerError, match="ended with code 1 while starting") as caught:
            Broken(tmp_path).start()
        assert time.monotonic() - began < 5
        assert "no-such-option" in caught.value.__notes__[0]

    def test_free_ports_differ(self):
        assert len({free_port() for _ in range(20)}) == 20
