"""The store in memory: sink, queries and latest values, for tests and for running without files.

It keeps records as the bytes they have on their topics, so nothing that a caller holds is shared
with it, and it forgets by the same rules as the stores on disk.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

import msgspec

from models.config import SeriesConfig
from models.records import (
    LIVE,
    Alert,
    Delivery,
    Finding,
    Window,
    decode_alert,
    decode_delivery,
    decode_finding,
    decode_window,
    to_json,
)
from storage.cursors import bounded, decode_cursor, encode_cursor
from storage.downsampling import is_count, point_of, render
from storage.history import delivery_key, finding_key, matches
from storage.protocols import AlertFilter, Point, Rows, SeriesInfo
from storage.resolution import Resolution, choose
from storage.retention import history_retention, policy_for, stream_clock
from storage.series_rows import Group, fault, newness, parse_group, search_text, series_of

_log = logging.getLogger(__name__)

T = TypeVar("T")
K = TypeVar("K", tuple[int, str], tuple[float, str, str])

_Kind = tuple[int, int]  # size, slide
_Stored = tuple[int, bytes]  # revision, the record in JSON
_Versioned = tuple[tuple[int, int], bytes]  # count and revision of a window, the record in JSON


class _Instance:
    """One dimension group of one stream, with its windows by kind and start."""

    def __init__(self, group: Group, key: str, stream: str) -> None:
        self.group = group
        self.key = key
        self.stream = stream
        self.kinds: dict[_Kind, dict[int, _Versioned]] = {}
        self.finest = 0
        self.newest: Window | None = None

    def add(self, window: Window) -> None:
        starts = self.kinds.setdefault((window.size, window.slide), {})
        stored = starts.get(window.start)
        if stored is None or stored[0] < (window.count, window.revision):
            starts[window.start] = ((window.count, window.revision), to_json(window))
        self.finest = min(self.finest or window.size, window.size)
        if self.newest is None or newness(window) > newness(self.newest):
            self.newest = decode_window(to_json(window))

    def resolutions(self) -> list[Resolution]:
        return [Resolution(*kind, min(s), max(s)) for kind, s in self.kinds.items() if s]


class MemoryStore:
    """Implements ``Sink``, ``Queries``, ``Positioned`` and ``LatestValues``; one event loop."""

    def __init__(self, series: SeriesConfig) -> None:
        self._config = series
        self._history = history_retention(series.windows)
        self._instances: dict[tuple[str, str], _Instance] = {}
        self._series: dict[tuple[str, str, str], tuple[_Instance, str]] = {}
        self._findings: dict[tuple[str, str, int, int], _Stored] = {}
        self._alerts: dict[tuple[str, str], dict[int, bytes]] = {}
        self._deliveries: dict[tuple[str, str, int, str, str], bytes] = {}
        self._positions: dict[str, dict[tuple[str, int], int]] = {}
        self.rejected: Counter[str] = Counter()
        """Windows that could not be stored, by reason."""

    # Sink

    async def open(self) -> None:
        """Nothing is needed."""

    async def close(self) -> None:
        """What was stored stays until the object goes."""

    async def write(self, rows: Rows) -> None:
        for window in rows.windows:
            if reason := fault(window):
                self.rejected[reason] += 1
                _log.error("window rejected", extra={"reason": reason, "window": window.id})
                continue
            self._add(window)
        for finding in rows.findings:
            stored = self._findings.get(finding_key(finding))
            if stored is None or stored[0] < finding.revision:
                self._findings[finding_key(finding)] = (finding.revision, to_json(finding))
        for alert in rows.alerts:
            revisions = self._alerts.setdefault((alert.tenant, alert.id), {})
            revisions.setdefault(alert.revision, to_json(alert))
        for delivery in rows.deliveries:
            self._deliveries.setdefault(delivery_key(delivery), to_json(delivery))
        for topic, partition, offset in rows.positions:
            self._positions.setdefault(rows.cluster, {})[topic, partition] = offset

    async def positions(self, cluster: str = "") -> Mapping[tuple[str, int], int]:
        return dict(self._positions.get(cluster, {}))

    async def sweep(self, now: int) -> int:
        clocks = self._clocks(now)
        return self._sweep_windows(clocks) + self._sweep_history(clocks, now)

    # Queries

    async def alerts(
        self, tenant: str, where: AlertFilter, limit: int, cursor: str | None
    ) -> tuple[Sequence[Alert], str | None]:
        after = decode_cursor(cursor, tuple[int, str]) if cursor else None
        last = (decode_alert(r[max(r)]) for (t, _), r in self._alerts.items() if t == tenant)
        found = [a for a in last if matches(a, where)]
        page, more = _page(found, lambda a: (-a.started_at, a.id), after, bounded(limit))
        return page, encode_cursor((-page[-1].started_at, page[-1].id)) if more else None

    async def alert(self, tenant: str, alert_id: str) -> Alert | None:
        revisions = self._alerts.get((tenant, alert_id))
        return decode_alert(revisions[max(revisions)]) if revisions else None

    async def alert_history(self, tenant: str, alert_id: str) -> Sequence[Alert]:
        revisions = self._alerts.get((tenant, alert_id), {})
        return [decode_alert(revisions[r]) for r in sorted(revisions)]

    async def deliveries(self, tenant: str, alert_id: str) -> Sequence[Delivery]:
        keys = sorted(k for k in self._deliveries if k[:2] == (tenant, alert_id))
        return [decode_delivery(self._deliveries[k]) for k in keys]

    async def findings(
        self, tenant: str, series: str, stream: str, since: int, until: int, limit: int
    ) -> Sequence[Finding]:
        found = []
        for (owner, incident, at, rank), (_, stored) in self._findings.items():
            if owner == tenant and since <= at < until:
                finding = decode_finding(stored)
                if (finding.series, finding.stream) == (series, stream):
                    found.append((at, incident, rank, finding))
        return [f for *_, f in sorted(found, key=lambda row: row[:3])[: bounded(limit)]]

    async def series(
        self,
        tenant: str,
        text: str,
        tags: Mapping[str, str],
        limit: int,
        cursor: str | None,
        stream: str | None = None,
    ) -> tuple[Sequence[SeriesInfo], str | None]:
        after = decode_cursor(cursor, tuple[float, str, str]) if cursor else None
        found = [
            info
            for info in self._infos(tenant)
            if stream in {None, info.stream}
            and text.casefold() in search_text(info.key, info.tags)
            and tags.items() <= info.tags.items()
        ]
        page, more = _page(found, _busyness, after, bounded(limit))
        return page, encode_cursor(_busyness(page[-1])) if more else None

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
        instance, measure = self._series.get((tenant, series, stream), (None, ""))
        if instance is None:
            return []
        plan = choose(instance.resolutions(), since, until, step, size, bounded(limit))
        if plan is None:
            return []
        points = []
        starts = instance.kinds[plan.size, plan.slide]
        for start in sorted(s for s in starts if since <= s < until and s % plan.stride == 0):
            window = decode_window(starts[start][1])
            if (value := window.values.get(measure)) is not None:
                points.append(point_of(start, plan.size, window.revision, value))
        count = is_count(instance.group, measure, self._config, points)
        return render(points, plan, count, bounded(limit))

    # LatestValues

    async def latest(self, tenant: str, groups: Sequence[str]) -> Mapping[str, Window]:
        found = {}
        for key in groups:
            instance = self._instances.get((key, LIVE))
            if instance and instance.group.tenant == tenant and instance.newest:
                found[key] = msgspec.convert(msgspec.to_builtins(instance.newest), Window)
        return found

    def _add(self, window: Window) -> None:
        instance = self._instances.get((window.group, window.stream))
        if instance is None:
            instance = _Instance(parse_group(window.group), window.group, window.stream)
            self._instances[window.group, window.stream] = instance
        instance.add(window)
        for key, measure, _ in series_of(window):
            known = self._series.get((window.tenant, key, window.stream))
            # A metric may be called like a measure of plays; the measure keeps the name.
            if known is None or (known[0].group.metric and not instance.group.metric):
                self._series[window.tenant, key, window.stream] = (instance, measure)

    def _infos(self, tenant: str) -> Iterator[SeriesInfo]:
        for (owner, key, stream), (instance, measure) in self._series.items():
            if owner == tenant and (newest := instance.newest) is not None:
                value = newest.values.get(measure)
                yield SeriesInfo(
                    key=key,
                    group=instance.key,
                    measure=measure,
                    tags=dict(instance.group.tags),
                    stream=stream,
                    size=instance.finest,
                    last_start=newest.start,
                    last_value=value.value if value else None,
                    weight=value.weight if value else 0.0,
                )

    def _clocks(self, now: int) -> dict[tuple[str, str], int]:
        """The time of every stream of every tenant; the wall's, for live ones."""
        newest: dict[tuple[str, str], int] = {}
        for i in self._instances.values():
            if i.newest is not None:
                owner = (i.group.tenant, i.stream)
                newest[owner] = max(newest.get(owner, i.newest.start), i.newest.start)
        return {owner: stream_clock(owner[1], now, start) for owner, start in newest.items()}

    def _sweep_windows(self, clocks: Mapping[tuple[str, str], int]) -> int:
        swept = 0
        for name, instance in list(self._instances.items()):
            clock = clocks[instance.group.tenant, instance.stream]
            for kind, starts in instance.kinds.items():
                policy = policy_for(*kind, self._config.windows)
                for start in [s for s in starts if not policy.keeps(s, clock)]:
                    del starts[start]
                    swept += 1
            if instance.newest is None or instance.newest.start < clock - self._history:
                del self._instances[name]
                self._series = {k: v for k, v in self._series.items() if v[0] is not instance}
        return swept

    def _sweep_history(self, clocks: Mapping[tuple[str, str], int], now: int) -> int:
        before = len(self._findings) + len(self._deliveries) + len(self._alerts)
        for key, (_, stored) in list(self._findings.items()):
            finding = decode_finding(stored)
            clock = clocks.get((finding.tenant, finding.stream))
            if clock is not None and finding.at < clock - self._history:
                del self._findings[key]
        for name, revisions in list(self._alerts.items()):
            alert = decode_alert(revisions[max(revisions)])
            clock = clocks.get((alert.tenant, alert.stream))
            over = alert.state != "firing" and clock is not None
            if over and alert.updated_at < (clock or 0) - self._history:
                del self._alerts[name]
        recent = now - self._history
        self._deliveries = {k: v for k, v in self._deliveries.items() if k[2] >= recent}
        return before - len(self._findings) - len(self._deliveries) - len(self._alerts)


def _busyness(info: SeriesInfo) -> tuple[float, str, str]:
    return (-info.weight, info.key, info.stream)


def _page(
    rows: list[T], key: Callable[[T], K], after: K | None, limit: int
) -> tuple[list[T], bool]:
    """The first ``limit`` rows behind ``after`` in the key's order, and whether there are more."""
    if after is not None:
        rows = [row for row in rows if key(row) > after]
    page = heapq.nsmallest(limit + 1, rows, key=key)
    return page[:limit], len(page) > limit
