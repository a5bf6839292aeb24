"""The SQLite file: one transaction for rows and positions, kill -9, locks, versions, processes."""

import asyncio
import contextlib
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from models.errors import StorageError, StorageUnavailableError
from models.records import Value
from storage import sqlite as sqlite_module
from storage import sqlite_schema
from storage.protocols import AlertFilter, Position, Rows
from storage.sqlite import SqliteSink
from storage.sqlite_queries import SqliteQueries
from storage.sqlite_windows import pack, unpack
from tests.storage.rows import CONFIG, DAY, HOUR, MINUTE, T0, alert, rows, series, window

ROOT = Path(__file__).parents[2]
ASKED = ("acme", series(), "live", T0 - HOUR, T0 + HOUR, None, None, 1000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "back?beat#.db"


@contextlib.asynccontextmanager
async def opened(path: Path, **options: object) -> AsyncIterator[tuple[SqliteSink, SqliteQueries]]:
    sink = SqliteSink(path, CONFIG, **options)
    queries = SqliteQueries(path, CONFIG, **options)
    await sink.open()
    try:
        yield sink, queries
    finally:
        await sink.close()
        await queries.close()


async def test_a_failure_within_the_transaction_leaves_neither_rows_nor_position(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    async with opened(path) as (sink, queries):
        await sink.write(rows(window(count=1), Position("windows", 0, 1)))
        monkeypatch.setattr(sqlite_module, "_UPSERT_POSITION", "INSERT INTO nowhere VALUES (1)")
        new = window(T0 + 10_000, tags={"country": "FR"}, values={"listeners": Value(3.0, 3.0)})
        with pytest.raises(StorageError, match="nowhere"):
            await sink.write(rows(new, window(revision=1, count=2), alert(), Position("w", 0, 2)))
        monkeypatch.undo()
        assert await sink.positions() == {("windows", 0): 1}
        assert await queries.alerts("acme", AlertFilter(), 10, None) == ([], None)
        (point,) = await queries.windows(*ASKED)
        assert (point.value, point.revision) == (1.0, 0)
        # What was remembered of the rolled-back groups is gone too, so this is stored whole.
        await sink.write(rows(new))
        found, _ = await queries.series("acme", "listeners", {}, 10, None)
        assert [info.tags for info in found] == [{"country": "FR"}]


_WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from storage.protocols import Position, Rows
from storage.sqlite import SqliteSink
from tests.storage.rows import CONFIG, T0, window

async def main():
    sink = SqliteSink(Path(sys.argv[1]), CONFIG)
    await sink.open()
    done = (await sink.positions()).get(("windows", 0), 0)
    for offset in itertools.count(done, 7):
        windows = [window(T0 + n * 10_000, count=n) for n in range(offset, offset + 7)]
        await sink.write(Rows(windows=windows, positions=[Position("windows", 0, offset + 7)]))
        print(offset + 7, flush=True)

asyncio.run(main())
"""


async def test_a_file_of_the_first_schema_is_brought_up_to_date(path: Path):
    async with opened(path) as (sink, _):
        await sink.write(rows(window(count=3)))
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("ALTER TABLE groups DROP COLUMN last_count")
        db.execute("PRAGMA user_version = 1")
    async with opened(path) as (sink, queries):
        await sink.write(rows(window(count=4)))
        (info,), _ = await queries.series("acme", "", {}, 10, None)
        assert info.last_value == 4.0


def test_nothing_committed_is_lost_when_the_process_is_killed(path: Path):
    for pause in (0.0, 0.05, 0.2):
        committed = _write_until_killed(path, pause)
        asyncio.run(_check_whole(path, committed))


def _write_until_killed(path: Path, pause: float) -> int:
    """Run a writer for a moment; the last position it says it has committed."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(pause)
    process.send_signal(signal.SIGKILL)
    told, _ = process.communicate()
    return max(map(int, told.split()), default=0)


async def _check_whole(path: Path, committed: int) -> None:
    queries = SqliteQueries(path, CONFIG)
    stored = (await queries.positions())["windows", 0]
    assert stored >= committed
    everything = ("acme", series(), "live", T0, T0 + 900 * DAY, None, 10_000, 10_000)
    points = await queries.windows(*everything)
    assert [p.value for p in points] == [float(n) for n in range(min(stored, 10_000))]
    await queries.close()


async def test_a_locked_file_is_unavailable_and_then_goes_on(path: Path):
    async with opened(path, busy_timeout=0.05) as (sink, queries):
        await sink.write(rows(window()))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageUnavailableError, match="locked"):
            await sink.write(rows(window(T0 + 10_000)))
        assert len(await queries.windows(*ASKED)) == 1
        other.execute("COMMIT")
        other.close()
        await sink.write(rows(window(T0 + 10_000)))
        assert len(await queries.windows(*ASKED)) == 2


async def test_a_file_of_a_newer_schema_is_refused_by_name_and_number(path: Path):
    async with opened(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 3")
    sink, queries = SqliteSink(path, CONFIG), SqliteQueries(path, CONFIG)
    expected = r"beat#.db has schema 3, and this Backbeat knows 2; start the version that wrote it"
    with pytest.raises(StorageError, match=expected) as caught:
        await sink.open()
    assert not isinstance(caught.value, StorageUnavailableError)
    with pytest.raises(StorageError, match=expected):
        await queries.positions()
    await sink.close()
    await queries.close()


async def test_what_is_no_database_is_refused(path: Path):
    path.parent.mkdir()
    path.write_text("This is a letter to my aunt, and longer than a header would be. " * 20)
    sink = SqliteSink(path, CONFIG)
    with pytest.raises(StorageError, match="not a database"):
        await sink.open()
    await sink.close()


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path):
    (tmp_path / "file").write_text("")
    sink = SqliteSink(tmp_path / "file" / "backbeat.db", CONFIG)
    with pytest.raises(StorageUnavailableError, match="folder of the SQLite file"):
        await sink.open()
    await sink.close()


async def test_questions_before_there_is_a_file_are_unavailable_and_answered_later(path: Path):
    queries = SqliteQueries(path, CONFIG)
    with pytest.raises(StorageUnavailableError):
        await queries.windows(*ASKED)
    async with opened(path) as (sink, _):
        await sink.write(rows(window()))
        assert len(await queries.windows(*ASKED)) == 1
    # The writer has gone and taken its log with it.
    assert len(await queries.windows(*ASKED)) == 1
    await queries.close()
    await queries.close()
    with pytest.raises(StorageError, match="closed"):
        await queries.positions()


async def test_questions_cannot_write(path: Path):
    async with opened(path):
        reader = sqlite_schema.connect_reader(path, 1.0)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute("DELETE FROM windows")
        reader.close()


async def test_writing_without_opening_is_an_error(path: Path):
    with pytest.raises(StorageError, match="not open"):
        await SqliteSink(path, CONFIG).write(Rows())


async def test_two_processes_write_one_file(path: Path):
    """Two sinks take turns with the same groups: after a rebalance each goes on from the other."""
    async with opened(path) as (one, queries), opened(path) as (two, _):
        for n in range(6):
            sink = (one, two)[n % 2]
            values = {f"m{n}": Value(float(n), 1.0), "m0": Value(float(n), 1.0)}
            await sink.write(
                rows(window(T0 + n * 10_000, values=values), Position("windows", n % 2, n))
            )
        for n in range(6):
            asked = ("acme", series(f"m{n}"), "live", T0, T0 + HOUR, None, None, 100)
            found = [p.value for p in await queries.windows(*asked)]
            assert found == ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0] if n == 0 else [float(n)])
        assert await two.positions() == {("windows", 0): 4, ("windows", 1): 5}


