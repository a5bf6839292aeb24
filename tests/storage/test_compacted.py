"""A compacted topic as a mapping: read whole, followed, and begun anew with its broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from models.errors import StorageUnavailableError
from storage import compacted
from storage.compacted import CompactedTopic, MemoryTable
from tests.storage.feed_sources import create_topic
from tests.support.tansu import TansuServer


async def send(bootstrap: str, topic: str, *records: tuple[str, bytes | None]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        for key, value in records:
            await producer.send_and_wait(topic, value, key.encode())
    finally:
        await producer.stop()


async def arrives(table: MemoryTable, expected: dict[str, int], within: float = 30) -> None:
    arrived = await table.until(lambda t: dict(t) == expected, within)
    assert arrived, dict(table)


async def test_what_was_there_is_read_before_start_returns(any_broker, unique_name):
    await create_topic(any_broker.bootstrap, unique_name)
    records = [(f"k{n % 50}", b"%d" % n) for n in range(300)]
    await send(any_broker.bootstrap, unique_name, *records, ("gone", b"1"), ("gone", None))
    table = CompactedTopic(any_broker.bootstrap, unique_name, int, timeout=30)
    assert not table.is_complete
    await table.start()
    try:
        assert table.is_complete
        assert dict(table) == {f"k{n % 50}": n for n in range(250, 300)}
        assert len(table) == 50
    finally:
        await table.stop()


async def test_changes_are_followed_and_rubbish_leaves_the_last_good_value(
    tansu_server, unique_name
):
    await create_topic(tansu_server.bootstrap, unique_name)
    table = CompactedTopic(tansu_server.bootstrap, unique_name, int, timeout=30)
    await table.start()
    try:
        assert dict(table) == {}
        await send(tansu_server.bootstrap, unique_name, ("a", b"1"), ("b", b"2"))
        await arrives(table, {"a": 1, "b": 2})
        before = table.version
        await send(tansu_server.bootstrap, unique_name, ("a", b"rubbish"), ("b", None))
        await arrives(table, {"a": 1})
        assert table.undecodable == 1
        assert table.version > before
    finally:
        await table.stop()


async def test_a_missing_topic_is_said(tansu_server, unique_name):
    table = CompactedTopic(tansu_server.bootstrap, unique_name, int, timeout=0.5)
    with pytest.raises(StorageUnavailableError, match=unique_name):
        await table.start()
    await table.stop()
    assert not table.is_complete


async def test_a_topic_that_was_made_anew_takes_the_old_ones_place(tmp_path: Path, monkeypatch):
    """The new log is longer than the old was: nothing but the cluster's mark can tell."""
    monkeypatch.setattr(compacted, "_LOOK", 0.1)
    server = await asyncio.to_thread(TansuServer(tmp_path).start)
    await create_topic(server.bootstrap, "models")
    await send(server.bootstrap, "models", ("old", b"1"))
    table = CompactedTopic(server.bootstrap, "models", int, timeout=30)
    await table.start()
    try:
        assert dict(table) == {"old": 1}
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await create_topic(server.bootstrap, "models")
        await send(server.bootstrap, "models", *((f"new{n}", b"2") for n in range(20)))
        await arrives(table, {f"new{n}": 2 for n in range(20)}, within=60)
    finally:
        await table.stop()
        await asyncio.to_thread(server.stop)


async def test_a_writer_waits_for_its_own_record():
    table = MemoryTable("models", int)
    waiting = asyncio.create_task(table.until(lambda t: t.get("a") == 2, 10))
    await asyncio.sleep(0)
    table.take(b"a", b"1")
    await asyncio.sleep(0)
    assert not waiting.done()
    table.take(b"a", b"2")
    assert await waiting
    assert not await table.until(lambda t: "b" in t, 0.0)
