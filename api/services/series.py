"""Reading series, their windows and their findings."""

from __future__ import annotations

from typing import NamedTuple

from api.problems import InvalidRequestError, UnknownResourceError
from api.schemas.alerts import Finding, FindingPage
from api.schemas.params import FindingParams, SeriesParams, WindowParams
from api.schemas.series import Point, Series, SeriesPage, SeriesWindows
from models.config import SeriesConfig
from models.errors import ConfigurationError
from models.series import SeriesKey, parse_key
from storage.protocols import Queries, SeriesInfo

HOUR_MS = 3_600_000
GAUGE = "gauge"


class MeasureInfo(NamedTuple):
    """How the numbers of a series are to be read."""

    name: str
    kind: str
    unit: str


class SeriesReader:
    """The series of one store, described by the configuration they were made with."""

    def __init__(self, queries: Queries, config: SeriesConfig) -> None:
        self._queries = queries
        self._measures = {m.name: MeasureInfo(m.name, m.kind, m.unit) for m in config.measures}
        self._groups = set(config.groups)
        self.detect = next((w.size for w in config.windows if w.detect), None)
        """Size in ms of the windows of plays that detectors judge."""

    async def page(self, tenant: str, params: SeriesParams) -> SeriesPage:
        """The series that fit, busiest first."""
        found, cursor = await self._queries.series(
            tenant, params.q, params.tags, params.limit, params.cursor, params.stream
        )
        return SeriesPage(items=[self.describe(s) for s in found], next=cursor)

    def describe(self, info: SeriesInfo) -> Series:
        """A series with how to read its numbers."""
        measure = self.measure(parse_key(info.key))
        return Series(
            key=info.key,
            group=info.group,
            measure=info.measure,
            kind=measure.kind,
            unit=measure.unit,
            tags=dict(info.tags),
            stream=info.stream,
            size_ms=info.size,
            last_start=info.last_start,
            last_value=info.last_value,
            weight=info.weight,
        )

    async def windows(self, tenant: str, key: str, params: WindowParams, now: int) -> SeriesWindows:
        """The windows of a series, at most ``params.limit``, oldest first."""
        parts = own_key(tenant, key)
        measure = self.measure(parts)
        if isinstance(params.size, str):
            size = None if measure.kind == GAUGE else self.detect
        else:
            size = params.size
        since, until = span(params.since, params.until, now, HOUR_MS)
        # Without a size or a step the store picks what fits the limit; one more would change that.
        room = params.limit + (size is not None or params.step is not None)
        points = await self._queries.windows(
            tenant, key, params.stream, since, until, params.step, size, room
        )
        return SeriesWindows(
            series=key,
            measure=measure.name,
            kind=measure.kind,
            unit=measure.unit,
            stream=params.stream,
            points=[Point.model_validate(p) for p in points[: params.limit]],
            truncated=len(points) > params.limit,
        )

    async def findings(self, tenant: str, key: str, params: FindingParams, now: int) -> FindingPage:
        """The changes of rules' states on a series."""
        own_key(tenant, key)
        since, until = span(params.since, params.until, now, 24 * HOUR_MS)
        found = await self._queries.findings(tenant, key, params.stream, since, until, params.limit)
        return FindingPage(items=[Finding.of(f) for f in found])

    def measure(self, key: SeriesKey) -> MeasureInfo:
        """The measure of plays a key is of; a metric is a gauge named by its key."""
        of_plays = tuple(name for name, _ in key.tags) in self._groups
        known = self._measures.get(key.name) if of_plays else None
        return known or MeasureInfo(key.name, GAUGE, "")


def own_key(tenant: str, key: str) -> SeriesKey:
    """The parts of a series key of this tenant.

    Raises:
        UnknownResourceError: not a key, or another tenant's; the message is the same for both.
    """
    try:
        parts = parse_key(key)
    except ConfigurationError:
        parts = None
    if parts is None or parts.tenant != tenant:
        msg = f"there is no series {key!r}"
        raise UnknownResourceError(msg)
    return parts


def span(
    since: int | None,
    until: int | None,
    now: int,
    length: int,
    names: tuple[str, str] = ("from", "to"),
) -> tuple[int, int]:
    """The asked-for span of time; what is missing is filled in. ``names`` are the parameters'.

    Raises:
        InvalidRequestError: it ends before it begins.
    """
    end = now if until is None else until
    start = end - length if since is None else since
    if start >= end:
        msg = f"`{names[0]}` is not before `{names[1]}`; nothing could lie between them"
        raise InvalidRequestError(msg)
    return start, end
