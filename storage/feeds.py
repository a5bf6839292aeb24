"""Alerts as they happen: the feed that the API streams out, its bounded fan-out, its memory twin.

A feed is read once per process and handed on to any number of subscribers. The last records are
kept in a ring, so that a client which was away for a moment goes on where it stopped. A subscriber
that does not keep up is ended; it never makes anybody's queue grow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import NamedTuple, Protocol
from weakref import WeakSet

from models.errors import StorageError
from models.records import Alert

RING = 2_000
"""Records that a feed keeps for clients that come back."""

QUEUE = 500
"""Records that may wait for one subscriber."""


class FeedGapError(StorageError):
    """The feed no longer (or not yet) holds what follows a vector; the client needs a snapshot."""


class SlowSubscriberError(StorageError):
    """A subscriber did not take its records in time and was ended; it may resume."""


class FeedRecord(NamedTuple):
    """One version of one incident, and where it stands in the topic of alerts."""

    partition: int
    offset: int
    alert: Alert


class AlertFeed(Protocol):
    """The topic of alerts, from now on or from a vector (partition -> last offset seen).

    Raises ``StorageUnavailableError`` where its source cannot be reached.
    """

    async def start(self) -> None:
        """Connect, read the ring, go on reading in the background. Idempotent."""
        ...

    async def stop(self) -> None:
        """End every subscription and release everything. Idempotent."""
        ...

    @property
    def cluster_id(self) -> str:
        """Whose offsets these are; vectors of another id mean nothing here. Set by ``start``."""
        ...

    def nearest(self, after: Mapping[int, int] | None) -> dict[int, int]:
        """A complete vector that :meth:`subscribe` accepts, as near to ``after`` as the ring allows.

        None gives the present end; a partition missing in ``after`` the oldest that is held. To
        begin with a snapshot: ask the store for its positions, read the snapshot, send it,
        subscribe to ``nearest(positions - 1)``. Some versions may come twice, none is missed.
        """
        ...

    async def subscribe(self, after: Mapping[int, int] | None = None) -> AsyncIterator[FeedRecord]:
        """Every record after the vector, in order per partition; None: only new ones.

        The iterator ends with ``StopAsyncIteration`` when the feed stops, and raises
        ``SlowSubscriberError`` after the last record it could keep.

        Raises:
            FeedGapError: the ring does not hold all that follows ``after``.
        """
        ...


class Subscription(AsyncIterator[FeedRecord]):
    """One subscriber's queue. Forgetting it is enough; :meth:`aclose` ends it at once."""

    def __init__(self, backlog: Iterable[FeedRecord], room: int) -> None:
        self._queue = deque(backlog)
        self._bound = len(self._queue) + room
        self._wake = asyncio.Event()
        self._end: Exception | None = None

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> FeedRecord:
        while not self._queue:
            if self._end is not None:
                raise self._end
            self._wake.clear()
            await self._wake.wait()
        return self._queue.popleft()

    async def aclose(self) -> None:
        """Forget what waits; further reads end."""
        self._queue.clear()
        self.end(StopAsyncIteration())

    def offer(self, record: FeedRecord) -> bool:
        """Take a record; False, and the end, where there is no room for it."""
        if self._end is None and len(self._queue) < self._bound:
            self._queue.append(record)
            self._wake.set()
            return True
        return self._end is not None

    def end(self, reason: Exception) -> None:
        """No more records come: after those that wait, reading raises ``reason``."""
        if self._end is None:
            self._end = reason
        self._wake.set()


