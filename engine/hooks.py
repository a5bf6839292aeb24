"""Every hold on the private parts of Faust and aiokafka, but for record batches (``engine.batches``).

Each override names what it replaces and why. ``check_sources`` compares a hash of every replaced or
relied-on function with the one this was written against, so that an upgrade is a clear error at
start and not a surprise at three in the morning.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from aiokafka import AIOKafkaConsumer, codec
from aiokafka.consumer.fetcher import Fetcher, FetchResult, PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from faust.app.base import App
from faust.transport import consumer as faust_consumer
from faust.transport.drivers import aiokafka as faust_driver
from faust.types import TP, ConsumerMessage

from engine.batches import read_batches, read_values
from engine.chunk import Chunk
from models.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mode import ServiceT

log = logging.getLogger("backbeat.engine")
T = TypeVar("T")

MAX_CHUNK = 5_000
"""Records after which a chunk takes no further batch: folding many holds the event loop."""

VALUES_AT_ONCE = 100_000
"""Records after which a restore lets others have its thread; longer turns with one dict are quicker."""

FETCH_MIN_BYTES = 16 * 1024
FETCH_MAX_WAIT_MS = 50
"""A fetch waits at the broker for so many bytes or ms: many small fetches cost more than the wait."""

GATE_POLL = 0.05
"""Seconds until partitions whose gate has opened are looked at again."""

SOURCES = {
    "faust Consumer._drain_messages": (faust_consumer.Consumer._drain_messages, "44a2500309e83c63"),
    "faust Consumer.getmany": (faust_consumer.Consumer.getmany, "4b168d84882a70d6"),
    "faust Consumer._wait_next_records": (
        faust_consumer.Consumer._wait_next_records,
        "6218e1969a636b3f",
    ),
    "faust Consumer.perform_seek": (faust_consumer.Consumer.perform_seek, "0e8c130ff4b0afd8"),
    "faust Consumer._to_message": (faust_driver.Consumer._to_message, "7c24f6511b2fcef7"),
    "faust ConsumerThread._fetch_records": (
        faust_driver.AIOKafkaConsumerThread._fetch_records,
        "39a2c6c79fc1455a",
    ),
    "faust ConsumerThread._create_worker_consumer": (
        faust_driver.AIOKafkaConsumerThread._create_worker_consumer,
        "c2701bfc3e6f6cad",
    ),
    "faust App._on_partitions_revoked": (App._on_partitions_revoked, "d5c895bbe57dc73a"),
    "faust App._on_partitions_assigned": (App._on_partitions_assigned, "de932b7927db85b3"),
    "faust App._new_transport": (App._new_transport, "42db531312dd776f"),
    "aiokafka GroupCoordinator._do_heartbeat": (GroupCoordinator._do_heartbeat, "dc1d6632aaa68e96"),
    "aiokafka lz4_encode": (codec.lz4_encode, "a27f1d0da7e18dcb"),
    "aiokafka BatchBuilder": (BatchBuilder, "8050802ca7514186"),
    "aiokafka Fetcher.fetched_records": (Fetcher.fetched_records, "be4348896b9b66af"),
    "aiokafka FetchResult": (FetchResult, "d7db13f06de8248c"),
    "aiokafka PartitionRecords": (PartitionRecords, "94aa0da0dbec8d1b"),
}


def source_hash(thing: Any) -> str:
    """First 16 hex digits of the SHA-256 of a function's or class's source."""
    return hashlib.sha256(inspect.getsource(thing).encode()).hexdigest()[:16]


def check_sources() -> None:
    """Raise ConfigurationError if a function we replace or rely on is not the one we know."""
    for name, (thing, known) in SOURCES.items():
        if (found := source_hash(thing)) != known:
            msg = (
                f"{name} has source hash {found}, the engine was written for {known}; "
                "install the versions of requirements.lock"
            )
            raise ConfigurationError(msg)


class ChunkConsumerThread(faust_driver.AIOKafkaConsumerThread):
    """Takes whole chunks from aiokafka's fetcher, and only of partitions whose gate is open."""

    def _create_worker_consumer(self, transport: Any) -> AIOKafkaConsumer:
        # Replaced for settings that Faust does not offer: how long a fetch waits at the broker
        # (1.5 s would hold back a partition that has just been opened), and for how many bytes;
        # reading committed records only.
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS
        consumer._fetch_min_bytes = FETCH_MIN_BYTES
        consumer._isolation_level = "read_committed"
        return consumer

    async def _fetch_records(
        self,
        consumer: AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - Faust's signature
        max_records: int | None = None,
    ) -> Any:
        # Replaces one ConsumerRecord per message by one Chunk per partition, fetched only where the
        # engine's gate is open: state restored, room in the buffer.
        if not self.consumer.flow_active:
            return {}
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        engine = self.consumer.app.engine
        if chunks := _drain(fetcher, engine.fetchable(active_partitions)):
            return chunks
        # A gate may open while its records already wait in the fetcher: so never wait long.
        waiter = fetcher._create_fetch_waiter()
        await asyncio.wait([waiter], timeout=min(timeout or 0.0, GATE_POLL))
        waiter.cancel()
        return _drain(fetcher, engine.fetchable(active_partitions))


