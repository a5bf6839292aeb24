"""How far each consumer group is behind the topics it reads: a protocol, Kafka's answer, a twin."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.errors import StorageUnavailableError
from models.settings import Settings
from models.topics import TOPICS


class Reader(NamedTuple):
    """A consumer group, whose name is the application's with a suffix, and what it reads."""

    part: str
    suffix: str
    topics: tuple[str, ...]


READERS = (
    Reader("worker", "", ("evidence", "findings", "metrics", "partials", "plays")),
    Reader("notify", "-notify", ("notifications",)),
    *(
        reader
        for store in ("sqlite", "influxdb", "redis")
        for reader in (
            Reader(store, f"-{store}", ("windows",)),
            Reader(store, f"-{store}-alerts", ("alerts", "deliveries", "findings")),
        )
    ),
)
"""Every group there may be. The worker's steps share one; a store reads alerts apart."""

_TIMEOUT_MS = 3000


class Lag(NamedTuple):
    """Records of one topic that one part has not handled. ``part`` is ``worker`` or a role."""

    part: str
    topic: str
    records: int


class LagProbe(Protocol):
    """Asks the broker how far the worker's parts have come."""

    async def start(self) -> None:
        """Connect, or raise ``StorageUnavailableError``. Idempotent."""
        ...

    async def lags(self) -> Sequence[Lag]:
        """One entry per part and topic that has ever been committed; raises like ``start``."""
        ...

    async def stop(self) -> None:
        """Release everything. Idempotent."""
        ...


class MemoryLag:
    """A twin that answers what it was told."""

    def __init__(self, lags: Sequence[Lag] = ()) -> None:
        self.found: Sequence[Lag] = lags
        self.reachable = True

    async def start(self) -> None:
        """Nothing to connect."""

    async def lags(self) -> Sequence[Lag]:
        if not self.reachable:
            msg = "the broker does not answer"
            raise StorageUnavailableError(msg)
        return self.found

    async def stop(self) -> None:
        """Nothing is held."""


class KafkaLag:
    """Committed offsets against the ends of the partitions.

    The embedded broker's ends are a batch short, so a small lag may read as none there.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._names = {settings.topic(name): name for name in TOPICS}
        self._admin: Any = None
        self._consumer: Any = None

    async def start(self) -> None:
        if self._consumer is not None:
            return
        options = {
            "bootstrap_servers": self._settings.bootstrap,
            "client_id": f"{self._settings.app_id}-api-lag",
            "request_timeout_ms": _TIMEOUT_MS,
        }
        admin, consumer = AIOKafkaAdminClient(**options), AIOKafkaConsumer(**options)
        try:
            await admin.start()
            await consumer.start()
        except (KafkaError, OSError) as exc:
            await _close(admin, consumer)
            msg = f"broker {self._settings.bootstrap} is not reached: {exc}"
            raise StorageUnavailableError(msg) from exc
        self._admin, self._consumer = admin, consumer

    async def lags(self) -> Sequence[Lag]:
        if self._consumer is None:
            msg = "the broker has not been reached yet"
            raise StorageUnavailableError(msg)
        try:
            places = await asyncio.gather(*map(self._committed, READERS))
            wanted = {tp for offsets in places for tp in offsets}
            ends = await self._consumer.end_offsets(list(wanted)) if wanted else {}
        except (KafkaError, OSError, TimeoutError, ValueError) as exc:  # ValueError: unreadable
            msg = f"the broker did not say how far the groups are: {exc!r}"
            raise StorageUnavailableError(msg) from exc
        total: Counter[tuple[str, str]] = Counter()
        for reader, offsets in zip(READERS, places, strict=True):
            for tp, offset in offsets.items():
                total[reader.part, self._names[tp.topic]] += max(ends[tp] - offset, 0)
        return [Lag(part, topic, records) for (part, topic), records in sorted(total.items())]

    async def _committed(self, reader: Reader) -> dict[TopicPartition, int]:
        """Where a group stands; partitions that it never committed are left out."""
        # By name: the embedded broker cannot list all that a group has.
        partitions = [
            TopicPartition(self._settings.topic(topic), number)
            for topic in reader.topics
            for number in range(self._settings.partitions)
        ]
        group = f"{self._settings.app_id}{reader.suffix}"
        found = await self._admin.list_consumer_group_offsets(group, partitions=partitions)
        return {tp: place.offset for tp, place in found.items() if place.offset >= 0}

    async def stop(self) -> None:
        admin, consumer, self._admin, self._consumer = self._admin, self._consumer, None, None
        await _close(admin, consumer)


async def _close(admin: Any, consumer: Any) -> None:
    with contextlib.suppress(KafkaError, OSError):
        if consumer is not None:
            await consumer.stop()
    with contextlib.suppress(KafkaError, OSError):
        if admin is not None:
            await admin.close()
