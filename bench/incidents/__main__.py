"""The simulator's labelled incidents, on seeds drawn at run time: recall, delay, false alarms.

    python -m bench.incidents [--seeds 20] [--seed-base random|N] [--score 2 0.9] [--json OUT] [--docs]

Each seed is a day to learn and two with an incident every two hours, judged every ten seconds on
fourteen series. Our detectors alert at the scores given; the baselines (z-score, random, metronome)
at the threshold at which they alert as often as the first detector where nothing happens, on other
seeds drawn in the same run. ``--docs`` writes the table into docs/detection.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from bench.incidents.contest import (
    BASELINES,
    METRONOME,
    Alerts,
    Row,
    Scored,
    alerts,
    beats,
    same_rate,
    score,
    tally,
    weekly_alerts,
)
from bench.incidents.ground import KINDS, RATE, simulate
from bench.machine import about
from ml import registry

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "detection.md"
BEGIN, END = "<!-- bench.incidents -->", "<!-- /bench.incidents -->"

Rows = dict[str, dict[str, Row]]
"""By detector (with what it was set to), by kind."""


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    base = int.from_bytes(os.urandom(4)) if args.seed_base == "random" else int(args.seed_base)
    calm_seeds = max(1, args.seeds // 4)
    # Of the code that runs: the commit may be another one when it is done.
    made_with = {"about": about(), "simulator": simulator_tree()}
    seeds = [base + n for n in range(args.seeds + calm_seeds)]
    print(f"seeds from {base}: {args.seeds} with incidents, then {calm_seeds} calm", flush=True)
    names = [n for n in (*args.detectors, *BASELINES) if n != METRONOME]
    size = {"days": args.days, "learned": args.learned, "rate": args.rate}
    run = partial(_one, names=names, last=base + args.seeds, size=size)
    if args.workers > 1:
        with ProcessPoolExecutor(args.workers) as pool:
            scored = list(pool.map(run, seeds))
    else:
        scored = [run(seed) for seed in seeds]
    busy, calm = scored[: args.seeds], scored[args.seeds :]
    result: dict[str, Any] = {
        **made_with, "seed_base": base, "seeds": args.seeds,
        "calm_seeds": calm_seeds, **size,
        "series": [track.name for track in busy[0].ground.tracks], "at": {},
    }  # fmt: skip
    text = []
    for at in args.score:
        weekly, rows = compare(busy, calm, args.detectors, at)
        kinds = {n: {k: r.as_json() for k, r in each.items()} for n, each in rows.items()}
        result["at"][f"{at:g}"] = {"calm_alerts_a_series_week": round(weekly, 3), "rows": kinds}
        text.append(table(rows, f"`{args.detectors[0]}` alerts {weekly:.1f} times a week and series"
                                f" where nothing happens at {at:g}"))  # fmt: skip
    shown = "\n\n".join(text)
    print(shown)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if args.docs:
        write(PAGE, f"{_made(result)}\n\n{shown}")
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    about_us = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m bench.incidents", description=about_us)
    parser.add_argument("--seeds", type=int, default=20, help="services simulated with incidents")
    parser.add_argument("--seed-base", default="random", help="'random', or the first seed")
    parser.add_argument(
        "--days", type=float, default=2.0, help="counted of each, after those learned"
    )
    parser.add_argument("--learned", type=float, default=1.0, help="days that are not counted")
    parser.add_argument("--rate", type=float, default=RATE, help="plays a second")
    parser.add_argument("--score", nargs="+", type=float, default=[2.0, 0.9], help="to alert at")
    parser.add_argument(
        "--detectors", nargs="+", default=["novelty", "lite"], choices=registry.names()
    )
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 4))
    parser.add_argument("--json", type=Path, help="also write the results there")
    parser.add_argument(
        "--docs", action="store_true", help="write the table into docs/detection.md"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one seed, half a day in all, fewer plays"
    )
    args = parser.parse_args(arguments)
    if args.quick:
        args.seeds, args.learned, args.days, args.rate = 1, 1 / 12, 5 / 12, 4.0
    return args


def _one(seed: int, *, names: Sequence[str], last: int, size: dict[str, float]) -> Scored:
    """One seed simulated and scored; from ``last`` on without incidents."""
    return score(simulate(seed, is_calm=seed >= last, **size), names)


def compare(
    busy: Sequence[Scored], calm: Sequence[Scored], names: Sequence[str], at: float
) -> tuple[float, Rows]:
    """(alerts a series-week of the first detector in calm, everyone's rows)."""

    def of(name: str, threshold: float) -> Callable[[Scored], Alerts]:
        return lambda one: alerts(one, name, threshold)

    weekly = weekly_alerts(calm, of(names[0], at))
    rows = {f"{name} ≥ {at:g}": tally(busy, of(name, at)) for name in names}
    for name in BASELINES:
        if name == METRONOME:
            rows[name] = tally(busy, lambda one: beats(one, weekly))
        else:
            threshold = same_rate(calm, name, weekly)
            label = name if name not in registry.names() else f"{name} ≥ {threshold:.3g}"
            rows[label] = tally(busy, of(name, threshold))
    return weekly, rows


def table(rows: Rows, first: str) -> str:
    """The Markdown table: recall, median and worst delay, false alarms a week and series."""
    lines = [f"{first}:", "", "| kind | " + " | ".join(rows) + " |", "|---" * (len(rows) + 1) + "|"]
    for kind in KINDS:
        cells = [_cell(each[kind]) for each in rows.values()]
        number = next(iter(rows.values()))[kind].incidents
        lines.append(f"| {kind} ({number}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row) -> str:
    told = row.as_json()
    if not row.incidents:
        return "–"
    delay = f"{told['median_delay']:.0f} / {told['worst_delay']:.0f} s" if row.found else "–"
    return f"{100 * row.found / row.incidents:.0f} %, {delay}, {row.weekly:.1f}"


def _made(result: dict[str, Any]) -> str:
    return (
        f"Seeds from {result['seed_base']} ({result['seeds']} with incidents,"
        f" {result['calm_seeds']} calm), `simulate/` as of tree"
        f" {result['simulator'][:12]}, commit {result['about']['commit']}. Cells: recall, median"
        " and worst delay, false alarms a week and series."
    )


def simulator_tree() -> str:
    """The hash of simulate/ at this commit: the simulator that figures are of. Marked if changed."""

    def git(*command: str) -> str:
        done = subprocess.run(
            ["git", *command], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = "-dirty" if git("status", "--porcelain", "simulate") else ""
    return (git("rev-parse", "HEAD:simulate") or "unknown") + changed


def write(page: Path, text: str) -> None:
    """Put text between the marks of a page.

    Raises:
        ValueError: the page has no such marks.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        msg = f"{page} has no {BEGIN} … {END} to write between"
        raise ValueError(msg)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