def _drain(fetcher: Fetcher, open_tps: set[TP]) -> dict[TP, list[Chunk]]:
    """Take what the fetcher holds for open partitions, a chunk each."""
    chunks: dict[TP, list[Chunk]] = {}
    for tp in list(fetcher._records):
        if tp not in open_tps:
            _release(fetcher, tp)
        elif taken := _take(fetcher, tp, lambda part: read_batches(part, MAX_CHUNK)):
            records, start, state = taken
            end = state.highwater if state.highwater is not None else state.position
            if records or state.position != start:
                chunks[tp] = [Chunk(tp.topic, tp.partition, start, state.position, end, records)]
    return chunks


def _release(fetcher: Fetcher, tp: TP) -> None:
    """Leave a fetch's result for when its partition opens; drop it where that is not ours any more."""
    result = fetcher._records[tp]
    if isinstance(result, FetchResult):
        _untie(result._partition_records)
    if not fetcher._subscriptions.is_assigned(tp):
        del fetcher._records[tp]


def _take(
    fetcher: Fetcher, tp: TP, read: Callable[[PartitionRecords], tuple[T, bool]]
) -> tuple[T, int, Any] | None:
    """Read some of a fetch's result, and move the partition's position behind it.

    Returns:
        what was read, the position it was read at, and the partition's state; None if the result is of
        no use: it answers an older position, or is damaged.
    """
    result = fetcher._records[tp]
    if not isinstance(result, FetchResult):
        _forget(fetcher, tp)
        result.check_raise()
        return None
    _untie(result._partition_records)
    state = result._assignment.state_value(tp) if result._assignment.active else None
    if state is None or not state.has_valid_position or not result.check_assignment(tp):
        _forget(fetcher, tp)
        return None
    start = state.position
    try:
        found, has_more = read(result._partition_records)
    except CorruptRecordException as exc:
        log.warning("%s[%s] at %d: %s; fetched again", tp.topic, tp.partition, start, exc)
        _forget(fetcher, tp)
        return None
    result._update_position()
    if not has_more:
        _forget(fetcher, tp)
    return found, start, state


def _untie(part: PartitionRecords) -> None:
    """Drop the iterator that a fetch's result is made with: it is not used, and refers back to it.

    In that circle every fetch's bytes, up to 4 MB, waited for the garbage collector, which has few
    reasons to run here: 50 bytes of memory for each event that was ever read.
    """
    part._records_iterator = None


def _forget(fetcher: Fetcher, tp: TP) -> None:
    """Drop a fetch's result, so that the partition is fetched again from its position."""
    del fetcher._records[tp]
    fetcher._notify(fetcher._wait_consume_future)


async def next_values(
    consumer: AIOKafkaConsumer,
    into: Mapping[int, dict[bytes, bytes | None]],
    timeout: float,  # noqa: ASYNC109
) -> dict[int, int]:
    """What a consumer of one topic without a group has fetched, into a dict a partition.

    Waits for some at most so long. Where it is damaged, all since the partition's position comes again.

    Returns:
        how many records there were, by partition.
    """
    fetcher = consumer._fetcher
    if not fetcher._records:
        waiter = fetcher._create_fetch_waiter()
        await asyncio.wait([waiter], timeout=timeout)
        waiter.cancel()
    counts: dict[int, int] = {}
    for tp in list(fetcher._records):
        values = into.get(tp.partition, {})  # nothing is wanted any more of one that is done
        read = partial(read_values, limit=VALUES_AT_ONCE, into=values)
        if tp in fetcher._records and (taken := _take(fetcher, tp, read)):
            counts[tp.partition] = taken[0]
        await asyncio.sleep(0)  # others share the thread, and the next fetch goes out meanwhile
    return counts


class ChunkConsumer(faust_driver.Consumer):
    """Faust's consumer, delivering chunks; never seeks, never acknowledges, never commits."""

    def _new_consumer_thread(self) -> ChunkConsumerThread:
        return ChunkConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        # One message a chunk; its offset is the last one the chunk stands for.
        return ConsumerMessage(
            record.topic, record.partition, record.next - 1, 0.0, 0, (), None, record, None, 0, 0,
            tp, generation_id=self.app.consumer_generation_id,
        )  # fmt: skip

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        # Replaced because the original drops what lies below its own read offset and tracks gaps
        # for acknowledgements that we do not make. Continuity is checked by Step.accept.
        while not (self.should_stop or fetcher.should_stop):
            async for _tp, message in self.getmany(timeout=0.25):
                await self.wait_first(self.callback(message), self.suspend_flow.wait())
            await asyncio.sleep(0)

    async def perform_seek(self) -> None:
        # Replaced: the engine alone decides where a partition is read from (the changelog says).
        return

    def verify_event_path(self, now: float, tp: TP) -> None:
        # Replaced: it only logs, from commits that Faust no longer makes, and can raise
        # AssertionError right after a rebalance. The engine has its own liveness.
        return

    async def seek_to(self, tp: TP, offset: int) -> None:
        """Read ``tp`` from ``offset``; on the consumer's own thread, as aiokafka needs it."""
        await self._thread.call_thread(self._seek_now, tp, offset)

    async def _seek_now(self, tp: TP, offset: int) -> None:
        consumer = self._thread._ensure_consumer()
        if tp in consumer.assignment():
            consumer.seek(TopicPartition(tp.topic, tp.partition), offset)

    def highwater_of(self, tp: TP) -> int | None:
        """The partition's end as the last fetch told it; None before one."""
        consumer = self._thread._ensure_consumer()
        return consumer.highwater(tp) if tp in consumer.assignment() else None

    async def is_member(self, generation: int) -> bool:
        """Whether the group still counts us to this generation; asks the broker.

        A broker that does not answer has not thrown us out: the producers' fencing decides then.
        """
        found: bool = await self._thread.call_thread(self._is_member_now, generation)
        return found

    async def _is_member_now(self, generation: int) -> bool:
        coordinator = self._thread._ensure_consumer()._coordinator
        if coordinator.generation == generation:
            await coordinator._do_heartbeat()  # takes the generation away if we are out
        return bool(coordinator.generation == generation)

    def stable_of(self, tp: TP) -> int | None:
        """The partition's last stable offset as the last fetch told it; None before one."""
        consumer = self._thread._ensure_consumer()
        return consumer.last_stable_offset(tp) if tp in consumer.assignment() else None

    async def commit_offsets(self, offsets: Mapping[TP, int]) -> None:
        """Commit for lag tools; the truth is in the changelog."""
        await self._thread.call_thread(self._commit_now, offsets)

    async def _commit_now(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._thread._ensure_consumer()
        mine = consumer.assignment()
        await consumer.commit(
            {
                TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
                for tp, offset in offsets.items()
                if tp in mine
            }
        )

    async def first_offsets(self, tps: Iterable[TP]) -> Mapping[TP, int]:
        """The earliest offsets still in the log."""
        found: Mapping[TP, int] = await self.earliest_offsets(*tps)
        return found


class ChunkTransport(faust_driver.Transport):
    """Faust's aiokafka transport with our consumer."""

    Consumer = ChunkConsumer
