"""What models cost the judge: nothing in force, one active, one with a shadow, one with a drift test.

    python -m bench.models [--minutes N] [--json OUT]

One group with the eight shipped measures, a window a minute, each scored and learned, with the shipped rules
and the changelog's encoding as a flush would do it. The baseline in the same run is the judge without the
models' part at all. Variants take turns, minute by minute in a drawn order, so that what else the machine
does meets all of them; medians and the 99th percentile of CPU time a window are given. Bytes are of one
series: its detector's value in the changelog, and all of its snapshots after five days.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from pathlib import Path
from typing import Any

from agents.judging import DETECTORS, JUDGE_STORES, Models, RuleBook, RuleJudge
from agents.snapshots import SNAPSHOTS
from alerts.rules import load_rules
from bench.machine import about
from ml import life
from models.config import load_series_config
from models.learning import Selector, key_of
from models.records import Value, Window

ROOT = Path(__file__).parents[1]
MINUTE = 60_000
GROUP = "demo|country_platform{country=FR,platform=ios}"
SERIES = load_series_config(ROOT / "config" / "series.toml")
RULES, _ = load_rules(ROOT / "config" / "rules.toml", SERIES)
SPEC = next(w for w in SERIES.windows if w.size == MINUTE)


class Records(dict[str, Any]):
    """A global store that stands still."""

    version = 1


class Uncounted:
    """Counts nothing."""

    def count(self, name: str, reason: str, n: int = 1) -> None:
        """Take a count."""


class Bed:
    """One judge with its state."""

    def __init__(self, *specs: tuple[str, dict[str, Any]], models: bool = True) -> None:
        records = Records()
        for i, (state, spec) in enumerate(specs):
            model = life.new_version(
                [], tenant="demo", family=f"f{i}", kind="detector", selector=Selector(), spec=spec,
                created_by="bench", now=1,
            )  # fmt: skip
            (moved,) = life.transition({model.id: model}, model.id, state, by="bench", now=2)  # type: ignore[arg-type]
            records[key_of(moved).decode()] = moved
        part = Models(records, Uncounted()) if models else None
        self.judge = RuleJudge(RuleBook(RULES), [MINUTE], models=part)
        self.state: dict[str, dict[str, Any]] = {spec.name: {} for spec in JUDGE_STORES}
        self.took: list[float] = []

    def run(self, window: Window) -> None:
        """Judge a window and encode what a flush would."""
        began = time.process_time()
        self.judge(window, SPEC, self.state)
        for spec in JUDGE_STORES:
            if spec.name in {DETECTORS, "rules", "comparisons"}:
                for value in self.state[spec.name].values():
                    spec.encode(value)
        self.took.append(time.process_time() - began)

    def bytes_a_series(self) -> tuple[int, int]:
        """The largest detector of the group, and the largest set of snapshots."""
        (detectors,) = self.state[DETECTORS].values()
        kept = [len(SNAPSHOTS.encode(s)) for s in self.state[SNAPSHOTS.name].values()]
        return max(len(d.dump()) for d in detectors.values()), max(kept, default=0)


def windows(minutes: int, seed: int) -> list[Window]:
    """Minutes of values that wander a little."""
    draw = random.Random(seed)
    made = []
    for i in range(minutes):
        start = 20_000 * 86_400_000 + i * MINUTE
        values = {m.name: Value(value=draw.gauss(100, 9), weight=100.0) for m in SERIES.measures}
        made.append(
            Window("demo", GROUP, "live", start, start + MINUTE, MINUTE, SPEC.slide, 100, values)
        )
    return made


def measure(minutes: int) -> dict[str, Any]:
    """Figures by variant."""
    same = {"name": "novelty"}
    beds = {
        "without the models' part": Bed(models=False),
        "no models": Bed(),
        "one active": Bed(("active", same)),
        "one active, one shadow": Bed(("active", same), ("shadow", same)),
        "one active, two shadows": Bed(("active", same), ("shadow", same), ("shadow", same)),
        "one active, adwin": Bed(("active", same | {"drift": "adwin"})),
        "one active, page_hinkley": Bed(("active", same | {"drift": "page_hinkley"})),
    }
    turns, draw = list(beds.values()), random.Random(7)
    for window in windows(minutes, seed=7):
        draw.shuffle(turns)  # whoever comes first finds the caches cold
        for bed in turns:
            bed.run(window)
    base = statistics.median(beds["without the models' part"].took)
    found = {}
    for name, bed in beds.items():
        median = statistics.median(bed.took)
        detector, snapshots = bed.bytes_a_series()
        found[name] = {
            "us": round(median * 1e6, 1), "ratio": round(median / base, 3),
            "p99_us": round(statistics.quantiles(bed.took, n=100)[-1] * 1e6, 1),
            "detector_bytes": detector, "snapshot_bytes": snapshots,
        }  # fmt: skip
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=int, default=5 * 1440)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = measure(args.minutes)
    for name, figures in found.items():
        print(f"{name:28}", *(f"{k} {v}" for k, v in figures.items()), sep="  ")
    if args.json:
        args.json.write_text(json.dumps({"machine": about(), "models": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
