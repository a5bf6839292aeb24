"""What the API asks, answered from the SQLite file through connections that cannot write.

Works beside a writer in another process, and while there is no file yet: then every question
raises ``StorageUnavailableError``.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from models.config import SeriesConfig
from models.errors import StorageError, StorageUnavailableError
from models.records import (
    LIVE,
    Alert,
    Delivery,
    Finding,
    Window,
    decode_alert,
    decode_delivery,
    decode_finding,
)
from storage.cursors import bounded, decode_cursor, encode_cursor
from storage.downsampling import is_count, point_of, render
from storage.protocols import AlertFilter, Point, SeriesInfo
from storage.resolution import Plan, Resolution, choose
from storage.series_rows import parse_group
from storage.sqlite_schema import connect_reader, converted
from storage.sqlite_windows import unpack

T = TypeVar("T")

_THREADS = 2
_MAX_STARTS = 200_000  # different starts that one question may visit

_TAGS = "NOT EXISTS (SELECT 1 FROM json_each(?) AS want WHERE NOT EXISTS (\
SELECT 1 FROM json_each({column}) AS have WHERE have.key = want.key AND have.value = want.value))"

_SERIES = """
SELECT key, stream, group_key, measure, slot, tags, finest, last_start, last, weight FROM (
    SELECT s.key, s.stream, g.key AS group_key, s.measure, s.slot, g.tags, g.finest, g.last_start,
        g.last, coalesce(json_extract(g.last, '$[' || s.slot || '][1]'), 0.0) AS weight
    FROM series AS s JOIN groups AS g ON g.id = s.group_id
    WHERE s.tenant = ? AND {where}
)
WHERE {after} ORDER BY weight DESC, key, stream LIMIT ?
"""
_RESOLUTIONS = """
SELECT k.id, k.size, k.slide, p.first, p.last,
    (SELECT start FROM windows WHERE kind_id = k.id ORDER BY start LIMIT 1)
FROM spans AS p JOIN kinds AS k ON k.id = p.kind_id WHERE p.group_id = ?
"""
# From one start that any group has to the next, in steps of the stride; then this group's row.
_WINDOWS = """
WITH RECURSIVE starts (start) AS (
    SELECT (SELECT start FROM windows WHERE kind_id = :kind AND start >= :since AND start < :until
            ORDER BY start LIMIT 1)
    UNION ALL
    SELECT (SELECT w.start FROM windows AS w WHERE w.kind_id = :kind
            AND w.start >= (starts.start / :stride + 1) * :stride AND w.start < :until
            ORDER BY w.start LIMIT 1)
    FROM starts WHERE starts.start IS NOT NULL LIMIT :most
)
SELECT w.start, w.revision, w.measures FROM starts
CROSS JOIN windows AS w ON w.kind_id = :kind AND w.start = starts.start AND w.group_id = :group
WHERE starts.start % :stride = 0
"""
_LATEST = """
SELECT g.tenant, g.key, g.measures, k.size, k.slide, w.start, w.count, w.late, w.revision,
    w.measures
