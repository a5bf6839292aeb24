"""The stream of alerts (server-sent events): snapshot, resume, and what one subscriber may cost.

An event's id is the vector of the last offsets seen, behind the cluster they belong to:
``CLUSTER:0=12,1=7``. A client that comes back with it goes on exactly there. Where that cannot be
had (a first visit, another cluster, too long ago) the stream begins with a *snapshot* of what is
firing. The snapshot comes from the store, so what follows it begins where the store stands: a
version may come twice, none is missed, and an older version never follows a newer one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing
from typing import Any, Literal, NamedTuple, Protocol

from sse_starlette import ServerSentEvent

from api.metrics import ApiMetrics
from api.schemas.alerts import Alert, AlertSnapshot
from api.services.starter import Starter
from models import records
from models.errors import StorageUnavailableError
from storage.feeds import AlertFeed, FeedGapError, FeedRecord, SlowSubscriberError
from storage.protocols import AlertFilter, Positioned, Queries

HEARTBEAT_S = 15.0
RETRY_MS = 2000
"""How long a browser waits before it reconnects."""

MAX_SNAPSHOT = 1000
"""Firing incidents in one snapshot; beyond it the list says that it is cut."""

_PAGE = 500
_ID = re.compile(r"^(?P<cluster>[^:\s]+):(?P<vector>\d+=-?\d+(?:,\d+=-?\d+)*)?$")

Begin = Literal["resumed", "new", "unknown_id", "other_cluster", "gap"]


class Signal(Protocol):
    """An event that is set once, of whatever library."""

    def wait(self) -> Coroutine[Any, Any, object]:
        """Return when it is set."""
        ...


class Opening(NamedTuple):
    """A stream that may begin: what comes first, and what follows."""

    begin: Begin
    vector: dict[int, int]
    records: AsyncIterator[FeedRecord]
    snapshot: AlertSnapshot | None = None


def format_id(cluster: str, vector: Mapping[int, int]) -> str:
    """The id of an event: ``CLUSTER:0=12,1=7``."""
    return f"{cluster}:" + ",".join(f"{p}={o}" for p, o in sorted(vector.items()))


def parse_id(text: str) -> tuple[str, dict[int, int]] | None:
    """Cluster and vector of an id, or None where the text is not one."""
    match = _ID.match(text)
    if match is None:
        return None
    pairs = (item.split("=") for item in (match["vector"] or "").split(",") if item)
    return match["cluster"], {int(p): int(o) for p, o in pairs}


class AlertStream:
    """Opens streams of one tenant's alerts over the feed that the process shares."""

    def __init__(
        self,
        feed: AlertFeed,
        queries: Queries,
        positions: Positioned | None,
        metrics: ApiMetrics,
        *,
        topic: str = "alerts",
        heartbeat: float = HEARTBEAT_S,
    ) -> None:
        """``topic`` is the feed's, as the store's positions name it."""
        self._feed = feed
        self._topic = topic
        self._queries = queries
        self._positions = positions
        self._metrics = metrics
        self._heartbeat = heartbeat
        self.connection = Starter("feed", feed, required=True)

    async def open(self, tenant: str, last_id: str | None, stream: str | None) -> Opening:
        """Subscribe, after the client's last event if that can be had, else with a snapshot.

        Raises:
            StorageUnavailableError: the feed or the store does not answer.
        """
        if not self.connection.started.is_set():
            msg = "the feed of alerts has not been reached yet"
            raise StorageUnavailableError(msg)
        begin, after = self._locate(last_id)
        if begin == "resumed":
            try:
                return Opening(begin, dict(after), await self._feed.subscribe(after))
            except FeedGapError:
                begin = "gap"
        return await self._open_with_snapshot(begin, tenant, stream)

    def _locate(self, last_id: str | None) -> tuple[Begin, dict[int, int]]:
        if not last_id:
            return "new", {}
        parsed = parse_id(last_id)
        if parsed is None:
            return "unknown_id", {}
        cluster, vector = parsed
        return ("resumed", vector) if cluster == self._feed.cluster_id else ("other_cluster", {})

    async def _open_with_snapshot(self, begin: Begin, tenant: str, stream: str | None) -> Opening:
        """Subscribe from where the store stands, and read the store after that."""
        stored: dict[int, int] = {}
        if self._positions is not None:
            places = await self._positions.positions(self._feed.cluster_id)
            stored = {
                p: offset - 1 for (topic, p), offset in places.items() if topic == self._topic
            }
        vector = self._feed.nearest(stored)
        follow = await self._feed.subscribe(vector)
        firing, cut = await self._firing(tenant, stream)
        self._metrics.snapshots.labels(begin).inc()
        snapshot = AlertSnapshot(because=begin, alerts=[Alert.of(a) for a in firing], truncated=cut)
        return Opening(begin, vector, follow, snapshot)

    async def _firing(self, tenant: str, stream: str | None) -> tuple[list[records.Alert], bool]:
        where = AlertFilter(state="firing", stream=stream)
        found: list[records.Alert] = []
        cursor: str | None = None
        while True:
            page, cursor = await self._queries.alerts(tenant, where, _PAGE, cursor)
            found += page
            if cursor is None or len(found) >= MAX_SNAPSHOT:
                return found[:MAX_SNAPSHOT], cursor is not None or len(found) > MAX_SNAPSHOT

    async def events(
        self, opening: Opening, tenant: str, stream: str | None, closing: Signal
    ) -> AsyncIterator[ServerSentEvent]:
        """The events of an opened stream, until it is closed from either end."""
        vector, shown = dict(opening.vector), dict[str, int]()
        if opening.snapshot is not None:
            shown = {a.id: a.revision for a in opening.snapshot.alerts}
        with self._metrics.subscribers.labels("sse").track_inprogress():
            yield self._first(opening)
            async with aclosing(self._records(opening.records, closing)) as records:
                async for record in records:
                    if record is None:
                        yield ServerSentEvent(id=self._id(vector), comment="still here")
                        continue
                    vector[record.partition] = record.offset
                    alert = record.alert
                    if alert.tenant != tenant or stream not in {None, alert.stream}:
                        continue
                    if alert.revision <= shown.get(alert.id, -1):
                        continue
                    shown.pop(alert.id, None)
                    data = Alert.of(alert).model_dump_json()
                    yield ServerSentEvent(data=data, event="alert", id=self._id(vector))

    async def _records(
        self, follow: AsyncIterator[FeedRecord], closing: Signal
    ) -> AsyncGenerator[FeedRecord | None, None]:
        """The records as they come; None where none has come for the length of a heartbeat.

        Ends with the feed, with the server, or when this subscriber is too slow.
        """
        closed: asyncio.Future[Any] = asyncio.ensure_future(closing.wait())
        coming: asyncio.Future[Any] | None = None
        try:
            while True:
                coming = coming or asyncio.ensure_future(anext(follow))
                await asyncio.wait(
                    {coming, closed}, timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED
                )
                if closed.done():
                    return
                if not coming.done():
                    yield None
                    continue
                record, coming = coming.result(), None
                yield record
        except SlowSubscriberError:
            self._metrics.subscribers_dropped.labels("sse", "slow").inc()
        except (StopAsyncIteration, FeedGapError, StorageUnavailableError):
            return  # the client comes back, and gets a snapshot where it must
        finally:
            closed.cancel()
            if coming is not None:
                coming.cancel()

    def _first(self, opening: Opening) -> ServerSentEvent:
        """A snapshot, or the word that the stream goes on where it was left."""
        at = self._id(opening.vector)
        if opening.snapshot is None:
            return ServerSentEvent(data="{}", event="resumed", id=at, retry=RETRY_MS)
        data = opening.snapshot.model_dump_json()
        return ServerSentEvent(data=data, event="snapshot", id=at, retry=RETRY_MS)

    def _id(self, vector: Mapping[int, int]) -> str:
        return format_id(self._feed.cluster_id, vector)
