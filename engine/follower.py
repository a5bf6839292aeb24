"""A follower: reads topics in a consumer group of its own and hands what it reads to a handler.

Sinks and the notifier are followers, so that a slow store delays only itself. Offsets are committed
after the handler has returned; a handler that raises ``StorageError`` is called again with the same
records, with back-off, for as long as it takes, while heartbeats and everything else go on.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

from engine.exits import leave_now
from models.errors import StorageError

log = logging.getLogger("backbeat.engine")

Records = Mapping[TopicPartition, Sequence[ConsumerRecord]]
Handler = Callable[[Records], Awaitable[None]]
Positions = Callable[[], Awaitable[Mapping[tuple[str, int], int]]]

MAX_BACKOFF = 30.0


class Follower(ConsumerRebalanceListener):
    """One consumer group over some topics.

    ``prepare``, where given, is awaited before the first record, again and again while it raises
    ``StorageError``: a store that is down at start delays only itself. ``positions``, where given,
    says where each partition continues (a store that keeps its offsets in the transaction of its
    rows knows better than the group).
    """

    def __init__(
        self,
        bootstrap: str,
        group: str,
        topics: Sequence[str],
        handler: Handler,
        *,
        prepare: Callable[[], Awaitable[None]] | None = None,
        positions: Positions | None = None,
        max_records: int = 2000,
        session_timeout: float = 10.0,
    ) -> None:
        self.group = group
        self.topics = list(topics)
        self.behind_since: float | None = None
        self.handled = 0
        self._handler = handler
        self._prepare = prepare
        self._positions = positions
        self._max_records = max_records
        self._task: asyncio.Task[None] | None = None
        self._bootstrap = bootstrap
        self._session_ms = int(session_timeout * 1000)
        self._consumer: AIOKafkaConsumer
        self._committed: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Begin to join the group and to follow, in a task: joining may take the broker seconds."""
        self._task = asyncio.create_task(self._run(), name=f"follower {self.group}")
        self._task.add_done_callback(self._ended)

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=self.group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=self._session_ms,
            heartbeat_interval_ms=self._session_ms // 3,
            rebalance_timeout_ms=self._session_ms,
            max_poll_interval_ms=24 * 3_600_000,  # a store may be away for long
            fetch_max_wait_ms=200,
            metadata_max_age_ms=30_000,
        )

    async def stop(self) -> None:
        """Stop between two handlings; what is not committed is handled again later."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            leave_now(f"follower {self.group} failed: {task.exception()!r}", task.exception())

    async def on_partitions_revoked(self, revoked: Any) -> None:
        """Nothing to do: offsets are committed with every handling."""

    async def on_partitions_assigned(self, assigned: Any) -> None:
        """Continue where the store says, where it does; nothing is handed out before it has."""
        if self._positions is None:
            return
        self._consumer.pause(*assigned)
        known = await self._retrying(self._positions)
        for tp in assigned:
            if (offset := known.get((tp.topic, tp.partition))) is not None:
                self._consumer.seek(tp, offset)
        self._consumer.resume(*assigned)

    async def _run(self) -> None:
        if self._prepare is not None:
            await self._retrying(self._prepare)
        self._consumer = self._new_consumer()
        self._consumer.subscribe(self.topics, listener=self)
        try:
            await self._consumer.start()
            await self._follow()
        finally:
            await self._consumer.stop()

    async def _follow(self) -> None:
        while True:
            records = await self._consumer.getmany(timeout_ms=500, max_records=self._max_records)
            if not records:
                await self._commit(await self._quiet_positions())
                continue

            async def handle(batch: Records = records) -> None:
                await self._handler(batch)

            await self._retrying(handle)
            self.handled += sum(len(r) for r in records.values())
            await self._commit({tp: rs[-1].offset + 1 for tp, rs in records.items()})

    async def _quiet_positions(self) -> dict[TopicPartition, int]:
        """Positions that moved without a record: transactions end with one that nobody is given."""
        mine = self._consumer.assignment()
        places = {tp: await self._consumer.position(tp) for tp in mine & self._committed.keys()}
        return {tp: place for tp, place in places.items() if place > self._committed[tp]}

    async def _commit(self, offsets: dict[TopicPartition, int]) -> None:
        mine = self._consumer.assignment()
        offsets = {tp: offset for tp, offset in offsets.items() if tp in mine}
        if not offsets:
            return
        self._committed |= offsets
        try:
            await self._consumer.commit(offsets)
        except KafkaError as exc:
            log.warning("%s: offsets not committed, records may be handled again: %s",
                        self.group, exc)  # fmt: skip

    async def _retrying(self, call: Callable[[], Awaitable[Any]]) -> Any:
        wait = 0.25
        while True:
            try:
                result = await call()
            except StorageError as exc:
                self.behind_since = self.behind_since or time.monotonic()
                log.warning("%s: store failed, again in %.1f s: %s", self.group, wait, exc)
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))
                wait = min(MAX_BACKOFF, wait * 2)
            else:
                self.behind_since = None
                return result

    def status(self) -> dict[str, Any]:
        """What the health page says of it."""
        waiting = self.behind_since
        return {
            "group": self.group,
            "handled": self.handled,
            "store_unavailable_for": round(time.monotonic() - waiting, 1) if waiting else 0,
        }
