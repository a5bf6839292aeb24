"""Reading a series back from InfluxDB 1.8: the one question of ``Queries`` it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from models.config import SeriesConfig, format_duration, parse_duration
from models.errors import ConfigurationError
from models.records import Value
from models.series import SeriesKey, parse_key
from storage.cursors import bounded
from storage.downsampling import is_count, point_of, render
from storage.influxdb import live_policies
from storage.influxql import InfluxQL, Result, identifier, parse_bucket
from storage.line_protocol import (
    METRIC_GROUP,
    WINDOW_FIELDS,
    WINDOW_TAGS,
    plain_tag_name,
    plain_tag_value,
    tag_name,
    tag_value,
)
from storage.protocols import Point
from storage.resolution import Plan, Resolution, choose
from storage.series_rows import METRIC_MEASURE, Group

_MAX_ROWS = 200_000


class _Series(NamedTuple):
    """A series as InfluxDB has it: its group and its window kinds."""

    group: str
    kinds: list[Resolution]


class InfluxQueries:
    """Implements ``Queries.windows`` over all policies that ``InfluxSink`` writes to."""

    def __init__(
        self,
        url: str,
        token: str | None,
        series: SeriesConfig,
        bucket: str = "backbeat/autogen",
        timeout: float = 10.0,
    ) -> None:
        own = parse_bucket(bucket)
        database = identifier(own.database)
        policies = {own.policy, *live_policies(series)}
        self._config = series
        self._sources = ", ".join(
            f'{database}.{identifier(policy)}."window"' for policy in sorted(policies)
        )
        self._influxql = InfluxQL(url, token, timeout)

    async def close(self) -> None:
        """Release the connections. Idempotent."""
        await self._influxql.close()

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
        """See ``Queries.windows``."""
        try:
            key = parse_key(series)
        except ConfigurationError:
            return []
        if key.tenant != tenant:
            return []
        found = await self._find(key, stream)
        if found is None:
            return []
        plan = choose(found.kinds, since, until, step, size, bounded(limit))
        if plan is None:
            return []
        points = await self._points(key, stream, found.group, plan, since, until)
        metric = found.group == METRIC_GROUP
        group = Group(tenant, key.name, key.tags, metric)
        measure = METRIC_MEASURE if metric else key.name
        return render(points, plan, is_count(group, measure, self._config, points), bounded(limit))

    async def _find(self, key: SeriesKey, stream: str) -> _Series | None:
        where, values = _where(key, stream)
        tables: list[Result] = []
        for pick in ("first", "last"):
            asked = f'SELECT {pick}("weight") FROM {self._sources} WHERE {where} GROUP BY *'  # noqa: S608  bound
            tables += await self._influxql.ask(asked, values)
        ends: dict[str, dict[tuple[int, int], list[int]]] = {}
        for table in _of_series(tables, key):
            kind = parse_duration(table.tags["size"]), parse_duration(table.tags["slide"])
            kinds = ends.setdefault(table.tags["group"], {})
            kinds.setdefault(kind, []).extend(row["time"] for row in table.rows)
        # A metric may be called like a measure of plays; the measure keeps the name.
        for group in sorted(ends, key=lambda name: name == METRIC_GROUP):
            kinds = ends[group]
            return _Series(group, [Resolution(*k, min(t), max(t)) for k, t in kinds.items()])
        return None

    async def _points(
        self, key: SeriesKey, stream: str, group: str, plan: Plan, since: int, until: int
    ) -> list[Point]:
        where, values = _where(key, stream)
        values |= {
            "group": group,
            "size": format_duration(plan.size),
            "slide": format_duration(plan.slide),
        }
        fields = ", ".join(map(identifier, WINDOW_FIELDS))
        tables = await self._influxql.ask(
            f'SELECT {fields} FROM {self._sources} WHERE {where} AND "group" = $group'  # noqa: S608  bound
            f' AND "size" = $size AND "slide" = $slide AND time >= {since:d}ms'
            f" AND time < {until:d}ms GROUP BY * ORDER BY time LIMIT {_MAX_ROWS}",
            values,
        )
        rows = [row for table in _of_series(tables, key) for row in table.rows]
        rows.sort(key=lambda row: int(row["time"]))
        return [_point(row, plan) for row in rows if row["time"] % plan.stride == 0]


def _where(key: SeriesKey, stream: str) -> tuple[str, dict[str, object]]:
    """The condition for a series, and the values bound in it."""
    values: dict[str, object] = {
        "tenant": tag_value(key.tenant),
        "measure": tag_value(key.name),
        "stream": tag_value(stream),
    }
    clauses = [f'"{name}" = ${name}' for name in values]
    for number, (name, value) in enumerate(key.tags):
        values[f"t{number}"] = tag_value(value)
        clauses.append(f"{identifier(tag_value(tag_name(name)))} = $t{number}")
    return " AND ".join(clauses), values


def _of_series(tables: Iterable[Result], key: SeriesKey) -> Iterable[Result]:
    """The tables that have the key's tags and no others: InfluxQL cannot ask for that."""
    return [table for table in tables if _own_tags(table.tags) == dict(key.tags)]


def _own_tags(tags: Mapping[str, str]) -> dict[str, str]:
    own = {}
    for name, value in tags.items():
        plain = plain_tag_name(plain_tag_value(name))
        if plain is not None and name not in WINDOW_TAGS and value:
            own[plain] = plain_tag_value(value)
    return own


def _point(row: Mapping[str, Any], plan: Plan) -> Point:
    absent = (row["absent"] or "").split(",")
    known = {name: number for name, number in row.items() if name not in absent}
    value = Value(
        value=known.get("value"),
        weight=known.get("weight") or 0.0,
        score=known.get("score"),
        low=known.get("low"),
        high=known.get("high"),
        learning=bool(row["learning"]),
        minimum=known.get("minimum"),
        maximum=known.get("maximum"),
    )
    return point_of(row["time"], plan.size, int(row["revision"] or 0), value)
