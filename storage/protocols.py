"""What the rest of Backbeat asks of a store. Every adapter passes the same contract suite.

Two kinds: *sinks*, which the worker feeds from the output topics, each in its own consumer group;
and *queries*, which the API asks. Every query takes the tenant first and never crosses it.
Adapters raise ``StorageUnavailableError`` for what may pass and ``StorageError`` for what will not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from models.records import Alert, Delivery, Finding, Window


class Position(NamedTuple):
    """A place in a topic: what has been stored goes up to, not including, ``offset``."""

    topic: str
    partition: int
    offset: int


class Rows(NamedTuple):
    """What a sink is given at once; ``positions`` are where the topics stand after it.

    ``cluster`` is whose offsets these are (``storage.cluster``); empty where there is only one.
    ``alert_offsets`` says for each of ``alerts`` in which partition and at which offset of its
    topic it was; only a sink that passes alerts on (Redis) needs it.
    """

    windows: Sequence[Window] = ()
    findings: Sequence[Finding] = ()
    alerts: Sequence[Alert] = ()
    deliveries: Sequence[Delivery] = ()
    positions: Sequence[Position] = ()
    alert_offsets: Sequence[tuple[int, int]] = ()
    cluster: str = ""


class Sink(Protocol):
    """Where output topics are stored. Writing the same rows again changes nothing.

    A row replaces what is there only if its revision is higher; a window only if it holds more events,
    or as many at a higher revision: after a crash revisions are counted again from the last flush, and
    late events may be gathered otherwise, but a window never comes to hold fewer. Positions are stored in the same
    transaction as the rows where the store has transactions; where it has none, after them.
    """

    async def open(self) -> None:
        """Connect, create what is missing. Idempotent."""
        ...

    async def write(self, rows: Rows) -> None:
        """Store everything or raise; a partial write may remain and is harmless when repeated."""
        ...

    async def positions(self, cluster: str = "") -> Mapping[tuple[str, int], int]:
        """(topic, partition) -> next offset; empty where the store cannot keep them.

        What was stored of another cluster's offsets does not count.
        """
        ...

    async def sweep(self, now: int) -> int:
        """Delete what is past retention, roll up what is kept more coarsely; rows deleted."""
        ...

    async def close(self) -> None:
        """Release everything. Idempotent."""
        ...


class Positioned(Protocol):
    """Queries that know how far the topics had been stored when they were asked.

    What a stream of alerts must go on from after a snapshot: asked for first, it is never ahead
    of what the snapshot holds.
    """

    async def positions(self, cluster: str = "") -> Mapping[tuple[str, int], int]:
        """(topic, partition) -> next offset, of this cluster's offsets."""
        ...


class SeriesInfo(NamedTuple):
    """A series that has been seen. ``group`` is the key of its windows, ``measure`` its value."""

    key: str
    group: str
    measure: str
    tags: Mapping[str, str]
    stream: str
    size: int
    """Size in ms of the finest window it has."""
    last_start: int
    last_value: float | None
    weight: float
    """Its weight in the last window: how busy it is."""


class Point(NamedTuple):
    """One (down-sampled) window of a series; times in epoch ms.

    Where windows are missing between two others, one point without a value, of weight 0, spans
    the gap.
    """

    start: int
    end: int
    value: float | None
    minimum: float | None
    maximum: float | None
    weight: float
    low: float | None
    high: float | None
    score: float | None
    revision: int
    learning: bool


class AlertFilter(NamedTuple):
    """Which incidents; None means any. Ranges are half-open, in epoch ms of ``started_at``."""

    state: str | None = None
    rule: str | None = None
    severity: str | None = None
    series: str | None = None
    stream: str | None = None
    since: int | None = None
    until: int | None = None
    tags: Mapping[str, str] = {}


class Queries(Protocol):
    """What the API asks. ``cursor`` is opaque; None begins, and a returned None is the end.

    Limits are held within 1 and ``storage.cursors.MAX_LIMIT``; a cursor that a listing did not
    give out raises ``storage.cursors.InvalidCursorError``.
    """

    async def alerts(
        self, tenant: str, where: AlertFilter, limit: int, cursor: str | None
    ) -> tuple[Sequence[Alert], str | None]:
        """The last revision of incidents, newest ``started_at`` first, then by id."""
        ...

    async def alert(self, tenant: str, alert_id: str) -> Alert | None:
        """One incident's last revision."""
        ...

    async def alert_history(self, tenant: str, alert_id: str) -> Sequence[Alert]:
        """Every stored revision of one incident, oldest first."""
        ...

    async def deliveries(self, tenant: str, alert_id: str) -> Sequence[Delivery]:
        """What was sent about one incident, oldest first."""
        ...

    async def findings(
        self, tenant: str, series: str, stream: str, since: int, until: int, limit: int
    ) -> Sequence[Finding]:
        """Rule-state changes on a series whose ``at`` is in [since, until), oldest first."""
        ...

    async def series(
        self,
        tenant: str,
        text: str,
        tags: Mapping[str, str],
        limit: int,
        cursor: str | None,
        stream: str | None = None,
    ) -> tuple[Sequence[SeriesInfo], str | None]:
        """Series whose key or tags contain ``text`` (in any case) and that have all ``tags``.

        Busiest first, by weight and then by key; one whose weight changes between two pages may
        come twice or not at all.
        """
        ...

    async def windows(
        self,
        tenant: str,
        series: str,
        stream: str,
        since: int,
        until: int,
        step: int | None,
        size: int | None,
        limit: int,
    ) -> Sequence[Point]:
        """A series' windows with start in [since, until), oldest first, at most ``limit``.

        ``size`` picks the window size. Without it: the longest tumbling size that divides
        ``step``, or with no ``step`` the finest that needs no more than ``limit`` points; in both
        cases one that is still kept for the range. ``step``: points per that many ms.
        Down-sampling sums counts, takes the weighted mean of the rest, and keeps minimum and
        maximum (of measures that are not counts) and the highest score.
        """
        ...


class LatestValues(Protocol):
    """The newest window of each group, for fast reading; a cache, never the truth.

    Newest: the latest start; of two that start together the finer; of one the version that a sink
    would keep (more events, then the higher revision).
    """

    async def latest(self, tenant: str, groups: Sequence[str]) -> Mapping[str, Window]:
        """The newest live window of each of the groups that has one."""
        ...
