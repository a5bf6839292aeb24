"""The embedded store: the sink that writes what is on the output topics to one SQLite file.

Rows and the offsets they came from are committed together, so a process that is killed goes on
exactly where the file stands. Writing happens on a thread of its own; ``storage.sqlite_queries``
reads the same file, from any process.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from models.config import SeriesConfig
from models.errors import StorageError, StorageUnavailableError
from models.records import Alert, Delivery, Finding, to_json
from storage.history import delivery_key, finding_key
from storage.protocols import Rows
from storage.sqlite_schema import connect_writer, converted, transaction
from storage.sqlite_sweep import sweep_steps
from storage.sqlite_windows import WindowWriter

T = TypeVar("T")

_log = logging.getLogger(__name__)

_UPSERT_FINDING = """
INSERT INTO findings (tenant, incident, at, rank, revision, series, stream, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET revision = excluded.revision, series = excluded.series,
    stream = excluded.stream, body = excluded.body
WHERE excluded.revision > findings.revision
"""
_UPSERT_ALERT = """
INSERT INTO alerts (tenant, id, revision, state, rule, severity, series, stream, started_at,
    updated_at, tags, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET revision = excluded.revision, state = excluded.state,
    rule = excluded.rule, severity = excluded.severity, series = excluded.series,
    stream = excluded.stream, started_at = excluded.started_at, updated_at = excluded.updated_at,
    tags = excluded.tags, body = excluded.body
WHERE excluded.revision > alerts.revision
"""
_INSERT_REVISION = """
INSERT INTO alert_revisions (tenant, id, revision, body) VALUES (?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
_INSERT_DELIVERY = """
INSERT INTO deliveries (tenant, alert, at, notification, outcome, body) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT DO NOTHING
"""
# Overwritten, not raised: after a topic was made anew its offsets begin again, and a position that
# is too low only means that rows are written twice.
_UPSERT_POSITION = """
INSERT INTO positions (cluster, topic, partition, next_offset) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset
"""


class SqliteSink:
    """Implements ``Sink`` on a file; several processes may each have one on the same file.

    Positions of several clusters are kept apart. ``busy_timeout``: seconds to wait for another
    writer.
    """

    def __init__(self, path: Path, series: SeriesConfig, busy_timeout: float = 5.0) -> None:
        self._path = path
        self._config = series
        self._busy_timeout = busy_timeout
        self._writer = WindowWriter()
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None

    @property
    def rejected(self) -> Counter[str]:
        """Windows that could not be stored, by reason."""
        return self._writer.rejected

    async def open(self) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        await self._run(self._connection)

    async def write(self, rows: Rows) -> None:
        await self._run(lambda: self._write(rows))

    async def positions(self, cluster: str = "") -> Mapping[tuple[str, int], int]:
        return await self._run(lambda: self._positions(cluster))

    async def sweep(self, now: int) -> int:
        db = await self._run(self._connection)
        steps = sweep_steps(db, self._config.windows, now)
        swept = 0
        while (deleted := await self._run(lambda: self._step(db, steps))) is not None:
            swept += deleted
        return swept

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown()

    async def _run(self, work: Callable[[], T]) -> T:
        if self._thread is None:
            msg = f"SQLite file {self._path} is not open"
            raise StorageError(msg)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, work)

    # What follows runs on the writer's thread.

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            with converted(self._path):
                return work()
        except StorageUnavailableError:
            self._disconnect()  # begin anew: the file may be another one by then
            raise
        except BaseException:  # whatever it was, the transaction did not take place
            self._writer.forget()
            raise

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as exc:
                msg = f"folder of the SQLite file {self._path}: {exc}"
                raise StorageUnavailableError(msg) from exc
            self._db = connect_writer(self._path, self._busy_timeout)
        return self._db

    def _disconnect(self) -> None:
        self._writer.forget()
        db, self._db = self._db, None
        if db is not None:
            db.close()

    def _write(self, rows: Rows) -> None:
        db = self._connection()
        with transaction(db):
            self._writer.write(db, rows.windows)
            db.executemany(_UPSERT_FINDING, map(_finding, rows.findings))
            db.executemany(_INSERT_REVISION, map(_revision, rows.alerts))
            db.executemany(_UPSERT_ALERT, map(_alert, rows.alerts))
            db.executemany(_INSERT_DELIVERY, map(_delivery, rows.deliveries))
            db.executemany(_UPSERT_POSITION, [(rows.cluster, *p) for p in rows.positions])

    def _positions(self, cluster: str) -> dict[tuple[str, int], int]:
        rows = self._connection().execute(
            "SELECT topic, partition, next_offset FROM positions WHERE cluster = ?",
            (cluster,),
        )
        return {(topic, partition): offset for topic, partition, offset in rows}

    def _step(self, db: sqlite3.Connection, steps: Iterator[int]) -> int | None:
        if db is not self._db:
            msg = f"SQLite file {self._path} was opened anew during a sweep"
            raise StorageUnavailableError(msg)
        with transaction(db):
            return next(steps, None)


def _finding(finding: Finding) -> tuple[object, ...]:
    key = finding_key(finding)
    return (*key, finding.revision, finding.series, finding.stream, to_json(finding))


def _revision(alert: Alert) -> tuple[object, ...]:
    return (alert.tenant, alert.id, alert.revision, to_json(alert))


def _alert(alert: Alert) -> tuple[object, ...]:
    tags = msgspec.json.encode(alert.tags).decode()
    names = (alert.tenant, alert.id, alert.revision, alert.state, alert.rule, alert.severity)
    where = (alert.series, alert.stream, alert.started_at, alert.updated_at, tags)
    return (*names, *where, to_json(alert))


def _delivery(delivery: Delivery) -> tuple[object, ...]:
    return (*delivery_key(delivery), to_json(delivery))
