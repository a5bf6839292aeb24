"""The newest, finest window of the series that somebody watches, polled once for everybody.

One poller per process asks the store (or the cache of latest values) about the watched series
together, however many sockets watch them, and rests while nobody does. Each watcher has a bounded
queue; one that does not empty it is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from api.metrics import ApiMetrics
from api.schemas.series import Reading
from models.errors import BackbeatError, StorageError
from models.records import LIVE
from models.series import parse_key
from storage.protocols import LatestValues, Queries

log = logging.getLogger(__name__)

INTERVAL_S = 1.0
QUEUE = 500
"""Readings that may wait for one watcher."""

MAX_WATCHED = 200
"""Series that one watcher may watch."""

_GROUP_SERIES = 500
_NEWEST = 20
"""Windows of one series that one poll takes in; more is catching up, and the next poll goes on."""

_AHEAD_MS = 24 * 3_600_000


class Target(NamedTuple):
    """One watched series, and where its windows are."""

    tenant: str
    series: str
    group: str
    measure: str
    size: int
    since: int


class Watcher:
    """One socket's view: what it watches, and what waits for it."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.watched: set[str] = set()
        self.dropped = False
        self._queue: deque[Reading] = deque()
        self._wake = asyncio.Event()

    def offer(self, reading: Reading) -> None:
        """Queue a reading; without room for it the watcher is dropped."""
        if len(self._queue) >= QUEUE:
            self.dropped = True
        else:
            self._queue.append(reading)
        self._wake.set()

    async def next(self) -> Reading | None:
        """The next reading; None once the watcher has been dropped."""
        while not self._queue and not self.dropped:
            self._wake.clear()
            await self._wake.wait()
        return None if self.dropped else self._queue.popleft()


class ReadingsHub:
    """All watchers, and the poller that feeds them."""

    def __init__(
        self,
        queries: Queries,
        latest: LatestValues | None,
        metrics: ApiMetrics,
        clock: Callable[[], int],
        interval: float = INTERVAL_S,
    ) -> None:
        self._queries = queries
        self._latest = latest
        self._metrics = metrics
        self._clock = clock
        self._interval = interval
        self._watchers: set[Watcher] = set()
        self._targets: dict[tuple[str, str], Target] = {}
        self._newest: dict[tuple[str, str], Reading] = {}
        self._poller: asyncio.Task[None] | None = None

    def join(self, tenant: str) -> Watcher:
        """A new watcher that watches nothing yet."""
        watcher = Watcher(tenant)
        self._watchers.add(watcher)
        self._metrics.subscribers.labels("websocket").inc()
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._run(), name="readings-poller")
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a watcher; the poller rests when it was the last."""
        self._watchers.discard(watcher)
        self._metrics.subscribers.labels("websocket").dec()
        if not self._watchers and self._poller is not None:
            self._poller.cancel()
            self._poller = None
            self._targets.clear()
            self._newest.clear()

    async def stop(self) -> None:
        """End the poller."""
        if self._poller is not None:
            poller, self._poller = self._poller, None
            poller.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await poller

    async def watch(
        self, watcher: Watcher, series: Sequence[str], groups: Sequence[str]
    ) -> tuple[list[str], list[str]]:
        """Watch series, and every series of groups: the keys watched now, and those not found.

        A series that has been read before sends its newest reading at once.

        Raises:
            StorageUnavailableError: the store does not answer.
        """
        found: list[Target] = []
        unknown: list[str] = []
        for key in [*series, *groups]:
            targets = await self._resolve(watcher.tenant, key, whole_group=key in groups)
            found += targets
            unknown += [] if targets else [key]
        for target in found:
            if len(watcher.watched) >= MAX_WATCHED or target.series in watcher.watched:
                continue
            place = (target.tenant, target.series)
            watcher.watched.add(target.series)
            self._targets.setdefault(place, target)
            if (newest := self._newest.get(place)) is not None:
                watcher.offer(newest)
        return sorted(watcher.watched), unknown

    async def _resolve(self, tenant: str, key: str, *, whole_group: bool) -> list[Target]:
        """The series that a key names; none for foreign and unknown ones."""
        try:
            parts = parse_key(key)
        except BackbeatError:
            return []
        if parts.tenant != tenant:
            return []
        text = key[key.index("{") :] if whole_group else key
        found, _ = await self._queries.series(
            tenant, text, dict(parts.tags), _GROUP_SERIES, None, LIVE
        )
        return [
            Target(tenant, s.key, s.group, s.measure, s.size, s.last_start)
            for s in found
            if (s.group if whole_group else s.key) == key
        ]

    async def _run(self) -> None:
        while True:
            try:
                await self.poll()
            except StorageError as exc:
                log.warning("readings were not polled", extra={"error": str(exc)})
            await asyncio.sleep(self._interval)

    async def poll(self) -> None:
        """Read every watched series once, and hand on what is new."""
        wanted: dict[tuple[str, str], list[Watcher]] = defaultdict(list)
        for watcher in self._watchers:
            for key in watcher.watched:
                wanted[watcher.tenant, key].append(watcher)
        for place in self._targets.keys() - wanted.keys():
            del self._targets[place]
            self._newest.pop(place, None)
        targets = [self._targets[place] for place in wanted]
        read = self._read_cache if self._latest is not None else self._read_store
        for target, reading in await read(targets):
            place = (target.tenant, target.series)
            before = self._newest.get(place)
            if before is not None and _age(reading) <= _age(before):
                continue
            self._newest[place] = reading
            for watcher in wanted[place]:
                watcher.offer(reading)

    async def _read_cache(self, targets: Sequence[Target]) -> list[tuple[Target, Reading]]:
        assert self._latest is not None  # noqa: S101 - chosen by the caller
        groups: dict[str, set[str]] = defaultdict(set)
        for target in targets:
            groups[target.tenant].add(target.group)
        windows = {
            (tenant, group): window
            for tenant, names in groups.items()
            for group, window in (await self._latest.latest(tenant, sorted(names))).items()
        }
        found = []
        for target in targets:
            window = windows.get((target.tenant, target.group))
            value = window and window.values.get(target.measure)
            if window is None or not value:
                continue
            reading = Reading(
                series=target.series,
                stream=window.stream,
                start=window.start,
                end=window.end,
                value=value.value,
                minimum=value.minimum,
                maximum=value.maximum,
                weight=value.weight,
                low=value.low,
                high=value.high,
                score=value.score,
                learning=value.learning,
                revision=window.revision,
            )
            found.append((target, reading))
        return found

    async def _read_store(self, targets: Sequence[Target]) -> list[tuple[Target, Reading]]:
        found = []
        until = self._clock() + _AHEAD_MS
        for target in targets:
            newest = self._newest.get((target.tenant, target.series))
            since = newest.start if newest is not None else target.since - target.size
            points = await self._queries.windows(
                target.tenant, target.series, LIVE, since, until, None, target.size, _NEWEST
            )
            for point in points:
                reading = Reading.model_validate(
                    point._asdict() | {"series": target.series, "stream": LIVE}
                )
                found.append((target, reading))
        return found


def _age(reading: Reading) -> tuple[int, int]:
    return reading.start, reading.revision
