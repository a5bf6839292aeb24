"""Forecasts from a rolling origin: against each member, the seasonal naive, and AutoETS.

    python -m bench.forecast --corpus DIR [--json OUT] [--renew-baseline] [--only TEXT]

Prints a Markdown table. Errors are MASE (scaled by the series' own mean step), over horizons of 1 to
48 slots. AutoETS (statsforecast) is refitted every 48 of the last 500 points of ten series, each time
on the 500 before; its figures are kept in ``bench/forecast/autoets.json`` and made anew with ``--renew-baseline``, in an
environment of its own (``.cache/forecast-venv``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.forecast.rolling import LEVEL, Intervals, Kind, Rolled, Task, online, roll, task_of
from bench.forecast.series import SEED, Regular, all_series
from bench.machine import about
from ml.forecasting import DEFAULT, create

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BASELINE = HERE / "autoets.json"
KNOWN = 1e-6
"""A series that its best member forecasts this well (MASE) is exactly known."""

PASSES = 3
"""Passes of which the middle one's CPU counts: a pass takes about a millisecond."""

ERRORS = ("mase", "learners_mase", "autoets_mase")
CPU = ("cpu", "learners_cpu", "autoets_cpu")

VENV = ROOT / ".cache" / "forecast-venv"
UV = ROOT / ".venv" / "bin" / "uv"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.forecast", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="a copy of NAB")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    parser.add_argument("--renew-baseline", action="store_true", help="fit AutoETS again")
    parser.add_argument("--only", default="", help="series whose name contains this")
    options = parser.parse_args()
    series = [s for s in all_series(options.corpus) if options.only in s.name]
    if options.renew_baseline:
        renew([task_of(s) for s in compared(series)])
    results: dict[str, Any] = {**about(), "seed": SEED, "level": LEVEL}
    rolled = [roll(s) for s in series]
    against = versus(compared(series))
    print("\n".join(table(rolled)), "\n")
    print("\n".join(versus_table(against)))
    if options.json:
        results |= {"series": [_plain(r) for r in rolled], "autoets": against}
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _plain(rolled: Rolled) -> dict[str, Any]:
    """The figures of a series, for JSON."""
    kinds = {
        kind: {**each._asdict(), "intervals": each.intervals._asdict()}
        for kind, each in (("ours", rolled.ours), ("learners", rolled.learners))
    }
    return {**rolled._asdict(), **kinds, "plain": rolled.plain._asdict()}


