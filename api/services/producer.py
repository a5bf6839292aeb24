"""Publishing events: a protocol, the Kafka producer, and its twin in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from models.errors import StorageUnavailableError
from models.settings import Settings
from storage.compacted import MemoryTable

ACK_TIMEOUT_S = 5.0
"""A request is answered within this time, acknowledged or not."""


class Message(NamedTuple):
    """One record to be published; without a value it removes its key from a compacted topic."""

    key: bytes
    value: bytes | None


class BrokerUnavailableError(StorageUnavailableError):
    """The broker did not acknowledge everything; ``acknowledged`` says how much it did."""

    def __init__(self, message: str, acknowledged: int = 0) -> None:
        super().__init__(message)
        self.acknowledged = acknowledged


class EventProducer(Protocol):
    """Where accepted events go."""

    async def start(self) -> None:
        """Connect, or raise ``BrokerUnavailableError``. Idempotent."""
        ...

    async def publish(self, topic: str, messages: Sequence[Message]) -> None:
        """Return when every in-sync replica has every message.

        Raises:
            BrokerUnavailableError: not within the time; what was acknowledged stays published.
        """
        ...

    async def stop(self) -> None:
        """Release everything. Idempotent."""
        ...


class MemoryProducer:
    """Keeps what is published, by topic; refuses everything while ``reachable`` is false.

    What goes to the topic of one of the ``tables`` can be read there at once.
    """

    def __init__(self, tables: Mapping[str, MemoryTable] = MappingProxyType({})) -> None:
        self.reachable = True
        self.topics: dict[str, list[Message]] = {}
        self.tables = tables

    async def start(self) -> None:
        self._check()

    async def publish(self, topic: str, messages: Sequence[Message]) -> None:
        self._check()
        self.topics.setdefault(topic, []).extend(messages)
        if topic in self.tables:
            for message in messages:
                self.tables[topic].take(message.key, message.value)

    async def stop(self) -> None:
        """Nothing is held."""

    def _check(self) -> None:
        if not self.reachable:
            msg = "the broker does not answer"
            raise BrokerUnavailableError(msg)


class KafkaProducer:
    """An aiokafka producer that waits for all replicas, and never makes a topic by mistake.

    Not idempotent in Kafka's sense, which the embedded broker lacks: a retry may write an event
    twice, and its ``event_id`` is what keeps it from counting twice.
    """

    def __init__(self, settings: Settings, timeout: float = ACK_TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout = timeout
        self._producer: Any = None
        self._known: set[str] = set()

    async def start(self) -> None:
        if self._producer is not None:
            return
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap,
            client_id=f"{self._settings.app_id}-api",
            acks="all",
            linger_ms=5,
            request_timeout_ms=round(self._timeout * 1000),
        )
        try:
            await producer.start()
        except (KafkaError, OSError) as exc:
            with contextlib.suppress(KafkaError, OSError):
                await producer.stop()
            msg = f"broker {self._settings.bootstrap} is not reached: {exc}"
            raise BrokerUnavailableError(msg) from exc
        self._producer = producer

    async def publish(self, topic: str, messages: Sequence[Message]) -> None:
        if self._producer is None:
            msg = "the broker has not been reached yet"
            raise BrokerUnavailableError(msg)
        name = self._settings.topic(topic)
        sent: list[asyncio.Future[object]] = []
        try:
            async with asyncio.timeout(self._timeout):
                await self._check_topic(name)
                for message in messages:
                    future = await self._producer.send(name, message.value, message.key)
                    sent.append(future)
                await asyncio.gather(*sent)
        except (KafkaError, OSError, TimeoutError) as exc:
            done = sum(f.done() and not f.cancelled() and f.exception() is None for f in sent)
            msg = f"the broker acknowledged {done} of {len(messages)} events"
            raise BrokerUnavailableError(msg, done) from exc

    async def _check_topic(self, name: str) -> None:
        """Ask for every topic, once: asking for one by name may create it, in the wrong shape."""
        if name in self._known:
            return
        cluster = await self._producer.client.fetch_all_metadata()
        if not cluster.partitions_for_topic(name):
            msg = f"topic {name} does not exist yet; a worker makes it when it starts"
            raise BrokerUnavailableError(msg)
        self._known.add(name)

    async def stop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                await producer.stop()
            except (KafkaError, OSError) as exc:
                msg = f"producer did not stop cleanly: {exc}"
                raise BrokerUnavailableError(msg) from exc
