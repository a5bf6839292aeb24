"""The flush: how a batch's state and outputs reach the broker, together or not at all.

With transactions (Apache Kafka), every (step, source partition) has a producer of its own with a
transactional id that is the same across restarts. Opening it aborts what its last owner left open and
fences that owner; one flush is one transaction over changelog, outputs and the group's offset.

Without (a broker that has none), outputs are acknowledged first, then the state with its
``next_offset`` goes to the changelog, in one record batch where it fits (a record batch is appended
whole or not at all). A crash between the two repeats outputs, never loses them, and never counts a
record twice in the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, ProducerFenced
from aiokafka.partitioner import murmur2
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.types import TP

from engine.batches import fill
from engine.io_thread import IoThread
from engine.store import Changes
from models.errors import FencedError
from models.flow import Headers, Output
from models.settings import Settings

MAX_BATCH_BYTES = 900_000
"""Bytes of one record batch; below the broker's default of 1,048,588 a message."""

PLAIN_AT_ONCE = 4
"""Plain flushes under way: they share a producer, which has one batch a partition in flight."""

TICK_SECONDS = 0.5
"""A deadline is counted in these: as one counts what was longer, the process being frozen."""

Entry = tuple[bytes | None, bytes | None] | tuple[bytes | None, bytes | None, Headers]
"""Key, value, and headers if there are any."""

Grouped = dict[tuple[str, int], Sequence[Entry]]


class Place(NamedTuple):
    """Where a step's partition is read from, and where its state goes."""

    step: str
    source: TP
    changelog: str


class Writer(Protocol):
    """Makes the batches of one source partition durable, one after the other."""

    async def write(
        self, outputs: Sequence[Output], changes: Changes, next_offset: int, now: int
    ) -> int:
        """Write all; return when it is durable, with the changelog's end after it.

        Raises:
            FencedError: another worker owns the partition now; nothing was written.
            TimeoutError: not acknowledged within the settings' ``flush_deadline``.
            KafkaError: it is not known to be durable.
        """
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


class Flush:
    """Opens writers; and writes what belongs to no partition's state. All of it in the I/O thread."""

    def __init__(
        self, settings: Settings, io: IoThread, *, transactions: bool, idempotent: bool
    ) -> None:
        self.transactions = transactions
        self._settings = settings
        self._io = io
        self._idempotent = idempotent
        self._shared: AIOKafkaProducer
        self._turns = asyncio.Semaphore(PLAIN_AT_ONCE)

    @property
    def guarantee(self) -> str:
        """What a crash can do, in a few words."""
        return "exactly once" if self.transactions else "at least once"

    async def start(self) -> None:
        """Connect to the broker."""
        await self._io.call(self._connect())

    async def _connect(self) -> None:
        self._shared = AIOKafkaProducer(
            **_options(self._settings), enable_idempotence=self._idempotent
        )
        await self._shared.start()

    async def stop(self) -> None:
        """Send what waits, and disconnect."""
        await self._io.call(self._shared.stop())

    async def open(self, place: Place) -> Writer:
        """A writer for a partition that has just been assigned; an earlier owner's is fenced."""
        return _Remote(self._io, await self._io.call(self._open(place)))

    async def _open(self, place: Place) -> Writer:
        if not self.transactions:
            return _PlainWriter(self._shared, self._settings, place, self._turns)
        writer = _TransactionalWriter(self._settings, place)
        await writer.open()
        return writer

    async def publish(self, outputs: Sequence[Output], now: int) -> None:
        """Outputs that no state goes with; returns when the broker has acknowledged all."""
        grouped = _by_partition(outputs, self._settings)
        await self._io.call(_send(self._shared, grouped, now))


class _Remote:
    """A writer whose work is done in the I/O thread."""

    def __init__(self, io: IoThread, writer: Writer) -> None:
        self._io = io
        self._writer = writer

    async def write(
        self, outputs: Sequence[Output], changes: Changes, next_offset: int, now: int
    ) -> int:
        return await self._io.call(self._writer.write(outputs, changes, next_offset, now))

    async def close(self) -> None:
        await self._io.call(self._writer.close())


