"""The ``alerts`` topic read from outside, without a consumer group: nothing is committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from models.errors import StorageUnavailableError
from models.records import Alert, decode_alert
from models.settings import Settings
from simulate.publisher import partitions_of


class Seen(NamedTuple):
    """An alert, and the bytes it came as."""

    alert: Alert
    raw: bytes


async def follow_alerts(settings: Settings, since: int | None) -> AsyncIterator[Seen]:
    """Every version of every alert as it comes; ``since`` None begins at the topic's start.

    Otherwise versions that were made before ``since`` (epoch ms) are left out. Their own time is
    compared, because the embedded broker's idea of a topic's end lies within its last batch.

    Raises:
        StorageUnavailableError: the broker does not answer.
        ConfigurationError: there is no such topic.
    """
    topic = settings.topic("alerts")
    partitions = await partitions_of(settings.bootstrap, topic)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.bootstrap,
        enable_auto_commit=False,
        auto_offset_reset="earliest" if since is None else "latest",
        fetch_max_wait_ms=200,
    )
    tps = [TopicPartition(topic, n) for n in range(partitions)]
    try:
        await consumer.start()
        consumer.assign(tps)
        if since is None:
            await consumer.seek_to_beginning(*tps)
        else:
            await consumer.seek_to_end(*tps)
        async for record in consumer:
            seen = _decode(record.value)
            if seen is not None and (since is None or (seen.alert.seen_at or since) >= since):
                yield seen
    except (KafkaError, OSError, asyncio.IncompleteReadError) as exc:
        msg = f"lost the broker on {settings.bootstrap}: {exc}"
        raise StorageUnavailableError(msg) from exc
    finally:
        await consumer.stop()


def _decode(value: bytes | None) -> Seen | None:
    try:
        return Seen(decode_alert(value), value) if value else None
    except msgspec.MsgspecError:
        return None  # a newer worker's record; showing alerts must go on
