"""One source partition on this worker: its state, its buffer and where it stands."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from faust.types import TP

from engine.store import PartitionState
from models.flow import TIMERS, Due, Records, State, StoreSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from engine.chunk import Chunk
    from engine.flush import Writer


UNKNOWN_END = -1
"""The changelog's end where this state is not what the changelog holds."""


class Partition:
    """Between assignment and revocation; made anew each time.

    ``position`` is the offset of the next record to be received, ``next_offset`` that of the first one
    that is not yet in acknowledged state. The gate (``is_open``) lets the consumer fetch.
    """

    def __init__(
        self,
        tp: TP,
        specs: Sequence[StoreSpec],
        max_buffered: int,
        watermark: Callable[[State], int | None] | None = None,
    ) -> None:
        self.tp = tp
        self.max_buffered = max_buffered
        self._watermark = watermark
        self.state = PartitionState(specs)
        self.position = -1
        self.highwater = -1
        self.stable = -1
        self.ready = False
        self.revoked = False
        self.buffer: deque[Chunk] = deque()
        self.buffered = 0
        self.first_buffered_at = 0.0
        self.assigned_at = self.worked_at = time.monotonic()
        self.flushed_at = 0.0
        self.moved_at = time.monotonic()
        self.next_offset = 0
        self.mismatches = 0
        self.restored_records = 0
        self.restore_seconds = 0.0
        self.flush_seconds = 0.0
        self.writer: Writer | None = None
        self.changelog_end = UNKNOWN_END
        self.finishing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether records may be fetched: state restored, ours, room in the buffer."""
        return self.ready and not self.revoked and self.buffered < self.max_buffered

    @property
    def is_busy(self) -> bool:
        """Whether its last batch is still being flushed."""
        return self.finishing is not None

    @property
    def lag(self) -> int:
        """Records between the flushed state and the partition's end; 0 before a first fetch."""
        return max(0, self.highwater - self.next_offset)

    @property
    def readable_lag(self) -> int:
        """As ``lag``, to the last stable offset: what open transactions hold back is not counted."""
        end = self.stable if 0 <= self.stable <= self.highwater else self.highwater
        return max(0, end - self.next_offset)

    @property
    def held_back(self) -> int:
        """Records that open transactions keep from everybody who reads committed ones."""
        return self.highwater - self.stable if 0 <= self.stable <= self.highwater else 0

    def watermark(self) -> int | None:
        """Event time (epoch ms) up to which it is complete; None if nobody can say."""
        if self._watermark is None:
            return None
        try:
            return self._watermark(self.state.stores)
        except RuntimeError:  # asked from another thread while a fold adds a key
            return None

    def stood_still(self) -> float:
        """Seconds for which there was something to read and nothing was flushed; 0 if it moves."""
        if not self.ready or self.revoked or self.readable_lag == 0:
            self.moved_at = time.monotonic()
        return time.monotonic() - self.moved_at

    def flushed(self, next_offset: int, began: float) -> None:
        """A flush that began then is durable."""
        self.flushed_at = time.monotonic()
        if next_offset > self.next_offset:
            self.moved_at = self.flushed_at
        self.next_offset = next_offset
        self.flush_seconds = self.flushed_at - began

    def accept(self, chunk: Chunk) -> bool:
        """Take a chunk that continues where we are; False if it does not (stale, or a reset)."""
        if not self.ready or self.revoked or chunk.start != self.position:
            return False
        if not self.buffer:
            self.first_buffered_at = time.monotonic()
        self.buffer.append(chunk)
        self.buffered += len(chunk.records)
        self.position = chunk.next
        self.highwater = chunk.highwater
        self.mismatches = 0
        return True

    def take(self, limit: int) -> tuple[Records, int]:
        """Whole chunks from the buffer, up to ``limit`` records and at least one chunk.

        Returns:
            the records, and the offset after what they stand for.
        """
        records = Records()
        end = self.position
        while self.buffer and (not records or len(records) + len(self.buffer[0].records) <= limit):
            chunk = self.buffer.popleft()
            records.extend(chunk.records)
            end = chunk.next
        self.buffered -= len(records)
        self.first_buffered_at = time.monotonic()
        return records, end

    def take_due(self, now: int) -> list[Due]:
        """Timers that have come due, by time and key; they are removed."""
        timers = self.state.stores[TIMERS]
        if not timers:
            return []
        waiting = dict.items(timers)
        due = sorted((Due(key, at) for key, at in waiting if at <= now), key=_by_time)
        for timer in due:
            del timers[timer.key]
        return due

    def has_due(self, now: int) -> bool:
        """Whether a timer has come due."""
        timers = self.state.stores[TIMERS]
        return bool(timers) and min(dict.values(timers)) <= now

    @property
    def is_as_flushed(self) -> bool:
        """Whether its state is exactly what its changelog holds up to ``changelog_end``."""
        return self.ready and self.changelog_end != UNKNOWN_END and not self.state.is_dirty

    def status(self) -> dict[str, object]:
        """What the health page says of it."""
        return {
            "partition": self.tp.partition,
            "ready": self.ready,
            "position": self.position,
            "next_offset": self.next_offset,
            "highwater": self.highwater,
            "lag": self.lag,
            "held_back": self.held_back,
            "buffered": self.buffered,
            "watermark": self.watermark(),
            "timers_waiting": len(self.state.stores[TIMERS]),
            "keys": self.state.sizes(),
            "restored_records": self.restored_records,
            "restore_seconds": round(self.restore_seconds, 3),
            "flush_seconds": round(self.flush_seconds, 4),
            "flush_age": round(time.monotonic() - self.flushed_at, 1) if self.flushed_at else None,
        }


def _by_time(due: Due) -> tuple[int, str]:
    return due.at, due.key