async def test_two_processes_at_the_same_time(path: Path):
    async with opened(path) as (one, queries), opened(path) as (two, _):

        async def write(sink: SqliteSink, country: str) -> None:
            for n in range(50):
                await sink.write(rows(window(T0 + n * 10_000, tags={"country": country})))

        await asyncio.gather(write(one, "DE"), write(two, "FR"))
        for country in ("DE", "FR"):
            key = series(tags={"country": country})
            asked = ("acme", key, "live", T0, T0 + HOUR, None, None, 100)
            assert len(await queries.windows(*asked)) == 50


async def test_a_new_file_is_made_by_many_at_once(path: Path):
    sinks = [SqliteSink(path, CONFIG) for _ in range(8)]
    await asyncio.gather(*(sink.open() for sink in sinks))
    for n, sink in enumerate(sinks):
        await sink.write(rows(window(T0 + n * 10_000)))
        await sink.close()
    queries = SqliteQueries(path, CONFIG)
    assert len(await queries.windows(*ASKED)) == len(sinks)
    await queries.close()


async def test_a_group_swept_by_another_process_comes_back_whole(path: Path):
    async with opened(path) as (one, queries), opened(path) as (two, _):
        await one.write(rows(window()))
        later = T0 + 500 * DAY
        await two.sweep(later)
        assert await queries.series("acme", "", {}, 10, None) == ([], None)
        await one.write(rows(window(later)))
        (info,), _ = await queries.series("acme", "", {}, 10, None)
        assert info.last_start == later


async def test_a_sweep_of_many_rows_takes_steps_and_lets_writes_in_between(path: Path):
    async with opened(path) as (sink, queries):
        old = [window(T0 + n * 10_000) for n in range(12_000)]
        await sink.write(Rows(windows=old))
        now = T0 + 10 * DAY
        sweep = asyncio.create_task(sink.sweep(now))
        await sink.write(rows(window(now)))
        assert not sweep.done()
        assert await sweep == 12_000
        assert await sink.sweep(now) == 0
        (point,) = await queries.windows("acme", series(), "live", 0, now + 1, None, 10_000, 10)
        assert point.start == now


async def test_the_writers_thread_leaves_the_loop_alone(path: Path):
    async with opened(path) as (sink, _):
        await sink.write(rows(window()))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(sink.write(rows(window(revision=1))))
        began = time.monotonic()
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert time.monotonic() - began < 1.0
        assert not writing.done()
        other.execute("COMMIT")
        other.close()
        await writing


async def test_a_long_range_visits_only_windows_that_are_there(path: Path):
    async with opened(path) as (sink, queries):
        await sink.write(rows(window(T0 - 5000 * DAY), window(T0)))
        began = time.monotonic()
        points = await queries.windows("acme", series(), "live", 0, 2**60, None, 10_000, 10)
        assert time.monotonic() - began < 0.5
        assert [p.value for p in points] == [3.0, None, 3.0]


@pytest.mark.parametrize(
    "value",
    [
        Value(),
        Value(0.0, 0.0),
        Value(120.0, 120.0),
        Value(0.1, 3.0, score=1e-300, low=-(2.0**31), high=2.0**31, learning=True),
        Value(None, 5.0, minimum=-1.5, maximum=1e300, variance=0.25),
        Value(2.0**53 + 2, 1.0, variance=1.0),
    ],
)
def test_a_packed_value_is_the_same_value(value: Value):
    slots = {"before": 0, "it": 1}
    blob = pack({"it": value}, slots)
    assert unpack(blob, 1) == value
    assert [type(v) for v in (unpack(blob, 1).value,)] == [type(value.value)]
    assert unpack(blob, 0) is None
    assert unpack(blob, 2) is None


def test_a_count_takes_a_few_bytes():
    assert len(pack({"plays": Value(120.0, 120.0)}, {"plays": 0})) == 4


async def test_hourly_windows_of_a_year_are_read_in_one_question(path: Path):
    async with opened(path) as (sink, queries):
        hours = [window(T0 - n * HOUR, size=HOUR, slide=MINUTE) for n in range(365 * 24)]
        await sink.write(Rows(windows=hours))
        asked = ("acme", series(), "live", T0 - 400 * DAY, T0 + DAY, None, None, 10_000)
        assert len(await queries.windows(*asked)) == 365 * 24
        by_day = await queries.windows(*asked[:5], DAY, None, 10_000)
        assert 365 <= len(by_day) <= 366
