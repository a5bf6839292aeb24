"""Writing windows to SQLite: their packed form, and what is remembered of their groups.

A process remembers the groups it has written, so that a window costs one statement. What it
remembers is only ever used to save work: every statement holds in the face of another writer.
"""

from __future__ import annotations

import logging
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from models.records import Value, Window
from storage.series_rows import Order, fault, newness, parse_group, search_text

_log = logging.getLogger(__name__)

_MAX_REMEMBERED = 200_000
_SMALL = 2.0**31

_UPSERT_WINDOW = """
INSERT INTO windows (kind_id, start, group_id, revision, count, late, measures)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET revision = excluded.revision, count = excluded.count,
    late = excluded.late, measures = excluded.measures
WHERE (excluded.count, excluded.revision) > (windows.count, windows.revision)
"""
_UPSERT_SPAN = """
INSERT INTO spans (group_id, kind_id, first, last) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET first = min(first, excluded.first), last = max(last, excluded.last)
"""
_UPDATE_NEWEST = """
UPDATE groups SET last_start = ?1, last_size = -?2, last_count = ?3, last_revision = ?4, last = ?5
WHERE id = ?6 AND (last_start, -last_size, last_count, last_revision) < (?1, ?2, ?3, ?4)
"""
_UPDATE_FINEST = "UPDATE groups SET finest = min(finest, ?) WHERE id = ?"
_UPDATE_KIND = "UPDATE kinds SET newest = max(newest, ?), rolled = min(rolled, ?) WHERE id = ?"
_INSERT_KIND = """
INSERT INTO kinds (tenant, stream, size, slide, newest, rolled) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
_INSERT_GROUP = """
INSERT INTO groups (tenant, key, stream, metric, tags, measures, finest, last_start, last_size,
    last_count, last_revision, last)
VALUES (?, ?, ?, ?, ?, '[]', ?, ?, ?, -1, -1, '[]')
ON CONFLICT DO NOTHING
"""
# A metric may be called like a measure of plays; the measure keeps the name.
_INSERT_SERIES = """
INSERT INTO series (tenant, key, stream, group_id, measure, slot, metric, search)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET group_id = excluded.group_id, measure = excluded.measure,
    slot = excluded.slot, metric = excluded.metric
WHERE excluded.metric < series.metric
"""


_Packed = list[list[float | bool | None] | None]


def pack(values: Mapping[str, Value], slots: Mapping[str, int]) -> bytes:
    """A window's measures as a msgpack array by slot, each an array cut after its last field."""
    packed: _Packed = [None] * len(slots)
    for measure, value in values.items():
        packed[slots[measure]] = _fields(value)
    return msgspec.msgpack.encode(packed)


def unpack(blob: bytes, slot: int) -> Value | None:
    """The value in one slot of :func:`pack`'s bytes; None where the window lacks the measure."""
    packed = msgspec.msgpack.decode(blob, type=_Packed)
    fields = packed[slot] if slot < len(packed) else None
    if fields is None:
        return None
    value, weight, learning, *rest = fields + [None] * (9 - len(fields))
    score, low, high, minimum, maximum, variance = map(_float, rest)
    return Value(
        value=_float(value),
        weight=_float(weight) or 0.0,
        score=score,
        low=low,
        high=high,
        learning=bool(learning),
        minimum=minimum,
        maximum=maximum,
        variance=variance,
    )


def _fields(v: Value) -> list[float | bool | None]:
    fields: list[float | bool | None] = [
        _number(v.value),
        _number(v.weight),
        v.learning or None,
        _number(v.score),
        _number(v.low),
        _number(v.high),
        _number(v.minimum),
        _number(v.maximum),
        _number(v.variance),
    ]
    while fields and fields[-1] is None:
        fields.pop()
    return fields


def _number(x: float | None) -> float | None:
    """Whole numbers as integers: msgpack writes those in one to five bytes instead of nine."""
    if x is None or not -_SMALL < x < _SMALL or x != (whole := int(x)):
        return x
    return whole


def _float(x: float | None) -> float | None:
    return None if x is None else float(x)


_NEVER = Order(-(2**62), 0, -1, -1)


@dataclass(slots=True)
class _Known:
    """What is remembered of a group; ``spans`` are (first, last) by kind."""

    id: int
    slots: dict[str, int]
    finest: int
    newest: Order = _NEVER
    spans: dict[int, tuple[int, int]] = field(default_factory=dict)