FROM groups AS g
JOIN spans AS p ON p.group_id = g.id
JOIN kinds AS k ON k.id = p.kind_id
JOIN windows AS w ON w.kind_id = k.id AND w.start = p.last AND w.group_id = g.id
WHERE g.tenant = ? AND g.key = ? AND g.stream = ?
ORDER BY w.start DESC, k.size LIMIT 1
"""


class SqliteQueries:
    """Implements ``Queries``, ``Positioned`` and ``LatestValues``; connects when first asked."""

    def __init__(self, path: Path, series: SeriesConfig, busy_timeout: float = 5.0) -> None:
        self._path = path
        self._config = series
        self._busy_timeout = busy_timeout
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sqlite-reader")
        self._local = threading.local()
        self._connections: set[sqlite3.Connection] = set()
        self._closed = False

    async def close(self) -> None:
        """Release everything, after what is being asked. Idempotent."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)
        while self._connections:
            self._connections.pop().close()

    async def positions(self, cluster: str = "") -> Mapping[tuple[str, int], int]:
        statement = "SELECT topic, partition, next_offset FROM positions WHERE cluster = ?"
        rows = await self._rows(statement, (cluster,))
        return {(topic, partition): offset for topic, partition, offset in rows}

    async def alerts(
        self, tenant: str, where: AlertFilter, limit: int, cursor: str | None
    ) -> tuple[Sequence[Alert], str | None]:
        clauses, values = _alert_clauses(where)
        if cursor is not None:
            before, after = decode_cursor(cursor, tuple[int, str])
            clauses.append("(started_at < ? OR (started_at = ? AND id > ?))")
            values += [before, before, after]
        limit = bounded(limit)
        rows = await self._rows(
            f"SELECT body FROM alerts WHERE {' AND '.join(['tenant = ?', *clauses])}"  # noqa: S608
            " ORDER BY started_at DESC, id LIMIT ?",
            (tenant, *values, limit + 1),
        )
        page = [decode_alert(body) for (body,) in rows[:limit]]
        more = len(rows) > limit
        return page, encode_cursor((page[-1].started_at, page[-1].id)) if more else None

    async def alert(self, tenant: str, alert_id: str) -> Alert | None:
        statement = "SELECT body FROM alerts WHERE tenant = ? AND id = ?"
        rows = await self._rows(statement, (tenant, alert_id))
        return decode_alert(rows[0][0]) if rows else None

    async def alert_history(self, tenant: str, alert_id: str) -> Sequence[Alert]:
        statement = "SELECT body FROM alert_revisions WHERE tenant = ? AND id = ? ORDER BY revision"
        return [decode_alert(body) for (body,) in await self._rows(statement, (tenant, alert_id))]

    async def deliveries(self, tenant: str, alert_id: str) -> Sequence[Delivery]:
        statement = (
            "SELECT body FROM deliveries WHERE tenant = ? AND alert = ?"
            " ORDER BY at, notification, outcome"
        )
        rows = await self._rows(statement, (tenant, alert_id))
        return [decode_delivery(body) for (body,) in rows]

    async def findings(
        self, tenant: str, series: str, stream: str, since: int, until: int, limit: int
    ) -> Sequence[Finding]:
        statement = (
            "SELECT body FROM findings WHERE tenant = ? AND series = ? AND stream = ?"
            " AND at >= ? AND at < ? ORDER BY at, incident, rank LIMIT ?"
        )
        values = (tenant, series, stream, since, until, bounded(limit))
        return [decode_finding(body) for (body,) in await self._rows(statement, values)]

    async def series(
        self,
        tenant: str,
        text: str,
        tags: Mapping[str, str],
        limit: int,
        cursor: str | None,
        stream: str | None = None,
    ) -> tuple[Sequence[SeriesInfo], str | None]:
        limit = bounded(limit)
        where = ["instr(s.search, ?) > 0", _TAGS.format(column="g.tags")]
        values: list[object] = [text.casefold(), _json(tags)]
        if stream is not None:
            where.append("s.stream = ?")
            values.append(stream)
        after = "TRUE"
        if cursor is not None:
            weight, key, last_stream = decode_cursor(cursor, tuple[float, str, str])
            after = "(weight < ? OR (weight = ? AND (key, stream) > (?, ?)))"
            values += [weight, weight, key, last_stream]
        statement = _SERIES.format(where=" AND ".join(where), after=after)
        rows = await self._rows(statement, (tenant, *values, limit + 1))
        page = [_series_info(row) for row in rows[:limit]]
        if len(rows) <= limit:
            return page, None
        key, last_stream, *_, weight = rows[limit - 1]
        return page, encode_cursor((float(weight), key, last_stream))

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
        def work(db: sqlite3.Connection) -> Sequence[Point]:
            found = db.execute(
                "SELECT s.group_id, s.slot, s.measure, g.key FROM series AS s"
                " JOIN groups AS g ON g.id = s.group_id"
                " WHERE s.tenant = ? AND s.key = ? AND s.stream = ?",
                (tenant, series, stream),
            ).fetchone()
            if found is None:
                return []
            group_id, slot, measure, group_key = found
            kinds = _kinds(db, group_id)
            plan = choose(list(kinds), since, until, step, size, bounded(limit))
            if plan is None:
                return []
            points = _points(db, kinds, plan, group_id, slot, since, until)
            count = is_count(parse_group(group_key), measure, self._config, points)
            return render(points, plan, count, bounded(limit))

        return await self._ask(work)

    async def latest(self, tenant: str, groups: Sequence[str]) -> Mapping[str, Window]:
        def work(db: sqlite3.Connection) -> Mapping[str, Window]:
            found = {}
            for key in groups:
                if row := db.execute(_LATEST, (tenant, key, LIVE)).fetchone():
                    found[key] = _window(row)
            return found

        return await self._ask(work)

    async def _rows(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        return await self._ask(lambda db: db.execute(statement, values).fetchall())

    async def _ask(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            msg = f"queries of the SQLite file {self._path} are closed"
            raise StorageError(msg)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._guarded, work)

    def _guarded(self, work: Callable[[sqlite3.Connection], T]) -> T:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = connect_reader(self._path, self._busy_timeout)
            self._connections.add(db)
        try:
            with converted(self._path):
                return work(db)
        except StorageUnavailableError:
            self._local.db = None
            self._connections.discard(db)
            db.close()
            raise


def _kinds(db: sqlite3.Connection, group_id: int) -> dict[Resolution, int]:
    """The kinds of window a group has, with their ids; without what has been swept."""
    kinds = {}
    for kind, size, slide, first, last, oldest in db.execute(_RESOLUTIONS, (group_id,)):
        if oldest is not None and oldest <= last:
            kinds[Resolution(size, slide, max(first, oldest), last)] = kind
    return kinds


def _points(
    db: sqlite3.Connection,
    kinds: Mapping[Resolution, int],
    plan: Plan,
    group_id: int,
    slot: int,
    since: int,
    until: int,
) -> list[Point]:
    resolution = next(r for r in kinds if (r.size, r.slide) == (plan.size, plan.slide))
    values = {
        "kind": kinds[resolution],
        "group": group_id,
        "stride": plan.stride,
        "since": max(since, resolution.first),
        "until": min(until, resolution.last + 1),
        "most": _MAX_STARTS,
    }
    points = []
    for start, revision, blob in db.execute(_WINDOWS, values):
        if (value := unpack(blob, slot)) is not None:
            points.append(point_of(start, plan.size, revision, value))
    return points


def _alert_clauses(where: AlertFilter) -> tuple[list[str], list[object]]:
    tests = {
        "state = ?": where.state,
        "rule = ?": where.rule,
        "severity = ?": where.severity,
        "series = ?": where.series,
        "stream = ?": where.stream,
        "started_at >= ?": where.since,
        "started_at < ?": where.until,
        _TAGS.format(column="alerts.tags"): _json(where.tags) if where.tags else None,
    }
    asked = {clause: value for clause, value in tests.items() if value is not None}
    return list(asked), list(asked.values())


def _series_info(row: tuple[Any, ...]) -> SeriesInfo:
    key, stream, group, measure, slot, tags, finest, last_start, last, _ = row
    values = msgspec.json.decode(last)
    value, weight = (values[slot] if slot < len(values) else None) or (None, 0.0)
    return SeriesInfo(
        key=key,
        group=group,
        measure=measure,
        tags=msgspec.json.decode(tags),
        stream=stream,
        size=finest,
        last_start=last_start,
        last_value=value,
        weight=weight,
    )


def _window(row: tuple[Any, ...]) -> Window:
    tenant, key, measures, size, slide, start, count, late, revision, blob = row
    values = {}
    for slot, measure in enumerate(msgspec.json.decode(measures)):
        if (value := unpack(blob, slot)) is not None:
            values[measure] = value
    return Window(
        tenant=tenant,
        group=key,
        stream=LIVE,
        start=start,
        end=start + size,
        size=size,
        slide=slide,
        count=count,
        values=values,
        revision=revision,
        late=late,
    )


def _json(value: Mapping[str, str]) -> str:
    return msgspec.json.encode(dict(value)).decode()
