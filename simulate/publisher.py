"""Records to Kafka, in whole batches: what the simulator and the replays send with.

Partitions are those of Kafka's default partitioner (murmur2 of the key), computed once a key. The
producer is not idempotent: the embedded broker does not know how.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, Self

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from models.errors import ConfigurationError, StorageUnavailableError

_BATCH_BYTES = 256 * 1024


class Message(Protocol):
    """What can be sent."""

    @property
    def key(self) -> bytes | None:
        """Decides the partition; without one, partitions take turns."""

    @property
    def value(self) -> bytes | None:
        """The payload."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Kafka headers."""


async def partitions_of(bootstrap: str, topic: str, timeout_ms: int = 5_000) -> int:
    """How many partitions a topic has; asks without creating it.

    Raises:
        StorageUnavailableError: no broker answers there.
        ConfigurationError: there is no such topic.
    """
    client = AIOKafkaClient(bootstrap_servers=bootstrap, request_timeout_ms=timeout_ms)
    try:
        await client.bootstrap()
        metadata = await client.fetch_all_metadata()
    except (KafkaError, OSError) as exc:
        msg = f"no Kafka broker answers on {bootstrap}: {exc}"
        raise StorageUnavailableError(msg) from exc
    finally:
        await client.close()
    partitions = metadata.partitions_for_topic(topic)
    if not partitions:
        msg = f"topic {topic!r} does not exist on {bootstrap}; a worker creates it when it starts"
        raise ConfigurationError(msg)
    return len(partitions)


class Publisher:
    """Sends messages to one topic and returns when the broker has acknowledged them all."""

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.topic = topic
        self.partitions = partitions
        self._bootstrap = bootstrap
        self._known: dict[bytes, int] = {}
        self._turn = 0
        self._producer: Any = None

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=False,
            max_batch_size=_BATCH_BYTES,
        )
        try:
            await self._producer.start()
        except (KafkaError, OSError) as exc:
            await self._producer.stop()
            msg = f"no Kafka broker answers on {self._bootstrap}: {exc}"
            raise StorageUnavailableError(msg) from exc
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._producer.stop()

    async def send(self, messages: Iterable[Message]) -> None:
        """Send messages, in their order within each partition.

        Raises:
            StorageUnavailableError: the broker did not acknowledge; some may have been written.
        """
        open_batches: dict[int, Any] = {}
        sent = []
        for message in messages:
            n = self._partition(message.key)
            batch = open_batches.get(n)
            if batch is None or not _append(batch, message):
                if batch is not None:
                    sent.append(await self._submit(batch, n))
                batch = open_batches[n] = self._producer.create_batch()
                if not _append(batch, message):
                    msg = f"a record of {len(message.value or b'')} bytes does not fit a batch"
                    raise ConfigurationError(msg)
        sent += [await self._submit(batch, n) for n, batch in open_batches.items()]
        await self._acknowledged(sent)

    async def send_to_all(self, key: bytes, headers: Sequence[tuple[str, bytes]]) -> None:
        """Send one record without a value to every partition."""
        sent = []
        for n in range(self.partitions):
            batch = self._producer.create_batch()
            batch.append(timestamp=_now_ms(), key=key, value=None, headers=list(headers))
            sent.append(await self._submit(batch, n))
        await self._acknowledged(sent)

    def _partition(self, key: bytes | None) -> int:
        if key is None:
            self._turn += 1
            return self._turn % self.partitions
        n = self._known.get(key)
        if n is None:
            n = (murmur2(key) & 0x7FFFFFFF) % self.partitions
            self._known[key] = n
        return n

    async def _submit(self, batch: Any, partition: int) -> asyncio.Future[Any]:
        batch.close()
        try:
            future: asyncio.Future[Any] = await self._producer.send_batch(
                batch, self.topic, partition=partition
            )
        except (KafkaError, OSError) as exc:
            raise self._unavailable(exc) from exc
        return future

    async def _acknowledged(self, futures: Sequence[asyncio.Future[Any]]) -> None:
        results = await asyncio.gather(*futures, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise self._unavailable(result) from result

    def _unavailable(self, exc: BaseException) -> StorageUnavailableError:
        msg = f"topic {self.topic!r} on {self._bootstrap} did not take records: {exc!r}"
        return StorageUnavailableError(msg)


def _append(batch: Any, message: Message) -> bool:
    appended = batch.append(
        timestamp=_now_ms(), key=message.key, value=message.value, headers=list(message.headers)
    )
    return appended is not None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