def compared(series: Sequence[Regular]) -> list[Regular]:
    """At most ten: those that are not NAB's, and real ones of NAB's, evenly by name."""
    own = [s for s in series if ":" in s.name]
    real = sorted((s for s in series if ":" not in s.name and "art_" not in s.name), key=str)
    wanted = 10 - len(own)
    places = {k * len(real) // wanted for k in range(wanted)} if real else set()
    return own + [real[place] for place in sorted(places)]


def renew(tasks: Sequence[Task]) -> None:
    """Fit AutoETS at every origin, in its own environment, and keep the figures."""
    python = VENV / "bin" / "python"
    if not python.exists():
        lock = HERE / "requirements.lock"
        subprocess.run([UV, "venv", "--quiet", VENV], check=True)
        install: list[str | Path] = [
            UV,
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            "--require-hashes",
            "-r",
        ]
        subprocess.run([*install, lock], check=True)
    done = subprocess.run(
        [python, HERE / "autoets.py"], input=json.dumps([t._asdict() for t in tasks]),
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    kept = {**about(), "series": json.loads(done.stdout)}
    BASELINE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def versus(series: Sequence[Regular]) -> list[dict[str, Any]]:
    """Mean absolute error and CPU seconds of both, for series that the baseline has."""
    kept = json.loads(BASELINE.read_text(encoding="utf-8"))["series"] if BASELINE.exists() else {}
    rows = []
    for each in series:
        if (theirs := kept.get(each.name)) is None:
            continue
        task, scale = task_of(each), float(np.abs(np.diff(each.filled)).mean())
        passes = [online(each, task, create(each.step_ms, each.horizon)) for _ in range(PASSES)]
        slow = online(each, task, create(each.step_ms, each.horizon, DEFAULT))
        rows.append({
            "name": each.name, "mase": passes[0][0] / scale, "autoets_mase": theirs["mae"] / scale,
            "cpu": sorted(cpu for _, cpu in passes)[PASSES // 2], "autoets_cpu": theirs["cpu"],
            "fits": theirs["fits"], "learners_mase": slow[0] / scale, "learners_cpu": slow[1],
        })  # fmt: skip
    return rows


def table(rolled: Sequence[Rolled]) -> list[str]:
    """A row a series, then means and the worst."""
    lines = [
        (
            "| series | MASE | River's members | best of them alone | seasonal naive | last value | "
            "90 % covers | River's | plain | interval score | River's | plain |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rolled:
        best = min(r.alone, key=lambda name: r.alone[name])
        season = r.alone.get("day", r.alone["last"])
        each = (r.ours.intervals, r.learners.intervals, r.plain)
        covers = " | ".join(f"{100 * one.coverage:.1f} %" for one in each)
        scores = " | ".join(f"{one.score:.1f}" for one in each)
        lines.append(
            f"| {r.name} | {r.ours.mase:.2f} | {r.learners.mase:.2f} | {r.alone[best]:.2f} ({best}) | "
            f"{season:.2f} | {r.alone['last']:.2f} | {covers} | {scores} |"
        )
    return lines + summary(rolled)


def summary(rolled: Sequence[Rolled]) -> list[str]:
    """What the targets ask for: means, the best fixed member, coverage, worst cases, cost."""
    said = [r for r in rolled if np.isfinite(r.ours.mase)]
    fixed = {
        name: float(np.mean([r.alone.get(name, r.alone["last"]) for r in said]))
        for name in {name for r in said for name in r.alone}
    }
    best = min(fixed, key=lambda name: fixed[name])
    unsure = [r for r in said if min(r.alone.values()) > KNOWN and r.ours.intervals.coverage < 1]
    behind = max(unsure, key=lambda r: r.ours.mase / min(r.alone.values()))
    ends = [r.ours.intervals.coverage for r in unsure]
    return [
        "",
        (
            f"Mean MASE of {len(said)} series {np.mean([r.ours.mase for r in said]):.3f}; River's members "
            f"{np.mean([r.learners.mase for r in said]):.3f}, the best of them alone {fixed[best]:.3f} "
            f"({best}); last value {fixed['last']:.3f}; seasonal naive "
            f"{fixed.get('day', fixed['last']):.3f}."
        ),
        (
            f"Furthest behind the best member, of those that are not exactly known: {behind.name}, "
            f"{behind.ours.mase:.2f} to {min(behind.alone.values()):.2f}."
        ),
        (
            f"{_covered('90 % intervals', [r.ours.intervals for r in rolled])}; of the {len(unsure)} "
            f"that are not exactly known {100 * min(ends):.1f} to {100 * max(ends):.1f} %. "
            f"{_covered('With members of River', [r.learners.intervals for r in rolled])}. "
            f"{_covered('Plain ones', [r.plain for r in rolled])}."
        ),
        (
            f"Interval score of these {len(unsure)}: {_scored(unsure, 'ours')}. River's members: "
            f"{_scored(unsure, 'learners')}."
        ),
        (
            f"Mean cost: {_cost([r.ours for r in rolled])}. River's members: "
            f"{_cost([r.learners for r in rolled])}."
        ),
    ]


def _scored(rolled: Sequence[Rolled], kind: str) -> str:
    ratios = {r.name: getattr(r, kind).intervals.score / r.plain.score for r in rolled}
    worst = max(ratios, key=lambda name: ratios[name])
    mean = float(np.exp(np.mean(np.log(list(ratios.values())))))
    return (
        f"better than plain on {sum(ratio < 1 for ratio in ratios.values())}, {mean:.2f} times plain's "
        f"in the geometric mean; the worst is {worst} with {ratios[worst]:.2f} times"
    )


def _cost(kinds: Sequence[Kind]) -> str:
    return (
        f"{np.mean([k.learn_us for k in kinds]):.1f} µs to learn a value, "
        f"{np.mean([k.forecast_us for k in kinds]):.0f} µs to forecast, "
        f"{max(k.state_bytes for k in kinds):,} bytes of state at most"
    )


def _covered(what: str, each: Sequence[Intervals]) -> str:
    mean = float(np.mean([i.coverage for i in each]))
    kept = sum(0.88 <= i.coverage <= 0.92 for i in each)
    return f"{what} cover {100 * mean:.1f} % in the mean, 88 to 92 % on {kept} of {len(each)}"


def versus_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A row a series, then means and sums."""
    if not rows:
        return ["No AutoETS figures; --renew-baseline makes them."]
    lines = [
        "| last 500 points | MASE | River's members | AutoETS | CPU ms | River's members | AutoETS | fits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['name']} | {r['mase']:.2f} | {r['learners_mase']:.2f} | {r['autoets_mase']:.2f} | "
        f"{1e3 * r['cpu']:.2f} | {1e3 * r['learners_cpu']:.0f} | {1e3 * r['autoets_cpu']:.0f} | "
        f"{r['fits']} |"
        for r in rows
    ]
    errors = [f"{np.mean([r[key] for r in rows]):.3f}" for key in ERRORS]
    cpu = [sum(r[key] for r in rows) for key in CPU]
    shares = " | ".join(f"1/{cpu[-1] / each:.0f} of AutoETS'" for each in cpu[:-1])
    return [
        *lines,
        f"| mean | {' | '.join(errors)} | | | | |",
        f"| sum | | | | {' | '.join(f'{1e3 * each:.1f}' for each in cpu)} | |",
        f"| share | | | | {shares} | | |",
    ]


if __name__ == "__main__":
    main()
