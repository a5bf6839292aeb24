"""Alerts in words and colours, and read from the topic."""

import asyncio
import contextlib
import json

import httpx
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from cli.alerts import follow_alerts
from cli.run import Run, load_settings, save_run
from cli.terminal import alert_text
from cli.webhooks import webhook_receiver
from models.errors import ConfigurationError
from models.records import Alert, to_json
from models.settings import Settings
from tests.support.process import free_port

ALERT = Alert(
    id="a1",
    revision=0,
    tenant="demo",
    rule="playback-errors",
    rule_version="1",
    kind="threshold",
    state="firing",
    severity="page",
    series="demo|country_platform{country=FR,platform=ios}",
    measure="error_rate",
    tags={"country": "FR", "platform": "ios"},
    stream="live",
    started_at=1_790_000_000_000,
    fired_at=1_790_000_020_000,
    updated_at=1_790_000_020_000,
    reason="error_rate 0.34 > 0.05 for 20 s",
    summary="Playback is failing on ios in FR",
    seen_at=1_790_000_021_000,
)


def changed(**fields):
    values = {name: getattr(ALERT, name) for name in Alert.__struct_fields__}
    return Alert(**(values | fields))


def styles(alert):
    text = alert_text(alert)
    return {text.plain[s.start : s.end].strip(): str(s.style) for s in text.spans}


def test_an_alert_is_one_line_with_its_reason():
    text = alert_text(ALERT).plain
    assert "page" in text
    assert "firing" in text
    assert "Playback is failing on ios in FR" in text
    assert "error_rate 0.34 > 0.05 for 20 s" in text
    assert "\n" not in text
    assert "revision" not in text


def test_severity_and_state_have_colours():
    assert "red" in styles(ALERT)["page"]
    assert "yellow" in styles(changed(severity="ticket"))["ticket"]
    resolved = styles(changed(state="resolved", revision=2))
    assert resolved["resolved"] == resolved["page"] == "green"


def test_what_is_unusual_about_an_alert_is_said():
    text = alert_text(changed(summary="", stream="replay-cpu", revision=3)).plain
    assert ALERT.series in text
    assert "stream replay-cpu, revision 3" in text


@pytest.fixture
async def settings(tansu_server, unique_name):
    """Settings of a broker whose alerts topic holds one old and one new alert, and rubbish."""
    admin = AIOKafkaAdminClient(bootstrap_servers=tansu_server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(f"{unique_name}-alerts", 2, 1)])
    await admin.close()
    return Settings(broker=tansu_server.url, topic_prefix=f"{unique_name}-")


async def produce(settings, *values):
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap)
    await producer.start()
    for value in values:
        await producer.send(settings.topic("alerts"), value, key=b"demo")
    await producer.stop()


async def first(settings, since, count):
    async with asyncio.timeout(10):
        async with contextlib.aclosing(follow_alerts(settings, since)) as alerts:
            return [(await anext(alerts)).alert.id for _ in range(count)]


@pytest.mark.integration
async def test_from_the_start_everything_is_shown_but_rubbish(settings):
    await produce(settings, to_json(ALERT), b"rubbish", to_json(changed(id="a2")))
    assert await first(settings, None, 2) == ["a1", "a2"]


@pytest.mark.integration
async def test_otherwise_only_what_is_made_from_now_on(settings):
    since = ALERT.seen_at + 1
    await produce(settings, *(to_json(changed(id=f"old-{n}")) for n in range(5)))
    waiting = asyncio.create_task(first(settings, since, 1))
    while not waiting.done():  # it may begin anywhere behind the old ones
        await produce(settings, to_json(changed(id="new", seen_at=since)))
        await asyncio.wait({waiting}, timeout=0.2)
    assert waiting.result() == ["new"]


@pytest.mark.integration
async def test_a_missing_topic_is_told(tansu_server, unique_name):
    settings = Settings(broker=tansu_server.url, topic_prefix=unique_name)
    with pytest.raises(ConfigurationError, match="does not exist"):
        await anext(follow_alerts(settings, None))


def test_a_running_demo_is_found_unless_a_broker_is_set(tmp_path):
    env = {"BACKBEAT_BROKER": "kafka://127.0.0.1:23456", "BACKBEAT_METRICS_PORT": "7"}
    # Process 1 is always there, and never ours.
    save_run(Run(1, "http://127.0.0.1:8080/", env, {}), tmp_path)
    settings, run = load_settings({}, tmp_path)
    assert run.page == "http://127.0.0.1:8080/"
    assert (settings.bootstrap, settings.metrics_port) == ("127.0.0.1:23456", 7)
    settings, run = load_settings({"BACKBEAT_BROKER": "kafka://elsewhere:9092"}, tmp_path)
    assert run is None
    assert settings.bootstrap == "127.0.0.1:9092"


def test_a_demo_that_was_killed_is_not_found(tmp_path):
    save_run(Run(2**22 + 1, "http://127.0.0.1:8080/", {}, {}), tmp_path)
    assert load_settings({}, tmp_path)[1] is None


def test_a_setting_that_cannot_be_read_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("BACKBEAT_PARTITIONS", "many")
    with pytest.raises(ConfigurationError, match=r"BACKBEAT_PARTITIONS: .*integer"):
        load_settings({}, tmp_path)


async def test_the_webhook_receiver_takes_posts_and_survives_the_rest():
    received = []
    async with (
        webhook_receiver("127.0.0.1", free_port(), received.append) as url,
        httpx.AsyncClient() as client,
    ):
        body = {"id": "n1", "text": "ü" * 5_000}
        assert (await client.post(url, json=body)).status_code == 200
        assert (await client.get(url)).status_code == 400
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2][:-1]))
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(url, content=b"not json")
        assert (await client.post(url, content=json.dumps({"id": "n2"}))).status_code == 200
    assert [r["id"] for r in received] == ["n1", "n2"]
