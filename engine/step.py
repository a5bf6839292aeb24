"""A step: one source topic, its keyed stores, and the agent that folds its batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from faust.types import TP

from engine.changelog import restore
from engine.chunk import Chunk
from engine.exits import leave_now
from engine.partition import Partition
from engine.store import PartitionState
from engine.work import Work
from models.errors import BackbeatError
from models.flow import TIMERS, Batch, Output, Record, StoreSpec
from models.records import MAX_DEAD_LETTER_BYTES, DeadLetter, to_json

if TYPE_CHECKING:
    from engine.app import Engine

log = logging.getLogger("backbeat.engine")

TICK = 1.0
"""Seconds after which a quiet partition gets an empty batch, so that time passes for it."""

FLUSH_DEADLINE = 10.0
"""Seconds a flush may take before the process leaves."""

TRUNCATED_AFTER = 5
"""Fetches in a row that do not continue where we are, until the source counts as truncated."""


class Step:
    """Made by :meth:`EngineApp.step`; knows the partitions of its source that this worker has."""

    def __init__(self, engine: Engine, name: str, source: str, stores: Sequence[StoreSpec]) -> None:
        self.engine = engine
        self.name = name
        self.source = source
        self.topic = engine.settings.topic(source)
        self.changelog = f"{engine.settings.app_id}-{name}-changelog"
        self.stores = tuple(stores)
        self.partitions: dict[int, Partition] = {}
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()
        """Set while draining and nothing that was read is left to fold or flush."""
        self._working: Work | None = None
        self.draining = False

    # -- what the agent calls ---------------------------------------------------------------

    async def batches(self, stream: Any) -> AsyncIterator[Work]:
        """Batches of this worker's partitions, for ever; each is flushed when the body comes back.

        A batch is due when enough records or time have gathered, when a timer has come due, or after
        a tick without any. Batch boundaries differ from run to run.
        """
        if self._working is not None:
            leave_now(f"agent of step {self.name} was restarted in the middle of a batch")
        pump = asyncio.get_running_loop().create_task(self._pump(stream))
        try:
            while True:
                partition = await self._next_due(pump)
                if partition is None:
                    return
                work = self._take(partition)
                self._working = work
                yield work
                await self._finish(work)
                self._working = None
        finally:
            pump.cancel()

    # -- records in -------------------------------------------------------------------------

    async def _pump(self, stream: Any) -> None:
        # Acknowledgements are off: Faust would make them whatever became of the chunk.
        async for chunk in stream.noack():
            await self.accept(chunk)

    async def accept(self, chunk: Chunk) -> None:
        """Put a chunk into its partition's buffer, or find out why it does not fit there."""
        partition = self.partitions.get(chunk.partition)
        if partition is None or not partition.ready or partition.revoked:
            return
        if partition.accept(chunk):
            self._wake.set()
            return
        partition.mismatches += 1
        if partition.mismatches >= TRUNCATED_AFTER and chunk.start > partition.position:
            self._skip_truncated(partition, chunk)
            return
        # Something was dropped on the way (a rebalance clears Faust's queues): read it again.
        await self.engine.seek(partition.tp, partition.position)

    def _skip_truncated(self, partition: Partition, chunk: Chunk) -> None:
        lost = chunk.start - partition.position
        self.engine.metrics.truncated.labels(self.source).inc(lost)
        log.error(
            "source %s[%s] is truncated: records %d to %d are gone, going on at %d",
            self.topic, partition.tp.partition, partition.position, chunk.start, chunk.start,
        )  # fmt: skip
        partition.position = chunk.start
        partition.accept(chunk)
        self._wake.set()

    # -- choosing work ----------------------------------------------------------------------

    async def _next_due(self, pump: asyncio.Task[None]) -> Partition | None:
        """The partition whose batch has been due longest; None when the worker has stopped."""
        while True:
            if pump.done() and self.draining:
                return None
            if pump.done():
                leave_now(f"stream of step {self.name} ended", pump.exception())
            now = time.monotonic()
            deadlines = [
                (self._deadline(p), p)
                for p in self.partitions.values()
                if p.ready and not p.revoked
            ]
            deadlines.sort(key=_first)
            if self.draining and not any(p.buffer for p in self.partitions.values()):
                self.idle.set()
            elif deadlines and deadlines[0][0] <= now:
                return deadlines[0][1]
            wait = deadlines[0][0] - now if deadlines else TICK
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), min(wait, TICK))
            except TimeoutError:
                continue

    def _deadline(self, partition: Partition) -> float:
        settings = self.engine.settings
        if partition.buffer:
            if partition.buffered >= settings.flush_records or self.draining:
                return partition.first_buffered_at  # past: the one that waits longest is first
            return partition.first_buffered_at + settings.flush_interval
        if partition.has_due(self.engine.now()):
            return 0.0
        return partition.worked_at + TICK

    def _take(self, partition: Partition) -> Work:
        now = self.engine.now()
        records, end = partition.take(self.engine.settings.flush_records)
        partition.worked_at = time.monotonic()
        highwater = self.engine.highwater(partition.tp)
        if highwater is not None:
            partition.highwater = max(partition.highwater, highwater)
        at_end = not partition.buffer and 0 <= partition.highwater <= partition.position
        due = partition.take_due(now)
        batch = Batch(self.source, partition.tp.partition, records, at_end=at_end, due=due)
        return Work(partition, batch, end, now)

    # -- records out ------------------------------------------------------------------------

    async def _finish(self, work: Work) -> None:
        """Flush, or isolate what broke the fold. Returns with the work done, or does not return."""
        if work.partition.revoked:
            return
        try:
            if work.error is None:
                await self._flush(work, work.outputs)
            else:
                await self._isolate(work)
        except asyncio.CancelledError:
            raise
        except Exception as exc:  # noqa: BLE001 - the edge: nothing may be acknowledged by accident
            leave_now(f"flush of {self.topic}[{work.partition.tp.partition}] failed: {exc}", exc)

    async def _flush(self, work: Work, outputs: Sequence[Output]) -> None:
        partition = work.partition
        known = partition.state.meta is not None and work.next_offset == partition.next_offset
        if known and not outputs and not partition.state.is_dirty:
            return
        began = time.monotonic()
        changes = partition.state.freeze(work.next_offset, work.now)
        async with partition.flushing, asyncio.timeout(FLUSH_DEADLINE):
            await self.engine.flush.write(
                outputs, self.changelog, partition.tp.partition, changes, work.now
            )
        partition.flushed_at = time.monotonic()
        partition.next_offset = work.next_offset
        partition.flush_seconds = partition.flushed_at - began
        self.engine.flushed(self, partition, len(work.batch.records), len(changes), len(outputs))

    async def _isolate(self, work: Work) -> None:
        """Find the record that breaks the fold, in offset order; what the failed try did is undone.

        State is read again from the changelog, which holds exactly the last flush: a failed try
        can leave nothing behind. First the whole batch again (the error may pass), then halves.
        """
        await self._reload(work.partition)
        assert work.fold is not None  # noqa: S101 - an error can only come from a fold
        for due in work.batch.due:  # the reload has brought them back
            work.partition.state.stores[TIMERS].pop(due.key, None)
        again = Work(work.partition, work.batch, work.next_offset, self.engine.now())
        again.apply(work.fold)
        if again.error is None:
            await self._flush(again, again.outputs)
            return
        await self._reload(work.partition)
        records = work.batch.records
        if not records:
            leave_now(f"fold of step {self.name} fails without records:\n{again.error}")
        if len(records) == 1:
            await self._flush(again, [self._dead_letter(records[0], again)])
            return
        for half in again.split():
            half.apply(work.fold)
            if half.error is None:
                await self._flush(half, half.outputs)
            else:
                half.fold = work.fold
                await self._isolate(half)

    async def _reload(self, partition: Partition) -> None:
        fresh = await self._read_state([partition.tp.partition])
        partition.state = fresh[partition.tp.partition]

    def _dead_letter(self, record: Record, work: Work) -> Output:
        self.engine.metrics.dead_letters.labels(self.source, "handler_failed").inc()
        value = record.value or b""
        letter = DeadLetter(
            reason="handler_failed",
            detail=(work.error or "").strip().rsplit("\n", 1)[-1][:500],
            topic=self.source,
            partition=work.batch.partition,
            offset=record.offset,
            timestamp=record.timestamp,
            value=value[:MAX_DEAD_LETTER_BYTES],
            key=record.key,
            size=len(value),
            truncated=len(value) > MAX_DEAD_LETTER_BYTES,
            traceback=work.error or "",
            at=work.now,
        )
        key = f"{self.source}:{work.batch.partition}:{record.offset}".encode()
        return Output("dead-letters", key, to_json(letter))

    # -- assignment -------------------------------------------------------------------------

    async def assign(self, numbers: Sequence[int]) -> None:
        """Restore the state of newly assigned partitions, then open their gates."""
        settings = self.engine.settings
        mine = {}
        for number in numbers:
            partition = Partition(TP(self.topic, number), self.stores, 2 * settings.flush_records)
            mine[number] = self.partitions[number] = partition
        try:
            began = time.monotonic()
            states = await self._read_state(numbers)
            first = await self.engine.first_offsets([p.tp for p in mine.values()])
            for number, partition in mine.items():
                if partition.revoked:
                    continue
                partition.restore_seconds = time.monotonic() - began
                await self._open(partition, states[number], first.get(partition.tp, 0))
        except (BackbeatError, OSError) as exc:
            leave_now(f"cannot restore step {self.name}: {exc}", exc)
        except Exception as exc:  # noqa: BLE001 - the edge: a partition must not stay closed for ever
            if not all(p.revoked for p in mine.values()):
                leave_now(f"cannot restore step {self.name}: {exc!r}", exc)

    async def _read_state(self, numbers: Sequence[int]) -> dict[int, PartitionState]:
        values, _ = await restore(self.engine.settings.bootstrap, self.changelog, numbers)
        return {n: PartitionState.restored(self.stores, values[n]) for n in numbers}

    async def _open(self, partition: Partition, state: PartitionState, first: int) -> None:
        partition.state = state
        start = state.meta.next_offset if state.meta else first
        if start < first:
            self.engine.metrics.truncated.labels(self.source).inc(first - start)
            log.error(
                "source %s[%s] is truncated: records %d to %d are gone, going on at %d",
                self.topic, partition.tp.partition, start, first, first,
            )  # fmt: skip
            start = first
        partition.position = partition.next_offset = start
        await self.engine.seek(partition.tp, start)
        partition.ready = True
        self._wake.set()
        metrics = self.engine.metrics
        metrics.restore_seconds.labels(self.source, str(partition.tp.partition)).set(
            partition.restore_seconds
        )
        log.info(
            "%s[%s] restored in %.2f s: %d keys, reading from %d",
            self.topic, partition.tp.partition, partition.restore_seconds, len(state), start,
        )  # fmt: skip

    async def revoke(self, numbers: Sequence[int]) -> None:
        """Give partitions up: what is not flushed is left to the next owner."""
        gone = [p for n in numbers if (p := self.partitions.pop(n, None)) is not None]
        for partition in gone:
            partition.revoked = True
        for partition in gone:
            async with partition.flushing:  # a flush under way ends first
                pass


def _first(item: tuple[float, Partition]) -> float:
    return item[0]