class Broadcast:
    """The ring and the subscribers of one feed. Used from one event loop.

    Of each partition it knows ``floor``, the last offset that is no longer held, and ``end``, the
    last one that was passed.
    """

    def __init__(self, ring: int = RING, queue: int = QUEUE) -> None:
        self._ring: deque[FeedRecord] = deque()
        self._ring_size = ring
        self._queue_size = queue
        self._subscribers: WeakSet[Subscription] = WeakSet()
        self.floor: dict[int, int] = {}
        self.end: dict[int, int] = {}
        self.slow_subscribers = 0
        """How many were ended because they did not keep up."""

    def begin(self, partition: int, offset: int) -> None:
        """Everything up to and with ``offset`` lies before what will be fed; -1 for nothing."""
        self.floor.setdefault(partition, offset)
        self.end.setdefault(partition, offset)

    def feed(self, record: FeedRecord) -> None:
        """Hand a record on, unless its offset was passed before."""
        if record.offset <= self.end.setdefault(record.partition, -1):
            return
        self.floor.setdefault(record.partition, -1)
        self.end[record.partition] = record.offset
        self._ring.append(record)
        if len(self._ring) > self._ring_size:
            gone = self._ring.popleft()
            self.floor[gone.partition] = gone.offset
        for subscriber in list(self._subscribers):
            if not subscriber.offer(record):
                self._subscribers.discard(subscriber)
                self.slow_subscribers += 1
                subscriber.end(
                    SlowSubscriberError(
                        f"subscriber has {self._queue_size} alerts waiting, which is all it may"
                    )
                )

    def skip(self, partition: int, offset: int) -> None:
        """Pass an offset without a record (a marker, or what cannot be read)."""
        self.end[partition] = max(offset, self.end.get(partition, -1))

    def nearest(self, after: Mapping[int, int] | None) -> dict[int, int]:
        """See :meth:`AlertFeed.nearest`."""
        if after is None:
            return dict(self.end)
        return {
            p: min(max(after.get(p, floor), floor), self.end[p]) for p, floor in self.floor.items()
        }

    def subscribe(self, after: Mapping[int, int] | None) -> Subscription:
        """See :meth:`AlertFeed.subscribe`."""
        backlog: list[FeedRecord] = []
        if after is not None:
            self._check(after)
            backlog = [r for r in self._ring if r.offset > after.get(r.partition, -1)]
        subscription = Subscription(backlog, self._queue_size)
        self._subscribers.add(subscription)
        return subscription

    def close(self, reason: Exception | None = None) -> None:
        """End all subscribers, with an error or quietly."""
        for subscriber in list(self._subscribers):
            subscriber.end(reason or StopAsyncIteration())
        self._subscribers.clear()

    def _check(self, after: Mapping[int, int]) -> None:
        for partition, floor in self.floor.items():
            offset = after.get(partition, -1)
            if offset < floor:
                msg = (
                    f"alerts after offset {offset} of partition {partition} are no longer held; "
                    f"the oldest vector that can be resumed has {floor}"
                )
                raise FeedGapError(msg)
        for partition, offset in after.items():
            if offset > (end := self.end.get(partition, -1)):
                msg = (
                    f"offset {offset} of partition {partition} has not been reached; "
                    f"the feed stands at {end}"
                )
                raise FeedGapError(msg)


async def end_task(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end; again and again, for libraries swallow cancellations.

    (Before Python 3.12 ``asyncio.wait_for`` does, if what it waits for is ready just then.)
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.2)


class BroadcastFeed:
    """What all feeds share: they fill ``self._broadcast`` and set ``self._cluster_id``."""

    def __init__(self, ring: int = RING, queue: int = QUEUE) -> None:
        self._sizes = (ring, queue)
        self._broadcast = Broadcast(ring, queue)
        self._cluster_id = ""

    @property
    def cluster_id(self) -> str:
        """See :class:`AlertFeed`."""
        return self._cluster_id

    @property
    def slow_subscribers(self) -> int:
        """How many were ended because they did not keep up."""
        return self._broadcast.slow_subscribers

    def nearest(self, after: Mapping[int, int] | None) -> dict[int, int]:
        """See :class:`AlertFeed`."""
        return self._broadcast.nearest(after)

    async def subscribe(self, after: Mapping[int, int] | None = None) -> AsyncIterator[FeedRecord]:
        """See :class:`AlertFeed`."""
        return self._broadcast.subscribe(after)

    def _begin_anew(self, reason: str) -> None:
        """Forget everything: the offsets known so far mean nothing any more."""
        broadcast = Broadcast(*self._sizes)
        broadcast.slow_subscribers = self._broadcast.slow_subscribers
        self._broadcast.close(FeedGapError(reason))
        self._broadcast = broadcast


class MemoryFeed(BroadcastFeed):
    """The twin without a broker: what is published here is what subscribers get."""

    def __init__(self, cluster_id: str = "memory", ring: int = RING, queue: int = QUEUE) -> None:
        super().__init__(ring, queue)
        self._cluster_id = cluster_id

    async def start(self) -> None:
        """Nothing is needed."""
        self._broadcast.begin(0, -1)

    async def stop(self) -> None:
        """End every subscription."""
        self._broadcast.close()

    def publish(self, alert: Alert, partition: int = 0) -> int:
        """Append an alert to a partition; its offset."""
        offset = self._broadcast.end.get(partition, -1) + 1
        self._broadcast.feed(FeedRecord(partition, offset, alert))
        return offset
