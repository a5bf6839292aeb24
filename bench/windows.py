"""The windows step alone: what a published window costs, and what a group's state takes.

`python -m bench.windows` prints both. The shipped configuration (8 measures; 10 s, 1 min every 10 s,
1 h every minute), 74 group instances, 20 plays each in a pane, from 4 source partitions. Watermarks
and partials go in separate batches, so that their costs can be told apart.
Seconds are CPU time of this process.
"""

import argparse
import gc
import json
import random
import resource
import statistics
import time
from pathlib import Path

from engine.store import KeyedStore
from models.config import load_series_config
from models.flow import Batch, Record
from models.records import Partial, Watermark, to_msgpack
from models.series import format_key
from tables.parts import buckets, moments, registers
from tables.windowing import WINDOW_STORES, WindowsConfig, fold_windows

SEED = 7
CONFIG = load_series_config(Path("config/series.toml"))
PANE = CONFIG.time.pane
T0 = 20_000 * 86_400_000
SOURCES = 4
MINUTE = 60_000


class Uncounted:
    def count(self, name: str, reason: str, n: int = 1) -> None:
        pass


def reference() -> float:
    """CPU ms of a fixed loop, so that figures of a busy or slow machine can be compared."""
    began = time.process_time()
    sum(i * i for i in range(10_000))
    return (time.process_time() - began) * 1e3


def group_keys(n: int) -> list[str]:
    return [format_key("demo", "country_platform", {"country": str(i)}) for i in range(n)]


def play_parts(rng: random.Random, plays: int) -> dict[str, object]:
    """Parts as the ingest step makes them of this many random plays."""
    return {
        "n": plays,
        "n:eligible": sum(rng.random() < 0.8 for _ in range(plays)),
        "n:failed": sum(rng.random() < 0.02 for _ in range(plays)),
        "n:skipped": sum(rng.random() < 0.3 for _ in range(plays)),
        "d:listener_id": registers(rng.getrandbits(64) for _ in range(plays)),
        "q:startup_ms": buckets(int(rng.lognormvariate(6, 0.6)) for _ in range(plays)),
        "s:completion": moments(
            [rng.randrange(1, 240_000) / rng.randrange(180_000, 240_000) for _ in range(plays)]
        ),
    }


class Bed:
    """One partition of the step, fed pane by pane."""

    def __init__(self, groups: int, plays: int, sources: int, late: float = 0.0) -> None:
        self.rng = random.Random(SEED)
        self.groups = group_keys(groups)
        self.plays = plays
        self.sources = sources
        self.late = late
        self.config = WindowsConfig(CONFIG, {"plays": sources, "metrics": sources}, Uncounted())
        self.state = {spec.name: KeyedStore() for spec in WINDOW_STORES}
        self.seconds = {"partials": 0.0, "watermarks": 0.0, "encode": 0.0}
        self.partials = self.windows = self.written = self.revisions = 0
        self.at = T0
        self.references: list[float] = []

    def pane(self) -> None:
        """All partials of one pane, then its watermarks, then the flush's encoding."""
        rng = self.rng
        each = self.plays // self.sources
        partials = [
            Partial("demo", "live", g, s, self.at, PANE, late=False, parts=play_parts(rng, each))
            for s in range(self.sources)
            for g in self.groups
        ]
        self.at += PANE
        marks = [Watermark("demo", "live", "plays", s, self.at) for s in range(self.sources)]
        self.partials += len(partials)
        self.fold("partials", partials)
        self.windows += len(self.fold("watermarks", marks))
        began = time.process_time()
        self.written += sum(map(len, self.changes()))
        self.seconds["encode"] += time.process_time() - began
        self.references.append(reference())

    def fold(self, what: str, flows: list[Partial] | list[Watermark]) -> list[object]:
        records = [Record(i, self.at, None, to_msgpack(flow)) for i, flow in enumerate(flows)]
        batch = Batch("partials", 0, records, at_end=True)
        began = time.process_time()
        outputs = fold_windows(batch, self.state, self.at, self.config)
        self.seconds[what] += time.process_time() - began
        return list(outputs)

    def changes(self) -> list[bytes]:
        """What a flush would write: dirty values, encoded."""
        out = []
        for spec in WINDOW_STORES:
            store = self.state[spec.name]
            out += [spec.encode(store[key]) for key in store.dirty if key in store]
            store.dirty = set()
        return out

    def reset(self) -> None:
        self.references = []
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self.partials = self.windows = self.written = self.revisions = 0


def cost(groups: int, plays: int, warm: int, minutes: int) -> dict[str, float]:
    bed = Bed(groups, plays, SOURCES)
    for _ in range(warm * MINUTE // PANE):
        bed.pane()
    gc.collect()
    bed.reset()
    for _ in range(minutes * MINUTE // PANE):
        bed.pane()
    per_window = {f"{k}_us": v / bed.windows * 1e6 for k, v in bed.seconds.items()}
    return {
        "windows": bed.windows,
        "partials": bed.partials,
        "partial_us": bed.seconds["partials"] / bed.partials * 1e6,
        "changelog_bytes_per_window": bed.written / bed.windows,
        **per_window,
        "reference_ms": statistics.mean(bed.references),
        "total_us": sum(bed.seconds.values()) / bed.windows * 1e6,
    }


def size(groups: int, plays: int, hours: int) -> dict[str, float]:
    """Keys and bytes of a group's state after so many hours, on the changelog and in memory."""
    bed = Bed(groups, plays, 1)
    for _ in range(hours * 60 * MINUTE // PANE):
        bed.pane()
    encoded = {
        spec.name: {k: spec.encode(v) for k, v in bed.state[spec.name].items()}
        for spec in WINDOW_STORES
    }
    specs = {spec.name: spec for spec in WINDOW_STORES}
    del bed
    gc.collect()
    before = rss()
    state = {
        name: KeyedStore({k: specs[name].decode(v) for k, v in store.items()})
        for name, store in encoded.items()
    }
    config = WindowsConfig(CONFIG, {"plays": 1, "metrics": 1}, Uncounted())
    began = time.process_time()
    fold_windows(Batch("partials", 0, [], at_end=True), state, T0, config)
    took = time.process_time() - began
    return {
        "keys": sum(map(len, encoded.values())) / groups,
        "changelog_bytes": sum(len(k) + len(v) for s in encoded.values() for k, v in s.items())
        / groups,
        "memory_bytes": (rss() - before) / groups,
        "restore_ms": took * 1e3 / groups,
    }


def rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=74)
    parser.add_argument("--plays", type=int, default=20)
    parser.add_argument("--warm", type=int, default=62, help="minutes before measuring")
    parser.add_argument("--minutes", type=int, default=4, help="minutes measured")
    parser.add_argument("--hours", type=int, default=26, help="hours of state; 0: leave out")
    args = parser.parse_args()
    print(json.dumps(cost(args.groups, args.plays, args.warm, args.minutes), indent=2))
    if args.hours:
        print(json.dumps(size(4, args.plays, args.hours), indent=2))


if __name__ == "__main__":
    main()
