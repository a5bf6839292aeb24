"""``backbeat simulate`` to files and to a broker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner
from typer.testing import CliRunner

from cli.main import app
from models.errors import ConfigurationError, StorageUnavailableError
from simulate.publisher import Publisher, partitions_of
from tests.support.process import free_port, wait_until

ROOT = Path(__file__).parents[2]
START = ["--start", "2026-03-01T12:00:00Z"]


def invoke(*arguments):
    return CliRunner().invoke(app, ["simulate", *map(str, arguments)])


def test_a_file_and_its_labels_are_the_same_every_time(tmp_path):
    for name in ("a", "b"):
        result = invoke(
            *("--demo", "--history", "1h", "--duration", "2m", *START),
            *("--out", tmp_path / f"{name}.ndjson", "--labels", tmp_path / f"{name}.json"),
        )
        assert result.exit_code == 0, result.exception
    first = (tmp_path / "a.ndjson").read_bytes()
    assert first == (tmp_path / "b.ndjson").read_bytes()
    labels = json.loads((tmp_path / "a.json").read_text())
    assert labels == json.loads((tmp_path / "b.json").read_text())
    assert first.count(b"\n") == labels["counts"]["records"] > 10_000
    assert [i["id"] for i in labels["incidents"] if i["id"].startswith("past")] == [
        *("past-release", "past-breakout", "past-silence", "past-late"),
    ]
    assert "release-0" in {i["id"] for i in labels["incidents"]}


def test_without_the_demo_there_are_no_incidents(tmp_path):
    result = invoke(
        *("--history", "10m", "--rate", "2", "--listeners", "50", *START),
        *("--out", tmp_path / "x.ndjson", "--labels", tmp_path / "x.json"),
    )
    assert result.exit_code == 0
    labels = json.loads((tmp_path / "x.json").read_text())
    assert labels["incidents"] == []
    assert len(labels["personas"]) == 50
    assert labels["counts"]["records"] == pytest.approx(1_200, rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x"], "nothing to write"),
        (["--start", "noon"], "--start 'noon' is not ISO 8601"),
        (["--history", "soon"], "duration 'soon' is not like"),
    ],
)
def test_wrong_options_are_told(arguments, message):
    result = invoke(*arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)


def test_without_a_broker_its_address_is_told(monkeypatch):
    port = free_port()
    monkeypatch.setenv("BACKBEAT_BROKER", f"kafka://127.0.0.1:{port}")
    result = invoke("--duration", "1s")
    assert isinstance(result.exception, StorageUnavailableError)
    assert f"no Kafka broker answers on 127.0.0.1:{port}" in str(result.exception)


def test_waiting_for_a_topic_ends(monkeypatch):
    monkeypatch.setenv("BACKBEAT_BROKER", f"kafka://127.0.0.1:{free_port()}")
    result = invoke("--wait", "500ms")
    assert isinstance(result.exception, StorageUnavailableError)


@pytest.mark.integration
async def test_a_missing_topic_is_told_and_not_created(tansu_server, unique_name):
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"does not exist.*a worker creates it"):
            await partitions_of(tansu_server.bootstrap, unique_name)


def run_until_live(environment, status, labels):
    """Run it as a program, and end it when its history is sent; what it said."""
    arguments = ["--history", "30m", "--rate", "20", "--labels", labels, "--status", status]
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "simulate", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    ) as process:
        wait_until(
            lambda: status.exists() and json.loads(status.read_text())["live"], 30, "not live"
        )
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output


@pytest.mark.integration
async def test_history_reaches_the_broker_and_a_signal_ends_it_with_exact_labels(
    tansu_server, unique_name, tmp_path
):
    admin = AIOKafkaAdminClient(bootstrap_servers=tansu_server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(f"{unique_name}-plays", 4, 1)])
    await admin.close()
    status, labels = tmp_path / "status.json", tmp_path / "labels.json"
    environment = {"BACKBEAT_BROKER": tansu_server.url, "BACKBEAT_TOPIC_PREFIX": f"{unique_name}-"}
    output = run_until_live(environment, status, labels)
    counts = json.loads(labels.read_text())["counts"]
    assert output == f"sent {counts['records']} records\n"
    assert json.loads(status.read_text())["sent"] == counts["records"]
    assert counts["records"] > 30_000
    assert await delivered(tansu_server.bootstrap, f"{unique_name}-plays") == counts["records"]


async def delivered(bootstrap, topic):
    """How many records a topic holds."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, n) for n in range(4)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        count = 0
        async with asyncio.timeout(30):
            while partitions:
                found = await consumer.getmany(timeout_ms=200)
                count += sum(map(len, found.values()))
                ends = {tp: consumer.highwater(tp) for tp in partitions}
                partitions = [tp for tp in partitions if await consumer.position(tp) != ends[tp]]
        return count
    finally:
        await consumer.stop()


def test_partitions_are_those_of_kafkas_default_partitioner():
    publisher = Publisher("nowhere:1", "plays", 7)
    for n in range(200):
        key = f"demo:l-{n:06d}".encode()
        assert publisher._partition(key) == DefaultPartitioner()(key, list(range(7)), None)
    assert {publisher._partition(None) for _ in range(7)} == set(range(7))
