"""The windows step alone: what a published window costs, and what a group's state takes.

The shipped configuration (8 measures; 10 s, 1 min every 10 s, 1 h every minute), 74 group instances,
20 plays each in a pane, from 4 source partitions, a partial each. Times are CPU time of this process,
over the whole measured stretch and in its best minute (other processes cost caches); `reference_ms`
is a fixed Python loop beside it. Partials, watermarks, late partials and the flush's encoding are
timed apart. `total_us` is everything but revisions, by published window.
"""

import argparse
import gc
import json
import random
import statistics
import time
import tracemalloc
from pathlib import Path
from typing import Any

from engine.store import KeyedStore
from models.config import load_series_config
from models.flow import Batch, Record
from models.records import Partial, Watermark, to_msgpack
from models.series import format_key
from tables.intake import Uncounted
from tables.parts import buckets, moments, registers
from tables.windowing import WINDOW_STORES, WindowsConfig, fold_windows

SEED = 7
CONFIG = load_series_config(Path("config/series.toml"))
PANE = CONFIG.time.pane
T0 = 20_000 * 86_400_000
SOURCES = 4
MINUTE = 60_000
GC_THRESHOLD = (50_000, 20, 100)


def play_parts(rng: random.Random, plays: int) -> dict[str, Any]:
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

    def __init__(self, groups: int, plays: int, sources: int) -> None:
        self.rng = random.Random(SEED)
        tags = [{"country": str(i), "platform": "ios"} for i in range(groups)]
        self.groups = [format_key("demo", "country_platform", t) for t in tags]
        self.each = plays // sources
        self.sources = sources
        self.config = WindowsConfig(CONFIG, {"plays": sources, "metrics": sources}, Uncounted())
        self.state = {spec.name: KeyedStore() for spec in WINDOW_STORES}
        self.at = T0
        self.reset()

    def reset(self) -> None:
        self.seconds = dict.fromkeys(("partials", "watermarks", "encode", "late"), 0.0)
        self.partials = self.windows = self.written = 0
        self.references: list[float] = []

    def pane(self) -> None:
        """All partials of one pane, then its watermarks, then the flush's encoding."""
        partials = [
            self.partial(group, source, self.at, late=False)
            for source in range(self.sources)
            for group in self.groups
        ]
        self.at += PANE
        marks = [Watermark("demo", "live", "plays", s, self.at) for s in range(self.sources)]
        self.partials += len(partials)
        self.fold("partials", partials)
        self.encode()
        self.windows += self.fold("watermarks", marks)
        self.encode()
        self.references.append(reference())

    def partial(self, group: str, source: int, pane: int, *, late: bool) -> Partial:
        parts = play_parts(self.rng, self.each)
        return Partial("demo", "live", group, source, pane, PANE, late=late, parts=parts)

    def fold(self, what: str, flows: list[Any]) -> int:
        """Fold one batch; how many records it wrote."""
        records = [Record(i, self.at, None, to_msgpack(flow)) for i, flow in enumerate(flows)]
        batch = Batch("partials", 0, records, at_end=True)
        began = time.process_time()
        outputs = fold_windows(batch, self.state, self.at, self.config)
        self.seconds[what] += time.process_time() - began
        return len(outputs)

    def encode(self) -> None:
        """What a flush does to the values that were assigned."""
        began = time.process_time()
        for spec in WINDOW_STORES:
            store = self.state[spec.name]
            self.written += sum(len(spec.encode(store[k])) for k in store.dirty if k in store)
            store.changes = {}
        self.seconds["encode"] += time.process_time() - began


def reference() -> float:
    began = time.process_time()
    sum(i * i for i in range(10_000))
    return (time.process_time() - began) * 1e3


def cost(groups: int, plays: int, warm: int, minutes: int) -> dict[str, Any]:
    """µs by published window."""
    bed = Bed(groups, plays, SOURCES)
    for _ in range(warm * MINUTE // PANE):
        bed.pane()
    gc.collect()
    gc.freeze()  # as the worker does after a restore
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLD)
    rows = []
    for _ in range(minutes):
        bed.reset()
        for _ in range(MINUTE // PANE):
            bed.pane()
        rows.append(
            {
                "watermarks_us": bed.seconds["watermarks"] / bed.windows * 1e6,
                "partials_us": bed.seconds["partials"] / bed.windows * 1e6,
                "encode_us": bed.seconds["encode"] / bed.windows * 1e6,
                "partial_us": bed.seconds["partials"] / bed.partials * 1e6,
                "total_us": sum(bed.seconds.values()) / bed.windows * 1e6,
                "reference_ms": statistics.median(bed.references),
                "changelog_bytes": bed.written / bed.windows,
            }
        )
    found = {
        "windows_a_minute": bed.windows,
        "mean": {k: round(statistics.mean(row[k] for row in rows), 1) for k in rows[0]},
        "best": {k: round(v, 1) for k, v in min(rows, key=lambda row: row["total_us"]).items()},
        "revisions": revisions(bed),
    }
    gc.set_threshold(*before)
    gc.unfreeze()
    return found


def revisions(bed: Bed, panes: int = 12) -> dict[str, float]:
    """One late partial of every group in a pane, somewhere in the hour before; µs by revised window.

    It is what panes cost more than the one before them, in which nothing is late.
    """
    bed.reset()
    bed.pane()
    usual, first = bed.seconds["watermarks"], bed.windows
    bed.reset()
    for _ in range(panes):
        late = bed.at - MINUTE * bed.rng.randrange(1, 60)
        bed.fold("late", [bed.partial(group, 0, late, late=True) for group in bed.groups])
        bed.pane()
    revised = bed.windows - panes * first
    more = bed.seconds["watermarks"] - panes * usual
    return {
        "revised_windows": revised,
        "late_partial_us": round(bed.seconds["late"] / panes / len(bed.groups) * 1e6, 1),
        "revised_window_us": round(more / revised * 1e6, 1),
    }


def size(groups: int, plays: int, hours: int) -> dict[str, float]:
    """Keys and bytes by group instance after so many hours, on the changelog and in memory."""
    bed = Bed(groups, plays, 1)
    for _ in range(hours * 60 * MINUTE // PANE):
        bed.pane()
    encoded = {
        spec.name: {k: spec.encode(v) for k, v in bed.state[spec.name].items()}
        for spec in WINDOW_STORES
    }
    tracemalloc.start()
    bed.state = {
        spec.name: KeyedStore({k: spec.decode(v) for k, v in encoded[spec.name].items()})
        for spec in WINDOW_STORES
    }
    began = time.process_time()
    bed.fold("watermarks", [])
    took = time.process_time() - began
    bed.pane()  # rolls are filled again
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    pairs = [(k, v) for store in encoded.values() for k, v in store.items()]
    return {
        "keys": len(pairs) / groups,
        "changelog_bytes": sum(len(k) + len(v) for k, v in pairs) / groups,
        "memory_bytes": memory / groups,
        "restore_ms": took * 1e3 / groups,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--groups", type=int, default=74)
    parser.add_argument("--plays", type=int, default=20, help="plays in a pane")
    parser.add_argument("--warm", type=int, default=125, help="minutes before measuring")
    parser.add_argument("--minutes", type=int, default=6, help="minutes measured")
    parser.add_argument("--hours", type=int, default=26, help="hours of state; 0 leaves it out")
    parser.add_argument("--sized", type=int, default=3, help="group instances it is measured on")
    args = parser.parse_args()
    found: dict[str, Any] = {"cost": cost(args.groups, args.plays, args.warm, args.minutes)}
    if args.hours:
        found["size"] = size(args.sized, args.plays, args.hours)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
