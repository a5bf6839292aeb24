"""A step: one source topic, its keyed stores, and the agent that folds its batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from faust.types import TP

from engine.changelog import Restored, restore
from engine.chunk import Chunk
from engine.exits import leave_now
from engine.finish import finish
from engine.flush import Place
from engine.partition import Partition
from engine.store import PartitionState
from engine.work import Work
from models.errors import BackbeatError
from models.flow import Batch, State, StoreSpec

if TYPE_CHECKING:
    from engine.app import Engine

log = logging.getLogger("backbeat.engine")

TICK = 1.0
"""Seconds after which a quiet partition gets an empty batch, so that time passes for it."""

TAKE_OVER_SECONDS = 60.0
"""Seconds that fencing the last owner may take: its open transaction is aborted first."""

CLOSE_SECONDS = 2.0

PROGRESS_SECONDS = 5.0
"""Seconds between two lines about a restore that takes long."""

TRUNCATED_AFTER = 5
"""Fetches in a row that do not continue where we are, until the source counts as truncated."""


Watermark = Callable[[State], int | None]


class Step:
    """Made by :meth:`EngineApp.step`; knows the partitions of its source that this worker has."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        source: str,
        stores: Sequence[StoreSpec],
        watermark: Watermark | None = None,
    ) -> None:
        self.engine = engine
        self.name = name
        self.source = source
        self.topic = engine.settings.topic(source)
        self.changelog = f"{engine.settings.app_id}-{name}-changelog"
        self.stores = tuple(stores)
        self.watermark = watermark
        self.partitions: dict[int, Partition] = {}
        self._kept: dict[int, Partition] = {}
        self._assigning = asyncio.Lock()
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()
        """Set while draining and nothing that was read is left to fold or flush."""
        self._working: Work | None = None
        self.draining = False

    # -- what the agent calls ---------------------------------------------------------------

    async def batches(self, stream: Any) -> AsyncIterator[Work]:
        """Batches of this worker's partitions, for ever; each is flushed when the body comes back.

        While one partition's batch is being flushed the others' are folded; a partition has one flush
        under way, and no fold during it. A batch is due when enough records or time have gathered, when a timer has come due, or after
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
                self._working = None
                self._finish(work)
        finally:
            pump.cancel()

    def _finish(self, work: Work) -> None:
        partition = work.partition
        partition.finishing = asyncio.get_running_loop().create_task(finish(self, work))

        def done(_task: asyncio.Task[None]) -> None:
            partition.finishing = None
            self._wake.set()

        partition.finishing.add_done_callback(done)

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
        self._say_truncated(partition, partition.position, chunk.start)
        partition.position = chunk.start
        partition.accept(chunk)
        self._wake.set()

    def _say_truncated(self, partition: Partition, wanted: int, first: int) -> None:
        self.engine.metrics.truncated.labels(self.source).inc(first - wanted)
        log.error(
            "source %s[%s] is truncated: records %d to %d are gone, going on at %d",
            self.topic, partition.tp.partition, wanted, first, first,
        )  # fmt: skip

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
                if p.ready and not p.revoked and not p.is_busy
            ]
            deadlines.sort(key=_first)
            if self.draining and not any(p.buffer or p.is_busy for p in self.partitions.values()):
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
            if not partition.buffered:  # only the ends of transactions: no hurry to say so
                return partition.first_buffered_at + TICK
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
            partition.stable = self.engine.stable(partition.tp) or -1
        partition.stood_still()
        at_end = not partition.buffer and 0 <= partition.highwater <= partition.position
        due = partition.take_due(now)
        batch = Batch(self.source, partition.tp.partition, records, at_end=at_end, due=due)
        return Work(partition, batch, end, now)

    # -- assignment -------------------------------------------------------------------------

    async def assign(self, numbers: Sequence[int], generation: int) -> None:
        """Take newly assigned partitions over: fence, restore, then open their gates."""
        settings = self.engine.settings
        mine = {}
        for number in numbers:
            partition = Partition(
                TP(self.topic, number), self.stores, 2 * settings.flush_records, self.watermark
            )
            mine[number] = self.partitions[number] = partition
        try:
            async with self._assigning:  # one after the other: a late one would fence its successor
                await self._take_over(mine, generation)
        except (BackbeatError, OSError) as exc:
            leave_now(f"cannot restore step {self.name}: {exc}", exc)
        except Exception as exc:  # noqa: BLE001 - the edge: a partition must not stay closed for ever
            if not all(p.revoked for p in mine.values()):
                leave_now(f"cannot restore step {self.name}: {exc!r}", exc)

    async def _take_over(self, mine: dict[int, Partition], generation: int) -> None:
        if not await self.engine.is_member(generation):
            log.warning("step %s: this assignment is over, waiting for the next", self.name)
            return
        async with asyncio.timeout(TAKE_OVER_SECONDS):
            await asyncio.gather(*(self._open_writer(p) for p in mine.values() if not p.revoked))
        kept = {n: self._kept.pop(n) for n in mine if n in self._kept}
        self._kept.clear()  # what went elsewhere is not worth its memory
        known = {n: kept[n].changelog_end if n in kept else None for n in mine}
        began = time.monotonic()
        restored = await self._read(known, mine)
        first = await self.engine.first_offsets([p.tp for p in mine.values()])
        for number, partition in mine.items():
            if partition.revoked:
                continue
            values, partition.changelog_end = restored[number]
            partition.state = (
                kept[number].state
                if values is None
                else PartitionState.restored(self.stores, values)
            )
            partition.restore_seconds = time.monotonic() - began
            await self._open(partition, first.get(partition.tp, 0), was_kept=values is None)

    async def _open_writer(self, partition: Partition) -> None:
        place = Place(self.name, partition.tp, self.changelog)
        partition.writer = await self.engine.flush.open(place)

    async def _read(
        self, known: dict[int, int | None], mine: dict[int, Partition]
    ) -> dict[int, Restored]:
        said = time.monotonic()

        def progress(number: int, records: int) -> None:
            nonlocal said
            mine[number].restored_records += records
            if time.monotonic() - said > PROGRESS_SECONDS:
                said = time.monotonic()
                done = sum(p.restored_records for p in mine.values())
                log.info("step %s: %d changelog records read so far", self.name, done)

        reading = restore(self.engine.settings.bootstrap, self.changelog, known, progress)
        return await self.engine.io.call(reading)

    async def reload(self, partition: Partition) -> None:
        """Read a partition's state from its changelog again: what is not flushed is forgotten."""
        number = partition.tp.partition
        values, _ = (await self._read({number: None}, {number: partition}))[number]
        partition.state = PartitionState.restored(self.stores, values or {})

    async def _open(self, partition: Partition, first: int, *, was_kept: bool) -> None:
        state = partition.state
        start = state.meta.next_offset if state.meta else first
        if start < first:
            self._say_truncated(partition, start, first)
            start = first
        partition.position = partition.next_offset = start
        await self.engine.seek(partition.tp, start)
        partition.ready = True
        self._wake.set()
        log.info(
            "%s[%s] %s in %.2f s: %d keys from %d changelog records, reading from %d",
            self.topic, partition.tp.partition, "kept" if was_kept else "restored",
            partition.restore_seconds, len(state), partition.restored_records, start,
        )  # fmt: skip

    async def revoke(self, numbers: Sequence[int]) -> None:
        """Give partitions up: what is not flushed is left to the next owner.

        A state that is exactly what was flushed is kept: if the partition comes back, and nobody has
        written to its changelog meanwhile, it need not be read again.
        """
        gone = {n: p for n in numbers if (p := self.partitions.pop(n, None)) is not None}
        for partition in gone.values():
            partition.revoked = True
        if flushes := [p.finishing for p in gone.values() if p.finishing is not None]:
            await asyncio.wait(flushes)
        for number, partition in gone.items():
            partition.buffer.clear()
            if partition.is_as_flushed:
                self._kept[number] = partition
        await self.close_writers(gone.values())

    async def close_writers(self, partitions: Iterable[Partition]) -> None:
        """Disconnect what wrote for them; a broker that is away is not waited for."""
        writers = [p.writer for p in partitions if p.writer is not None]
        for partition in partitions:
            partition.writer = None
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.gather(*(w.close() for w in writers), return_exceptions=True)


def _first(item: tuple[float, Partition]) -> float:
    return item[0]
