"""The SQLite file: its tables, its connections, and what its errors mean to us.

Windows are kept in the order of time, not of series: a flush then appends to a few pages instead of
touching one page per series, and retention deletes a contiguous range. A series is read by one
seek for each of its windows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from models.errors import StorageError, StorageUnavailableError

SCHEMA_VERSION = 2
"""``PRAGMA user_version`` of the files this code writes."""

_PAGE_SIZE = 8192  # rows are a few hundred bytes: fewer levels than 4 KB, written no slower
_CHECKPOINT_PAGES = 2_000
_WAL_LIMIT = 64 * 1024 * 1024

# A kind is one window size and slide of one stream of one tenant. `newest` is its last start;
# before `rolled` it has been rolled up. `generation` changes when groups are deleted, so that
# other processes drop what they remember of them. The windows' `measures` is a msgpack array in
# the order of `groups.measures`; `groups.last` has the same order, in JSON.
_SCHEMA = """
CREATE TABLE store (generation INTEGER NOT NULL) STRICT;
INSERT INTO store VALUES (0);

CREATE TABLE kinds (
    id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, stream TEXT NOT NULL,
    size INTEGER NOT NULL, slide INTEGER NOT NULL, newest INTEGER NOT NULL, rolled INTEGER NOT NULL,
    UNIQUE (tenant, stream, size, slide)
) STRICT;

CREATE TABLE groups (
    id INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT NOT NULL, key TEXT NOT NULL,
    stream TEXT NOT NULL, metric INTEGER NOT NULL, tags TEXT NOT NULL, measures TEXT NOT NULL,
    finest INTEGER NOT NULL, last_start INTEGER NOT NULL, last_size INTEGER NOT NULL,
    last_revision INTEGER NOT NULL, last TEXT NOT NULL, last_count INTEGER NOT NULL DEFAULT -1,
    UNIQUE (key, stream)
) STRICT;

CREATE TABLE spans (
    group_id INTEGER NOT NULL, kind_id INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (group_id, kind_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE series (
    tenant TEXT NOT NULL, key TEXT NOT NULL, stream TEXT NOT NULL, group_id INTEGER NOT NULL,
    measure TEXT NOT NULL, slot INTEGER NOT NULL, metric INTEGER NOT NULL, search TEXT NOT NULL,
    PRIMARY KEY (tenant, key, stream)
) STRICT, WITHOUT ROWID;
CREATE INDEX series_of_group ON series (group_id);

CREATE TABLE windows (
    kind_id INTEGER NOT NULL, start INTEGER NOT NULL, group_id INTEGER NOT NULL,
    revision INTEGER NOT NULL, count INTEGER NOT NULL, late INTEGER NOT NULL,
    measures BLOB NOT NULL,
    PRIMARY KEY (kind_id, start, group_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE findings (
    tenant TEXT NOT NULL, incident TEXT NOT NULL, at INTEGER NOT NULL, rank INTEGER NOT NULL,
    revision INTEGER NOT NULL, series TEXT NOT NULL, stream TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (tenant, incident, at, rank)
) STRICT, WITHOUT ROWID;
CREATE INDEX findings_of_series ON findings (tenant, series, stream, at);
CREATE INDEX findings_by_age ON findings (tenant, stream, at);

CREATE TABLE alerts (
    tenant TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, state TEXT NOT NULL,
    rule TEXT NOT NULL, severity TEXT NOT NULL, series TEXT NOT NULL, stream TEXT NOT NULL,
    started_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, tags TEXT NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (tenant, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX alerts_by_start ON alerts (tenant, started_at DESC, id);
CREATE INDEX alerts_by_age ON alerts (tenant, stream, updated_at);

CREATE TABLE alert_revisions (
    tenant TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (tenant, id, revision)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    tenant TEXT NOT NULL, alert TEXT NOT NULL, at INTEGER NOT NULL, notification TEXT NOT NULL,
    outcome TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (tenant, alert, at, notification, outcome)
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_by_age ON deliveries (at);

CREATE TABLE positions (
    cluster TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (cluster, topic, partition)
) STRICT, WITHOUT ROWID;
"""

# What goes away when a lock is released, a disk has room again or a mount is back.
_PASSING = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}


@contextmanager
def converted(path: Path) -> Iterator[None]:
    """Turn the driver's errors into ours."""
    try:
        yield
    except sqlite3.Error as exc:
        code = getattr(exc, "sqlite_errorcode", 0) & 0xFF
        kind = StorageUnavailableError if code in _PASSING else StorageError
        msg = f"SQLite file {path}: {exc}"
        raise kind(msg) from exc


def connect_writer(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """A connection that writes, on a file with our schema; both are made where missing.

    WAL with ``synchronous=NORMAL``: a commit survives the death of the process. A power failure
    may take the last ones, rows and positions together, and they are read from Kafka again.
    """
    with converted(path):
        db = sqlite3.connect(path, timeout=busy_timeout, isolation_level=None)
        try:
            if version_of(db) == 0:
                db.execute(f"PRAGMA page_size = {_PAGE_SIZE}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            db.execute(f"PRAGMA journal_size_limit = {_WAL_LIMIT}")
            with transaction(db):
                if version_of(db) == 0:
                    _create(db)
                elif version_of(db) == 1:
                    _add_counts(db)
            check_version(path, version_of(db))
        except BaseException:  # whatever it was, no connection stays open
            db.close()
            raise
    return db


def connect_reader(path: Path, busy_timeout: float) -> sqlite3.Connection:
    """A connection that only reads, for use by one thread at a time."""
    with converted(path):
        db = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro",
            uri=True,
            timeout=busy_timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            db.execute("PRAGMA query_only = ON")
            version = version_of(db)
            if version == 0:
                msg = f"SQLite file {path} is empty; nothing has been stored yet"
                raise StorageUnavailableError(msg)
            check_version(path, version)
        except BaseException:
            db.close()
            raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, with the write lock from the start, so that nothing read can change."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def version_of(db: sqlite3.Connection) -> int:
    """The schema version in the file; 0 for a new one."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def check_version(path: Path, version: int) -> None:
    """Raise :class:`StorageError` for a file that this code cannot use."""
    if version != SCHEMA_VERSION:
        msg = (
            f"SQLite file {path} has schema {version}, and this Backbeat knows {SCHEMA_VERSION}; "
            "start the version that wrote it, or give another file with BACKBEAT_SQLITE_PATH"
        )
        raise StorageError(msg)


def _add_counts(db: sqlite3.Connection) -> None:
    # Schema 1 knew the newest window of a group by its revision alone.
    db.execute("ALTER TABLE groups ADD COLUMN last_count INTEGER NOT NULL DEFAULT -1")
    db.execute("PRAGMA user_version = 2")


def _create(db: sqlite3.Connection) -> None:
    # Not executescript(): it would commit the transaction we are in.
    for statement in _SCHEMA.split(";"):
        if statement.strip():
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
