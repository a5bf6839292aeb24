"""A global store: a compacted topic that every worker reads completely before it fetches anything."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord, TopicPartition

from engine.changelog import read_to_end, reader
from engine.exits import leave_now
from models.logs import Unreadable

log = logging.getLogger("backbeat.engine")


class GlobalStore(Mapping[str, Any]):
    """Read-only view of a compacted topic: key text -> decoded value; follows changes.

    ``version`` grows with every change. A value that cannot be decoded is logged and left out; the
    last good one stays.
    """

    def __init__(self, bootstrap: str, topic: str, decode: Callable[[bytes], Any]) -> None:
        self.topic = topic
        self.is_complete = False
        self.version = 0
        self._bootstrap = bootstrap
        self._decode = decode
        self._values: dict[str, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._complete = asyncio.Event()
        self._unreadable = Unreadable(log, "value cannot be used; the last one stays")

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    async def start(self) -> None:
        """Begin to read; returns when everything that was there has been read."""
        self._task = asyncio.create_task(self._follow(), name=f"global {self.topic}")
        self._task.add_done_callback(self._ended)
        await self._complete.wait()

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            leave_now(f"global store {self.topic} cannot be followed", task.exception())

    async def _follow(self) -> None:
        async with reader(self._bootstrap) as consumer:
            tps = await self._partitions(consumer)
            await read_to_end(consumer, tps, self._take)
            self.is_complete = True
            self._complete.set()
            while True:
                for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                    self._take(tp, records)

    async def _partitions(self, consumer: AIOKafkaConsumer) -> list[TopicPartition]:
        while not (numbers := consumer.partitions_for_topic(self.topic)):
            await consumer._client.force_metadata_update()
            consumer._client.add_topic(self.topic)
        return [TopicPartition(self.topic, n) for n in sorted(numbers)]

    def _take(self, _tp: TopicPartition, records: Sequence[ConsumerRecord]) -> None:
        for record in records:
            key = (record.key or b"").decode("utf-8", "replace")
            self.version += 1
            if record.value is None:
                self._values.pop(key, None)
                continue
            try:
                self._values[key] = self._decode(record.value)
            except Exception as exc:  # noqa: BLE001 - foreign bytes, of whatever decoder
                self._unreadable.write(self.topic, exc, key=key)
