"""The page's first call: rates, open alerts, the busiest series and how far behind they are."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from api.schemas.alerts import Alert
from api.schemas.overview import OpenAlerts, Overview, Rate
from api.services.series import SeriesReader
from models.records import LIVE
from models.series import format_key
from storage.protocols import AlertFilter, Point, Queries, SeriesInfo

RATE_SPAN_MS = 15 * 60_000
_RATE_POINTS = 200
_SERIES = 100
_ALERTS = 500
_SHOWN = 50
_PLAYS = "plays"


class OverviewReader:
    """Reads one tenant at a glance."""

    def __init__(self, queries: Queries, series: SeriesReader) -> None:
        self._queries = queries
        self._series = series

    async def read(self, tenant: str, now: int) -> Overview:
        """The tenant's overview as of ``now``."""
        (alerts, more), (series, _) = await asyncio.gather(
            self._queries.alerts(tenant, AlertFilter(state="firing", stream=LIVE), _ALERTS, None),
            self._queries.series(tenant, "", {}, _SERIES, None, LIVE),
        )
        rates = await self._rates(tenant, series)
        newest = max((s.last_start + s.size for s in series), default=None)
        by_severity = Counter(a.severity for a in alerts)
        return Overview(
            tenant=tenant,
            now=now,
            newest_window_end=newest,
            lag_ms=None if newest is None else max(now - newest, 0),
            plays_per_second=rates[-1].per_second if rates else None,
            rates=rates,
            open_alerts=OpenAlerts(
                total=len(alerts),
                by_severity=dict(sorted(by_severity.items())),
                truncated=more is not None,
                items=[Alert.of(a) for a in alerts[:_SHOWN]],
            ),
            series=[self._series.describe(s) for s in series],
        )

    async def _rates(self, tenant: str, series: Sequence[SeriesInfo]) -> list[Rate]:
        """Plays a second of the last quarter of an hour of event time."""
        key = format_key(tenant, _PLAYS, {})
        total = next((s for s in series if s.key == key), None)
        if total is None:
            return []
        until = total.last_start + 1
        points = await self._queries.windows(
            tenant, key, LIVE, until - RATE_SPAN_MS, until, None, total.size, _RATE_POINTS
        )
        return [Rate(at=p.end, per_second=_per_second(p)) for p in points]


def _per_second(point: Point) -> float | None:
    if point.value is None:
        return None
    return round(point.value / ((point.end - point.start) / 1000), 3)
