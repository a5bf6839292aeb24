"""The flush: how a batch's state and outputs reach the broker.

``PlainFlush`` is at least once: outputs are acknowledged first, then the state with its
``next_offset`` goes to the changelog, in one record batch where it fits (a record batch is appended
whole or not at all). A crash between the two repeats outputs, never loses them, and never counts a
record twice in the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import murmur2

from models.flow import Headers, Output

MAX_BATCH_BYTES = 900_000
"""Bytes of one record batch; below the broker's default of 1,048,588 a message."""

Entry = tuple[bytes | None, bytes | None, Headers]


class Flush(Protocol):
    """Makes one batch durable, or raises with nothing acknowledged."""

    async def start(self) -> None:
        """Connect."""
        ...

    async def write(
        self,
        outputs: Sequence[Output],
        changelog: str,
        partition: int,
        changes: Sequence[tuple[bytes, bytes | None]],
        now: int,
    ) -> None:
        """Write outputs and changes; return when the broker has acknowledged all."""
        ...

    async def publish(self, outputs: Sequence[Output], now: int) -> None:
        """Write outputs that no state goes with; return when they are acknowledged."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class PlainFlush:
    """At-least-once flush through one producer, for any broker."""

    guarantee = "at least once"

    def __init__(self, bootstrap: str, prefix: str, *, idempotent: bool) -> None:
        self._prefix = prefix
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=idempotent,
            compression_type="lz4",
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=2 * MAX_BATCH_BYTES,
            linger_ms=0,
            request_timeout_ms=5_000,
            retry_backoff_ms=50,
        )

    async def start(self) -> None:
        """Connect to the broker."""
        await self._producer.start()

    async def stop(self) -> None:
        """Flush and disconnect."""
        await self._producer.stop()

    async def write(
        self,
        outputs: Sequence[Output],
        changelog: str,
        partition: int,
        changes: Sequence[tuple[bytes, bytes | None]],
        now: int,
    ) -> None:
        """Outputs first, then state: see the module's text."""
        await self.publish(outputs, now)
        await self._send({(changelog, partition): [(k, v, ()) for k, v in changes]}, now)

    async def publish(self, outputs: Sequence[Output], now: int) -> None:
        """Outputs without state; returns when the broker has acknowledged all."""
        grouped: dict[tuple[str, int], list[Entry]] = {}
        for out in outputs:
            topic = self._prefix + out.topic
            target = out.partition
            if target is None:
                target = await self._partition_for(topic, out.key)
            grouped.setdefault((topic, target), []).append((out.key, out.value, out.headers))
        await self._send(grouped, now)

    async def _partition_for(self, topic: str, key: bytes | None) -> int:
        partitions = await self._producer.partitions_for(topic)
        return partition_of(key, len(partitions))

    async def _send(self, grouped: dict[tuple[str, int], list[Entry]], now: int) -> None:
        futures: list[Any] = []
        for (topic, partition), entries in grouped.items():
            builder = self._producer.create_batch()
            for key, value, headers in entries:
                args = {"key": key, "value": value, "timestamp": now, "headers": list(headers)}
                if builder.append(**args) is not None:
                    continue
                futures.append(await self._send_batch(builder, topic, partition))
                builder = self._producer.create_batch()
                if builder.append(**args) is None:
                    msg = f"a record of {len(value or b'')} bytes for {topic} is too large"
                    raise KafkaError(msg)
            if builder.record_count():
                futures.append(await self._send_batch(builder, topic, partition))
        if futures:
            await asyncio.gather(*futures)

    async def _send_batch(self, builder: Any, topic: str, partition: int) -> Any:
        builder.close()
        return await self._producer.send_batch(builder, topic, partition=partition)


def partition_of(key: bytes | None, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key; 0 without one."""
    return 0 if key is None else _hash(key) % partitions


@lru_cache(maxsize=65_536)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF
