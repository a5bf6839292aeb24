"""The alert feed of an API that reads the topic of alerts itself.

Every process reads all partitions for itself, without a consumer group and without committing: it
begins a ring's length before the end, and what it reads it keeps only in memory.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from models.errors import StorageUnavailableError
from models.logs import Unreadable
from models.records import decode_alert
from storage.cluster import identify, partitions_of, read_mark
from storage.feeds import QUEUE, RING, BroadcastFeed, FeedRecord, end_task

_log = logging.getLogger(__name__)

_POLL = 1_000  # ms that one read waits for news
_PAUSE = 1.0  # s between tries while the broker is away
_LOOK = 5.0  # s between two looks whether the cluster is still the same


class KafkaAlertFeed(BroadcastFeed):
    """Implements ``AlertFeed``. While the broker is away subscribers wait, and miss nothing.

    ``cluster_topic`` tells whose offsets these are; it is looked at again every few seconds, for a
    broker that was made anew on the same address may go unnoticed otherwise.
    ``timeout``: seconds within which ``start`` must find the broker and the topic. ``options`` go
    to the Kafka clients (security). ``fetch_wait``: ms that the broker may hold a fetch back;
    Tansu wants it short.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        ring: int = RING,
        queue: int = QUEUE,
        cluster_topic: str = "cluster",
        timeout: float = 10.0,
        fetch_wait: int = 50,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(ring, queue)
        self._topic = topic
        self._mark = TopicPartition(cluster_topic, 0)
        self._ring = ring
        self._timeout = timeout
        self._fetch_wait = fetch_wait
        self._options = {"bootstrap_servers": bootstrap, **(options or {})}
        self._partitions: list[TopicPartition] = []
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None
        self.undecodable = 0
        """Records that were passed over because they are no alert."""
        self._unreadable = Unreadable(_log, "record is no alert")

    async def start(self) -> None:
        """See ``AlertFeed``; returns when the ring has been read."""
        if self._task is not None:
            return
        try:
            async with asyncio.timeout(self._timeout):
                self._consumer = await self._connect()
                await self._catch_up(self._consumer)
        except (KafkaError, OSError, TimeoutError) as exc:
            await self._disconnect()
            msg = f"alerts cannot be read from topic {self._topic}: {exc!r}"
            raise StorageUnavailableError(msg) from exc
        self._task = asyncio.create_task(self._follow(), name="kafka-alert-feed")

    async def stop(self) -> None:
        """See ``AlertFeed``."""
        task, self._task = self._task, None
        if task is not None:
            await end_task(task)
        await self._disconnect()
        self._broadcast.close()

    async def _explore(self) -> None:
        """Ask who the cluster is, and for the topic's partitions; wait for both topics."""
        cluster = await identify(self._options, self._mark.topic, self._timeout)
        if self._cluster_id not in {"", cluster}:
            _log.warning("alert feed begins anew", extra={"error": "the cluster is another one"})
            self._begin_anew("the topics were made anew; take a snapshot")
        self._cluster_id = cluster
        admin = AIOKafkaAdminClient(**self._options)
        try:
            await admin.start()
            numbers = await partitions_of(admin, self._topic)
        finally:
            await admin.close()
        self._partitions = [TopicPartition(self._topic, number) for number in numbers]

    async def _connect(self) -> AIOKafkaConsumer:
        """A consumer that stands where the feed goes on, or a ring before the end at first."""
        await self._explore()
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=self._fetch_wait,
        )
        try:
            await consumer.start()
            partitions = self._partitions
            consumer.assign([*partitions, self._mark])
            consumer.seek(self._mark, 0)
            first = await consumer.beginning_offsets(partitions)
            after = await consumer.end_offsets(partitions)
            for tp in partitions:
                begin = max(first[tp], after[tp] - self._ring // len(partitions))
                self._broadcast.begin(tp.partition, begin - 1)
                consumer.seek(tp, self._broadcast.end[tp.partition] + 1)
        except BaseException:  # cancelled, too: nothing may stay connected
            await consumer.stop()
            raise
        return consumer

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _catch_up(self, consumer: AIOKafkaConsumer) -> None:
        """Read to the present end, or for half the time there is: an open transaction hides it."""
        deadline = time.monotonic() + self._timeout / 2
        after = await consumer.end_offsets(self._partitions)
        while time.monotonic() < deadline:
            if all(self._broadcast.end[tp.partition] >= end - 1 for tp, end in after.items()):
                return
            await self._read(consumer, 200)

    async def _follow(self) -> None:
        looked = time.monotonic()
        while True:
            try:
                if self._consumer is None:
                    self._consumer = await self._connect()
                if time.monotonic() - looked > _LOOK:
                    await self._check_mark(self._consumer)
                    looked = time.monotonic()
                await self._read(self._consumer, _POLL)
            except OffsetOutOfRangeError as exc:
                _log.warning("alert feed begins anew", extra={"error": str(exc)})
                self._begin_anew(f"topic {self._topic} was truncated or made anew; take a snapshot")
                await self._disconnect()
            except (KafkaError, OSError, StorageUnavailableError) as exc:
                _log.warning("alert feed waits for Kafka", extra={"error": repr(exc)})
                await self._disconnect()
                await asyncio.sleep(_PAUSE)

    async def _check_mark(self, consumer: AIOKafkaConsumer) -> None:
        """Connect again where the cluster may be another one; what follows finds out."""
        mark = await read_mark(consumer, self._mark)
        if mark is None or not self._cluster_id.endswith(f".{mark}"):
            await self._disconnect()
            self._consumer = await self._connect()

    async def _read(self, consumer: AIOKafkaConsumer, wait: int) -> None:
        fetched = await consumer.getmany(*self._partitions, timeout_ms=wait)
        for records in fetched.values():
            self._feed(records)
        for tp in self._partitions:
            # Beyond the last record lie the markers of transactions.
            self._broadcast.skip(tp.partition, await consumer.position(tp) - 1)

    def _feed(self, records: Iterable[ConsumerRecord]) -> None:
        for record in records:
            try:
                alert = decode_alert(record.value or b"")
            except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
                self.undecodable += 1
                self._unreadable.write(
                    record.topic, exc, partition=record.partition, offset=record.offset
                )
                continue
            self._broadcast.feed(FeedRecord(record.partition, record.offset, alert))