class WindowWriter:
    """Writes windows within the transactions of one connection."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Known] = {}
        self._kinds: dict[tuple[str, str, int, int], int] = {}
        self._generation = -1
        self.rejected: Counter[str] = Counter()

    def forget(self) -> None:
        """Drop all that is remembered; needed after a transaction that failed."""
        self._groups.clear()
        self._kinds.clear()

    def write(self, db: sqlite3.Connection, windows: Iterable[Window]) -> None:
        """Store windows, and bring their groups and series up to date, each once."""
        (generation,) = db.execute("SELECT generation FROM store").fetchone()
        if generation != self._generation or len(self._groups) > _MAX_REMEMBERED:
            self.forget()
            self._generation = generation
        rows = []
        newest: dict[int, Window] = {}
        spans: dict[tuple[int, int], tuple[int, int]] = {}
        starts: dict[int, tuple[int, int]] = {}
        for window in windows:
            if reason := fault(window):
                self.rejected[reason] += 1
                _log.error("window rejected", extra={"reason": reason, "window": window.id})
                continue
            known, kind = self._known(db, window), self._kind(db, window)
            start = window.start
            blob = pack(window.values, known.slots)
            rows.append((kind, start, known.id, window.revision, window.count, window.late, blob))
            first, last = starts.get(kind, (start, start))
            starts[kind] = (min(first, start), max(last, start))
            if (order := newness(window)) > known.newest:
                known.newest = order
                newest[known.id] = window
            first, last = known.spans.get(kind, (start + 1, start - 1))
            if not first <= start <= last:
                known.spans[kind] = spans[known.id, kind] = (min(first, start), max(last, start))
        db.executemany(_UPSERT_WINDOW, sorted(rows))  # in the table's order: neighbours share pages
        db.executemany(_UPSERT_SPAN, [(*k, *v) for k, v in spans.items()])
        db.executemany(_UPDATE_KIND, [(last, first, k) for k, (first, last) in starts.items()])
        db.executemany(_UPDATE_NEWEST, [self._last(w, i) for i, w in newest.items()])

    def _known(self, db: sqlite3.Connection, window: Window) -> _Known:
        known = self._groups.get((window.group, window.stream))
        if known is None:
            known = self._load(db, window)
        if not window.values.keys() <= known.slots.keys():
            self._add_measures(db, known, window)
        if window.size < known.finest:
            known.finest = window.size
            db.execute(_UPDATE_FINEST, (window.size, known.id))
        return known

    def _load(self, db: sqlite3.Connection, window: Window) -> _Known:
        group = parse_group(window.group)
        tags = msgspec.json.encode(dict(group.tags)).decode()
        size = window.size
        values = (window.tenant, window.group, window.stream, group.metric, tags, size)
        db.execute(_INSERT_GROUP, (*values, window.start, size))
        row = db.execute(
            "SELECT id, measures, finest FROM groups WHERE key = ? AND stream = ?",
            (window.group, window.stream),
        ).fetchone()
        known = _Known(row[0], _slots(row[1]), row[2])
        self._groups[window.group, window.stream] = known
        return known

    def _add_measures(self, db: sqlite3.Connection, known: _Known, window: Window) -> None:
        # Read again: another process may have added some.
        row = db.execute("SELECT measures FROM groups WHERE id = ?", (known.id,)).fetchone()
        known.slots = _slots(row[0])
        group = parse_group(window.group)
        for measure in window.values:
            if measure in known.slots:
                continue
            slot = known.slots[measure] = len(known.slots)
            key = group.series_key(measure)
            search = search_text(key, dict(group.tags))
            names = (window.tenant, key, window.stream, known.id, measure)
            db.execute(_INSERT_SERIES, (*names, slot, group.metric, search))
        measures = msgspec.json.encode(list(known.slots)).decode()
        db.execute("UPDATE groups SET measures = ? WHERE id = ?", (measures, known.id))

    def _kind(self, db: sqlite3.Connection, window: Window) -> int:
        name = (window.tenant, window.stream, window.size, window.slide)
        kind = self._kinds.get(name)
        if kind is None:
            db.execute(_INSERT_KIND, (*name, window.start, window.start))
            (kind,) = db.execute(
                "SELECT id FROM kinds WHERE (tenant, stream, size, slide) = (?, ?, ?, ?)", name
            ).fetchone()
            self._kinds[name] = kind
        return int(kind)

    def _last(self, window: Window, group_id: int) -> tuple[object, ...]:
        slots = self._groups[window.group, window.stream].slots
        last: list[object] = [None] * len(slots)
        for measure, value in window.values.items():
            last[slots[measure]] = (value.value, value.weight)
        return (*newness(window), msgspec.json.encode(last).decode(), group_id)


def _slots(measures: str) -> dict[str, int]:
    return {measure: slot for slot, measure in enumerate(msgspec.json.decode(measures))}
