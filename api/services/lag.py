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

_STORED = ("alerts", "deliveries", "findings", "windows")
READS: dict[str, tuple[str, ...]] = {
    "worker": ("findings", "metrics", "partials", "plays"),
    "notify": ("notifications",),
    "sqlite": _STORED,
    "influxdb": _STORED,
    "redis": _STORED,
}
"""Which topics each part reads. The steps share the group ``APP``, the others are ``APP-PART``."""

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
            places = await asyncio.gather(*map(self._committed, READS))
            wanted = {tp for offsets in places for tp in offsets}
            ends = await self._consumer.end_offsets(list(wanted)) if wanted else {}
        except (KafkaError, OSError, TimeoutError, ValueError) as exc:  # ValueError: unreadable
            msg = f"the broker did not say how far the groups are: {exc!r}"
            raise StorageUnavailableError(msg) from exc
        total: Counter[tuple[str, str]] = Counter()
        for part, offsets in zip(READS, places, strict=True):
            for tp, offset in offsets.items():
                total[part, self._names[tp.topic]] += max(ends[tp] - offset, 0)
        return [Lag(part, topic, records) for (part, topic), records in sorted(total.items())]

    async def _committed(self, part: str) -> dict[TopicPartition, int]:
        """Where a part's group stands; partitions that it never committed are left out."""
        app_id = self._settings.app_id
        # By name: the embedded broker cannot list all that a group has.
        partitions = [
            TopicPartition(self._settings.topic(topic), number)
            for topic in READS[part]
            for number in range(self._settings.partitions)
        ]
        group = app_id if part == "worker" else f"{app_id}-{part}"
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
