"""What ``series.toml`` says of detection: which detector for which series, and which days are special.

Parsed and checked here as far as it can be without knowing the detectors or the holidays there are.
"""

from __future__ import annotations

import datetime as dt
from typing import Any, Literal

import msgspec

from models.errors import ConfigurationError
from models.toml import read_table

_WEEK = dt.timedelta(days=7)
_DAY = dt.timedelta(days=1)


class DetectorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ``[[detectors]]`` table: the detector of some measures of plays, or of some metrics.

    ``groups`` empty: in every dimension group. ``metric`` is a glob of metrics' names. ``direction``
    and ``minimum`` as :class:`ml.directed.DirectedDetector` has them. The first that fits counts.
    """

    name: str
    measures: tuple[str, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    metric: str | None = None
    direction: Literal["any", "up", "down", "zero"] = "any"
    minimum: float = 0.0


class EventSpec(msgspec.Struct, frozen=True):
    """Days or hours that are unlike others: ``[start, end)`` in the calendar's own time.

    ``weekly`` repeats it every seven days from ``start`` on. ``tenant`` empty: for all.
    """

    name: str
    start: dt.datetime
    end: dt.datetime
    weekly: bool = False
    tenant: str = ""


class CalendarSpec(msgspec.Struct, frozen=True):
    """``[calendar]``: a time zone, countries whose public holidays count, and events of one's own."""

    timezone: str
    countries: tuple[str, ...] = ()
    events: tuple[EventSpec, ...] = ()


class _EventSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    start: Any
    end: Any = None
    weekly: bool = False
    tenant: str = ""


class _CalendarSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    timezone: str
    countries: tuple[str, ...] = ()
    events: tuple[_EventSource, ...] = ()


def parse_detectors(
    raw: list[dict[str, Any]], measures: list[str], groups: tuple[tuple[str, ...], ...]
) -> tuple[DetectorSpec, ...]:
    """The ``[[detectors]]`` tables, in their order; raises :class:`ConfigurationError`."""
    specs = []
    for table in raw:
        name = f"detector {table.get('name', '(without name)')!r}"
        spec = read_table(table, DetectorSpec, name)
        spec = msgspec.structs.replace(spec, groups=tuple(tuple(sorted(g)) for g in spec.groups))
        if bool(spec.measures) == (spec.metric is not None):
            msg = (
                f"{name} needs either `measures` of plays or a `metric` (a name or glob), not both"
            )
            raise ConfigurationError(msg)
        if spec.groups and spec.metric is not None:
            msg = f"{name} has groups, which a metric has not"
            raise ConfigurationError(msg)
        if unknown := set(spec.measures) - set(measures):
            msg = f"{name} names measures {sorted(unknown)}; known: {sorted(measures)}"
            raise ConfigurationError(msg)
        if unkept := [list(g) for g in spec.groups if g not in groups]:
            msg = f"{name} names groups {unkept}; kept are {[list(g) for g in groups]}"
            raise ConfigurationError(msg)
        if not spec.minimum >= 0:
            msg = f"{name}: minimum {spec.minimum:g} is negative; 0 asks for none"
            raise ConfigurationError(msg)
        specs.append(spec)
    return tuple(specs)


def parse_calendar(raw: dict[str, Any] | None) -> CalendarSpec | None:
    """The ``[calendar]`` table, None without one; raises :class:`ConfigurationError`."""
    if raw is None:
        return None
    source = read_table(raw, _CalendarSource, "calendar")
    return CalendarSpec(source.timezone, source.countries, tuple(map(_event, source.events)))


def _event(source: _EventSource) -> EventSpec:
    name = f"calendar event {source.name!r}"
    if not source.name.strip() or "/" in source.name or source.name == "ordinary":
        msg = f"{name}: a name is neither empty nor 'ordinary' and has no /"
        raise ConfigurationError(msg)
    start = _instant(name, "start", source.start)
    end = _instant(name, "end", source.start if source.end is None else source.end, is_end=True)
    if end <= start:
        msg = f"{name} ends at {end} and begins at {start}; the end must be later"
        raise ConfigurationError(msg)
    if source.weekly and end - start > _WEEK:
        msg = f"{name} is weekly and longer than a week"
        raise ConfigurationError(msg)
    return EventSpec(source.name, start, end, source.weekly, source.tenant)


def _instant(name: str, key: str, value: object, *, is_end: bool = False) -> dt.datetime:
    """A local time; a date is its midnight, and as an end that after it: days are whole."""
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        return value
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime.combine(value, dt.time()) + (_DAY if is_end else dt.timedelta())
    msg = (
        f"{name}: {key} {value} is neither a date (2026-01-02) nor a local time "
        "(2026-01-02T09:00:00, without offset: it is in the calendar's time zone)"
    )
    raise ConfigurationError(msg)
