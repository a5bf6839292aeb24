"""Forgetting in SQLite: retention, roll-up, silent series, old incidents; in bounded steps.

Each step deletes at most some thousand rows and is a transaction of its own, so that writes get in
between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from models.config import WindowSpec
from storage.retention import ROLL_UP_AFTER, history_retention, policy_for, stream_clock

STEP = 5_000
"""Rows deleted in one step, about."""

_BOUNDARY = """
SELECT start FROM windows WHERE kind_id = ? AND start >= ? AND start < ?
ORDER BY start LIMIT 1 OFFSET ?
"""
_SILENT = """
SELECT id FROM groups WHERE tenant = ? AND stream = ? AND last_start < ? LIMIT ?
"""
_OLD_ALERTS = """
SELECT id FROM alerts
WHERE tenant = ? AND stream = ? AND state <> 'firing' AND updated_at < ? LIMIT ?
"""
_OLD_FINDINGS = """
DELETE FROM findings WHERE (tenant, incident, at, rank) IN (
    SELECT tenant, incident, at, rank FROM findings
    WHERE tenant = ? AND stream = ? AND at < ? LIMIT ?)
"""
_OLD_DELIVERIES = """
DELETE FROM deliveries WHERE (tenant, alert, at, notification, outcome) IN (
    SELECT tenant, alert, at, notification, outcome FROM deliveries WHERE at < ? LIMIT ?)
"""


def sweep_steps(db: sqlite3.Connection, windows: Sequence[WindowSpec], now: int) -> Iterator[int]:
    """Yields the rows that each step deleted; run every ``next()`` in its own transaction."""
    history = history_retention(windows)
    streams = db.execute(
        "SELECT tenant, stream, max(newest) FROM kinds GROUP BY tenant, stream"
    ).fetchall()
    for tenant, stream, newest in streams:
        clock = stream_clock(stream, now, newest)
        yield from _windows(db, windows, tenant, stream, clock)
        owner = (tenant, stream, clock - history)
        yield from _repeat(db, _OLD_FINDINGS, owner)
        yield from _alerts(db, owner)
        yield from _groups(db, owner)
    yield from _repeat(db, _OLD_DELIVERIES, (now - history,))


def _windows(
    db: sqlite3.Connection, windows: Sequence[WindowSpec], tenant: str, stream: str, clock: int
) -> Iterator[int]:
    kinds = db.execute(
        "SELECT id, size, slide, rolled FROM kinds WHERE tenant = ? AND stream = ?",
        (tenant, stream),
    ).fetchall()
    for kind, size, slide, rolled in kinds:
        policy = policy_for(size, slide, windows)
        yield from _expire(db, kind, clock - policy.retention)
        if policy.keep_every and policy.keep_every != slide:
            yield from _roll_up(db, kind, rolled, clock - ROLL_UP_AFTER, policy.keep_every)


def _expire(db: sqlite3.Connection, kind: int, until: int) -> Iterator[int]:
    deleted = 1
    while deleted:
        row = db.execute(_BOUNDARY, (kind, -(2**62), until, STEP)).fetchone()
        end = row[0] + 1 if row else until
        deleted = db.execute(
            "DELETE FROM windows WHERE kind_id = ? AND start < ?", (kind, end)
        ).rowcount
        yield deleted


def _roll_up(
    db: sqlite3.Connection, kind: int, since: int, until: int, keep_every: int
) -> Iterator[int]:
    while since < until:
        row = db.execute(_BOUNDARY, (kind, since, until, STEP)).fetchone()
        end = row[0] + 1 if row else until
        deleted = db.execute(
            "DELETE FROM windows WHERE kind_id = ? AND start >= ? AND start < ? AND start % ? <> 0",
            (kind, since, end, keep_every),
        ).rowcount
        # A write in between may have lowered it below where this step began.
        db.execute("UPDATE kinds SET rolled = ? WHERE id = ? AND rolled >= ?", (end, kind, since))
        yield deleted
        since = end


def _alerts(db: sqlite3.Connection, owner: tuple[str, str, int]) -> Iterator[int]:
    while ids := db.execute(_OLD_ALERTS, (*owner, STEP)).fetchall():
        keys = [(owner[0], alert_id) for (alert_id,) in ids]
        db.executemany("DELETE FROM alert_revisions WHERE tenant = ? AND id = ?", keys)
        db.executemany("DELETE FROM alerts WHERE tenant = ? AND id = ?", keys)
        yield len(keys)


def _groups(db: sqlite3.Connection, owner: tuple[str, str, int]) -> Iterator[int]:
    while ids := db.execute(_SILENT, (*owner, STEP // 10)).fetchall():
        db.executemany("DELETE FROM series WHERE group_id = ?", ids)
        db.executemany("DELETE FROM spans WHERE group_id = ?", ids)
        db.executemany("DELETE FROM groups WHERE id = ?", ids)
        db.execute("UPDATE store SET generation = generation + 1")
        yield 0


def _repeat(db: sqlite3.Connection, statement: str, values: tuple[object, ...]) -> Iterator[int]:
    deleted = 1
    while deleted:
        deleted = db.execute(statement, (*values, STEP)).rowcount
        yield deleted