class _PlainWriter:
    """Outputs first, then state: see the module's text."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        settings: Settings,
        place: Place,
        turns: asyncio.Semaphore,
    ) -> None:
        self._producer = producer
        self._settings = settings
        self._turns = turns
        self._log = (place.changelog, place.source.partition)

    async def write(
        self, outputs: Sequence[Output], changes: Changes, next_offset: int, now: int
    ) -> int:
        grouped = _by_partition(outputs, self._settings)
        async with self._turns:
            return await _within(self._settings.flush_deadline, self._send(grouped, changes, now))

    async def _send(self, grouped: Grouped, changes: Changes, now: int) -> int:
        await _send(self._producer, grouped, now)
        ends = await _send(self._producer, {self._log: changes}, now)
        return int(ends[self._log])

    async def close(self) -> None:
        """The producer is shared."""


class _TransactionalWriter:
    """One producer, one transaction a flush."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self._settings = settings
        self._place = place
        self._log = (place.changelog, place.source.partition)
        name = f"{settings.app_id}-{place.step}-{place.source.partition}"
        # An owner that was paused inside a flush holds up readers until its transaction times out.
        timeout = int(settings.session_timeout * 1000)
        self._producer = AIOKafkaProducer(
            **_options(settings), transactional_id=name, transaction_timeout_ms=timeout
        )

    async def open(self) -> None:
        """Abort what the last owner left open, and fence it."""
        await self._producer.start()

    async def write(
        self, outputs: Sequence[Output], changes: Changes, next_offset: int, now: int
    ) -> int:
        grouped = _by_partition(outputs, self._settings)
        grouped[self._log] = changes
        offset = {TopicPartition(*self._place.source): OffsetAndMetadata(next_offset, "")}
        try:
            return await _within(self._settings.flush_deadline, self._commit(grouped, offset, now))
        except ProducerFenced as exc:
            msg = (
                "this worker is fenced: another one has taken the partition over, or the transaction "
                f"was open for longer than {self._settings.session_timeout:g} s"
            )
            raise FencedError(msg) from exc

    async def _commit(
        self, grouped: Grouped, offset: dict[TopicPartition, OffsetAndMetadata], now: int
    ) -> int:
        await self._producer.begin_transaction()
        ends, _ = await asyncio.gather(
            _send(self._producer, grouped, now),
            self._producer.send_offsets_to_transaction(offset, self._settings.app_id),
        )
        await self._producer.commit_transaction()
        return int(ends[self._log]) + 1  # the commit's own record

    async def close(self) -> None:
        await self._producer.stop()


async def _within(seconds: float, work: Coroutine[Any, Any, int]) -> int:
    """Await for so many seconds in which this process ran.

    One that was frozen finds its clock far on, and hears first what the broker has answered meanwhile.

    Raises:
        TimeoutError: no result.
    """
    task, left = asyncio.ensure_future(work), seconds
    try:
        while left > 0:
            step = min(left, TICK_SECONDS)
            if (await asyncio.wait({task}, timeout=step))[0]:
                return task.result()
            left -= step
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    raise TimeoutError


def _options(settings: Settings) -> Mapping[str, Any]:
    return {
        "bootstrap_servers": settings.bootstrap,
        "acks": "all",
        "compression_type": "lz4",
        "max_batch_size": MAX_BATCH_BYTES,
        "max_request_size": 2 * MAX_BATCH_BYTES,
        "linger_ms": 0,
        "request_timeout_ms": int(settings.flush_deadline * 1000),
        "retry_backoff_ms": 50,
    }


def _by_partition(outputs: Sequence[Output], settings: Settings) -> Grouped:
    grouped: dict[tuple[str, int], Any] = {}
    names: dict[str, str] = {}
    for topic, key, value, headers, partition in outputs:
        name = names.get(topic) or names.setdefault(topic, settings.topic(topic))
        target = partition_of(key, settings.partitions) if partition is None else partition
        entry = (key, value, headers) if headers else (key, value)
        if (entries := grouped.get((name, target))) is None:
            grouped[name, target] = [entry]
        else:
            entries.append(entry)
    return grouped


async def _send(producer: AIOKafkaProducer, grouped: Grouped, now: int) -> dict[Any, int]:
    """Send record batches; returns the log end of each partition when all are acknowledged."""
    futures: list[Any] = []
    sent: list[tuple[tuple[str, int], int]] = []
    for where, entries in grouped.items():
        at = 0
        while at < len(entries):
            builder = producer.create_batch()
            filled = fill(builder, entries, at, now)
            if filled == at:
                msg = f"a record of {len(entries[at][1] or b'')} bytes for {where[0]} is too large"
                raise MessageSizeTooLargeError(msg)
            sent.append((where, filled - at))
            futures.append(await _send_batch(producer, builder, where))
            at = filled
    if not futures:
        return {}
    acknowledged = await asyncio.gather(*futures)
    return {where: ack.offset + n for (where, n), ack in zip(sent, acknowledged, strict=True)}


async def _send_batch(producer: AIOKafkaProducer, builder: Any, where: tuple[str, int]) -> Any:
    builder.close()
    return await producer.send_batch(builder, where[0], partition=where[1])


def partition_of(key: bytes | None, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key; 0 without one."""
    return 0 if key is None else _hash(key) % partitions


@lru_cache(maxsize=65_536)
def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF
