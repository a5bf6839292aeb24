"""Stores alone: group windows written a second, bytes a window takes, and how soon a chart is there.

`python -m bench.storage` measures SQLite and memory; `--stores sqlite,influxdb,redis` others, whose
servers are started on loopback. The shipped configuration: 8 measures; 10 s and sliding 1 min
windows every 10 s, the hour every minute, of which the minute has scores and bands. Rates are wall
time of one writer with its store on this machine; CPU is this process's, the writer's thread
included. Values are random, so nothing is gained by repetition. New groups are paid for in the
first step, which is told apart.
"""

import argparse
import asyncio
import itertools
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.machine import about
from models.config import load_series_config
from models.records import Value, Window, to_json
from models.series import format_key
from storage.influxdb import InfluxSink
from storage.memory import MemoryStore
from storage.protocols import Position, Rows, Sink
from storage.redis import RedisSink
from storage.sqlite import SqliteSink
from storage.sqlite_queries import SqliteQueries
from tests.support.influxdb import InfluxDBServer
from tests.support.valkey import ValkeyServer

SEED = 11
CONFIG = load_series_config(Path("config/series.toml"))
PANE = CONFIG.time.pane
HOUR = 3_600_000


def group_keys(number: int) -> list[str]:
    """Platform × country instances, four platforms each."""
    return [
        format_key("demo", "country_platform", {"country": f"C{n // 4}", "platform": f"p{n % 4}"})
        for n in range(number)
    ]


def make_window(rng: random.Random, group: str, end: int, size: int, slide: int) -> Window:
    plays = rng.randrange(20, 2_000) * size // PANE
    values = {}
    for measure in CONFIG.measures:
        count = measure.kind in {"count", "distinct"}
        value = float(plays - rng.randrange(20)) if count else rng.random() * 100
        values[measure.name] = Value(value=value, weight=float(plays))
        if size == 60_000:
            values[measure.name] = Value(
                value, float(plays), rng.random() * 3, value * rng.random(), value * 1.5
            )
    return Window("demo", group, "live", end - size, end, size, slide, plays, values)


def steps(groups: int, number: int, begin: int) -> Iterator[list[Window]]:
    """What closes with each pane, of all groups."""
    rng = random.Random(SEED)
    keys = group_keys(groups)
    for n in range(1, number + 1):
        end = begin + n * PANE
        yield [
            make_window(rng, key, end, spec.size, spec.slide)
            for spec in CONFIG.windows
            if end % spec.slide == 0
            for key in keys
        ]


async def write(sink: Sink, batches: list[list[Window]], rows: int) -> dict[str, Any]:
    """Write every step in pieces of so many rows, with a position as the sinks' loop does."""
    longest, first, offset = 0.0, 0.0, 0
    began, cpu = time.perf_counter(), time.process_time()
    for number, batch in enumerate(batches):
        if number == 1:
            first = time.perf_counter() - began
            began, cpu = time.perf_counter(), time.process_time()
        for at in range(0, len(batch), rows):
            piece = batch[at : at + rows]
            offset += len(piece)
            once = time.perf_counter()
            await sink.write(Rows(windows=piece, positions=[Position("windows", 0, offset)]))
            if number:
                longest = max(longest, time.perf_counter() - once)
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    written = sum(map(len, batches[1:]))
    return {
        "windows": written,
        "windows_per_s": round(written / wall),
        "cpu_us_per_window": round(cpu / written * 1e6, 1),
        "longest_write_ms": round(longest * 1e3),
        "first_step_windows_per_s": round(len(batches[0]) / first),
    }


async def chart_times(path: Path, begin: int, number: int) -> dict[str, float]:
    """Median ms of an hour's 10 s points, of a search, and of the busiest series."""
    queries = SqliteQueries(path, CONFIG)
    key = format_key("demo", "plays", {"country": "C1", "platform": "p1"})
    end = begin + number * PANE
    asked: dict[str, Callable[[], Awaitable[object]]] = {
        "chart_of_an_hour_ms": lambda: queries.windows(
            "demo", key, "live", max(begin, end - HOUR), end, None, PANE, 1000
        ),
        "search_ms": lambda: queries.series("demo", "c1,", {}, 20, None),
        "busiest_ms": lambda: queries.series("demo", "", {}, 20, None),
    }
    found = {}
    for name, ask in asked.items():
        times = []
        for _ in range(7):
            began = time.perf_counter()
            await ask()
            times.append(time.perf_counter() - began)
        found[name] = round(statistics.median(times) * 1e3, 2)
    await queries.close()
    return found


def file_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


async def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    begin = (int(time.time() * 1000) // HOUR - 5) * HOUR
    batches = list(steps(options.groups, options.steps, begin))
    folder = Path(tempfile.mkdtemp(prefix="bench-storage-", dir=options.folder))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        sink = make_sink(name, folder, stack)
        await sink.open()
        result = await write(sink, batches, options.rows)
        await sink.close()
        everything = list(itertools.chain(*batches))
        if name == "sqlite":
            result["bytes_per_window"] = round(file_bytes(folder) / len(everything))
            result["topic_json_bytes_per_window"] = round(
                statistics.fmean(len(to_json(w)) for w in everything)
            )
            result |= await chart_times(folder / "backbeat.db", begin, options.steps)
    return {"store": name, **result}


def make_sink(name: str, folder: Path, stack: ExitStack) -> Sink:
    if name == "memory":
        return MemoryStore(CONFIG)
    if name == "sqlite":
        return SqliteSink(folder / "backbeat.db", CONFIG)
    if name == "redis":
        server = stack.enter_context(ValkeyServer(folder))
        return RedisSink(server.url)
    if name == "influxdb":
        influx = stack.enter_context(InfluxDBServer(folder))
        return InfluxSink(influx.url, influx.token, CONFIG)
    msg = f"no store {name!r}; there are memory, sqlite, redis, influxdb"
    raise SystemExit(msg)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stores", default="sqlite,memory")
    parser.add_argument("--groups", type=int, default=1_000, help="group instances")
    parser.add_argument("--steps", type=int, default=60, help="panes of 10 s")
    parser.add_argument("--rows", type=int, default=2_000, help="windows in one write")
    parser.add_argument("--folder", default=None, help="where files go; the system's temporary one")
    options = parser.parse_args()
    for name in options.stores.split(","):
        result = asyncio.run(measure(name, options))
        print(json.dumps({**result, "groups": options.groups, **about()}))


if __name__ == "__main__":
    main()
