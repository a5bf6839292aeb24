"""A compacted topic as a mapping: what processes without state of their own know of models and labels.

Every process reads the whole topic for itself, without a consumer group and without committing, and
follows it. The twin in memory serves tests.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from models.errors import BackbeatError, StorageUnavailableError
from models.logs import Unreadable
from storage.cluster import identify, partitions_of, read_mark
from storage.feeds import end_task

_log = logging.getLogger(__name__)

_POLL = 500  # ms that one read waits for news
_PAUSE = 1.0  # s between tries while the broker is away
_LOOK = 5.0  # s between two looks whether the cluster is still the same


class MemoryTable(Mapping[str, Any]):
    """Key -> decoded value, of records that are taken one by one; the base of the real one.

    A value that cannot be decoded is counted and logged, and the last good one of its key stays.
    """

    def __init__(self, name: str, decode: Callable[[bytes], Any]) -> None:
        self.name = name
        self.is_complete = True
        """Whether everything that was there has been read."""
        self.version = 0
        """Grows with every record that was taken."""
        self.undecodable = 0
        """Records that were passed over because they cannot be decoded."""
        self._unreadable = Unreadable(_log, "value cannot be used; the last one stays")
        self._decode = decode
        self._values: dict[str, Any] = {}
        self._changed = asyncio.Event()

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    async def start(self) -> None:
        """Nothing is needed."""

    async def stop(self) -> None:
        """What was taken stays until the object goes."""

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """One record; without a value it removes its key."""
        self._put(self._values, key, value)
        self._tell()

    async def until(self, arrived: Callable[[Mapping[str, Any]], bool], within: float) -> bool:
        """Wait until what is known satisfies ``arrived``, at most ``within`` seconds; whether it does.

        How a writer finds its own records here before it answers.
        """
        try:
            async with asyncio.timeout(within):
                while not arrived(self):
                    await self._changed.wait()
        except TimeoutError:
            return arrived(self)
        return True

    def _put(self, values: dict[str, Any], key: bytes | None, value: bytes | None) -> None:
        text = (key or b"").decode("utf-8", "replace")
        if value is None:
            values.pop(text, None)
            return
        try:
            values[text] = self._decode(value)
        except (msgspec.MsgspecError, ValueError, RecursionError, BackbeatError) as exc:
            self.undecodable += 1
            self._unreadable.write(self.name, exc, key=text)

    def _tell(self) -> None:
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()


class CompactedTopic(MemoryTable):
    """Follows a compacted topic; while the broker is away what is known stays.

    After a lost connection the topic is read anew beside what is known, and takes its place when it
    is complete: so keys that were removed meanwhile go, also where the topic was made anew, which
    ``cluster_topic`` tells. ``timeout``: seconds within which ``start`` must have read everything.
    ``options`` go to the Kafka clients (security). ``fetch_wait``: ms that the broker may hold a
    fetch back; Tansu wants it short.
    """

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        decode: Callable[[bytes], Any],
        cluster_topic: str = "cluster",
        timeout: float = 10.0,
        fetch_wait: int = 50,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(topic, decode)
        self.is_complete = False
        self._mark = TopicPartition(cluster_topic, 0)
        self._timeout = timeout
        self._fetch_wait = fetch_wait
        self._options = {"bootstrap_servers": bootstrap, **(options or {})}
        self._cluster = ""
        self._partitions: list[TopicPartition] = []
        self._consumer: AIOKafkaConsumer | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when everything that was there has been read; idempotent.

        Raises:
            StorageUnavailableError: the broker or the topic could not be had in time.
        """
        if self._task is not None:
            return
        try:
            async with asyncio.timeout(self._timeout):
                await self._connect()
        except (KafkaError, OSError, TimeoutError) as exc:
            msg = f"topic {self.name} cannot be read: {exc!r}"
            raise StorageUnavailableError(msg) from exc
        self._task = asyncio.create_task(self._follow(), name=f"compacted {self.name}")

    async def stop(self) -> None:
        """Stop following; what is known stays. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            await end_task(task)
        await self._disconnect()

    async def _connect(self) -> None:
        """Read everything, then let it take the place of what was known."""
        try:
            self._cluster = await identify(self._options, self._mark.topic, self._timeout)
            self._partitions = await self._explore()
            self._consumer = await self._consume()
            values = await self._read_to_end(self._consumer)
        except BaseException:  # cancelled, too: nothing may stay connected
            await self._disconnect()
            raise
        self._values = values
        self.is_complete = True
        self._tell()

    async def _explore(self) -> list[TopicPartition]:
        admin = AIOKafkaAdminClient(**self._options)
        try:
            await admin.start()
            numbers = await partitions_of(admin, self.name)
        finally:
            await admin.close()
        return [TopicPartition(self.name, number) for number in numbers]

    async def _consume(self) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            **self._options,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_wait_ms=self._fetch_wait,
        )
        try:
            await consumer.start()
            consumer.assign([*self._partitions, self._mark])
            await consumer.seek_to_beginning(*self._partitions)
            consumer.seek(self._mark, 0)
        except BaseException:  # as above
            await consumer.stop()
            raise
        return consumer

    async def _read_to_end(self, consumer: AIOKafkaConsumer) -> dict[str, Any]:
        """The end is the high watermark that a fetch brings: not every broker tells it otherwise.

        It is taken once, so that a topic which is being written to is not chased for ever.
        """
        values: dict[str, Any] = {}
        ends: dict[TopicPartition, int] = {}
        waiting = set(self._partitions)
        while waiting:
            fetched = await consumer.getmany(*self._partitions, timeout_ms=100)
            for records in fetched.values():
                self._fill(values, records)
            for tp in list(waiting):
                if (highwater := consumer.highwater(tp)) is not None:
                    ends.setdefault(tp, highwater)
                if tp in ends and await consumer.position(tp) >= ends[tp]:
                    waiting.discard(tp)
        return values

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _follow(self) -> None:
        looked = time.monotonic()
        while True:
            try:
                if self._consumer is None:
                    await self._connect()
                elif time.monotonic() - looked > _LOOK:
                    looked = time.monotonic()
                    await self._check_mark(self._consumer)
                else:
                    await self._read(self._consumer)
            except (KafkaError, OSError, StorageUnavailableError) as exc:
                _log.warning(
                    "table waits for Kafka", extra={"topic": self.name, "error": repr(exc)}
                )
                await self._disconnect()
                await asyncio.sleep(_PAUSE)

    async def _check_mark(self, consumer: AIOKafkaConsumer) -> None:
        """Read everything anew where the cluster may be another one."""
        mark = await read_mark(consumer, self._mark)
        if mark is None or not self._cluster.endswith(f".{mark}"):
            await self._disconnect()

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        fetched = await consumer.getmany(*self._partitions, timeout_ms=_POLL)
        for records in fetched.values():
            self._fill(self._values, records)
        if fetched:
            self._tell()

    def _fill(self, values: dict[str, Any], records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            self._put(values, record.key, record.value)
