"""Which Kafka cluster offsets belong to, for everything that keeps offsets outside of it.

The broker's own id is not enough: the embedded broker gives the same one for ever, and loses all
topics with its memory. So the topic ``cluster`` tells as well: its first record's key is a random
mark. Whoever finds the topic empty writes one; of several the first in the log counts, for all.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.errors import StorageUnavailableError

_LOOK = 0.2  # s between two looks for what a worker is about to create
_WAIT = 1_000  # ms that a fetch of the mark may take


async def identify(clients: Mapping[str, Any], topic: str, within: float = 10.0) -> str:
    """The cluster's id: another one when the broker's topics are not those of before.

    ``clients`` are the options of all Kafka clients, ``topic`` the full name of the topic
    ``cluster``, which is waited for; ``within`` is in seconds.

    Raises:
        StorageUnavailableError: the broker or the topic could not be had in time.
    """
    try:
        async with asyncio.timeout(within):
            name = await _name(clients, topic)
            return f"{name}.{await _mark(clients, TopicPartition(topic, 0))}"
    except (KafkaError, OSError, TimeoutError) as exc:
        msg = f"the cluster cannot be told by its topic {topic}: {exc!r}"
        raise StorageUnavailableError(msg) from exc


async def partitions_of(admin: AIOKafkaAdminClient, topic: str) -> list[int]:
    """A topic's partitions; waits for the topic, and for the moment in which it has none yet."""
    while True:
        # Asking for all names creates nothing; asking for one that is missing might.
        if topic in await admin.list_topics():
            (found,) = await admin.describe_topics([topic])
            if numbers := sorted(p["partition"] for p in found["partitions"]):
                return numbers
        await asyncio.sleep(_LOOK)


async def read_mark(consumer: AIOKafkaConsumer, tp: TopicPartition) -> str | None:
    """The first record's key, read again on a consumer that ``tp`` is assigned to; None: no record."""
    await consumer.seek_to_beginning(tp)
    fetched = await consumer.getmany(tp, timeout_ms=_WAIT, max_records=1)
    for record in fetched.get(tp, ()):
        return (record.key or b"").decode("ascii", "replace")
    return None


async def _name(clients: Mapping[str, Any], topic: str) -> str:
    admin = AIOKafkaAdminClient(**clients)
    try:
        await admin.start()
        await partitions_of(admin, topic)
        return str((await admin.describe_cluster())["cluster_id"])
    finally:
        await admin.close()


async def _mark(clients: Mapping[str, Any], tp: TopicPartition) -> str:
    consumer = AIOKafkaConsumer(
        **clients,
        group_id=None,
        enable_auto_commit=False,
        # A reset of its own may still be under way when we ask for the beginning, and its answer
        # counts then: to the latest, it would skip the first mark for one that came meanwhile.
        auto_offset_reset="earliest",
        fetch_max_wait_ms=50,
    )
    try:
        await consumer.start()
        consumer.assign([tp])
        while (mark := await _first(consumer, tp)) is None:
            await _write_mark(clients, tp)
        return mark
    finally:
        await consumer.stop()


async def _first(consumer: AIOKafkaConsumer, tp: TopicPartition) -> str | None:
    """The mark; None only where the log is empty: a slow fetch is waited for."""
    while (await consumer.end_offsets([tp]))[tp]:
        if (mark := await read_mark(consumer, tp)) is not None:
            return mark
    return None


async def _write_mark(clients: Mapping[str, Any], tp: TopicPartition) -> None:
    producer = AIOKafkaProducer(**clients, acks="all")
    try:
        await producer.start()
        key = uuid.uuid4().hex.encode()
        await producer.send_and_wait(tp.topic, b"{}", key, partition=tp.partition)
    finally:
        await producer.stop()
