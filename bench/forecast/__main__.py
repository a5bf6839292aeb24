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

from bench.forecast.rolling import LEVEL, Intervals, Rolled, Task, online, roll, task_of
from bench.forecast.series import SEED, Regular, all_series
from bench.machine import about

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BASELINE = HERE / "autoets.json"
KNOWN = 1e-6
"""A series that its best member forecasts this well (MASE) is exactly known."""

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
    kinds = {"intervals": rolled.intervals._asdict(), "plain": rolled.plain._asdict()}
    return {**rolled._asdict(), **kinds}


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
        mae, cpu = online(each, task_of(each))
        scale = float(np.abs(np.diff(each.filled)).mean())
        rows.append({
            "name": each.name, "mase": mae / scale, "autoets_mase": theirs["mae"] / scale,
            "cpu": cpu, "autoets_cpu": theirs["cpu"], "fits": theirs["fits"],
        })  # fmt: skip
    return rows


def table(rolled: Sequence[Rolled]) -> list[str]:
    """A row a series, then means and the worst."""
    lines = [
        (
            "| series | MASE | best member alone | seasonal naive | last value | 90 % covers | plain | "
            "interval score | plain | µs to learn | µs to forecast |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rolled:
        best = min(r.alone, key=lambda name: r.alone[name])
        season = r.alone.get("day", r.alone["last"])
        lines.append(
            f"| {r.name} | {r.mase:.2f} | {r.alone[best]:.2f} ({best}) | {season:.2f} | "
            f"{r.alone['last']:.2f} | {100 * r.intervals.coverage:.1f} % | "
            f"{100 * r.plain.coverage:.1f} % | {r.intervals.score:.1f} | {r.plain.score:.1f} | "
            f"{r.learn_us:.0f} | {r.forecast_us:.0f} |"
        )
    return lines + summary(rolled)


def summary(rolled: Sequence[Rolled]) -> list[str]:
    """What the targets ask for: means, the best fixed member, coverage, worst cases."""
    said = [r for r in rolled if np.isfinite(r.mase)]
    mean = float(np.mean([r.mase for r in said]))
    fixed = {
        name: float(np.mean([r.alone.get(name, r.alone["last"]) for r in said]))
        for name in {name for r in said for name in r.alone}
    }
    best = min(fixed, key=lambda name: fixed[name])
    unsure = [r for r in said if min(r.alone.values()) > KNOWN and r.intervals.coverage < 1]
    worst = max(unsure, key=lambda r: abs(r.intervals.coverage - LEVEL))
    behind = max(unsure, key=lambda r: r.mase / min(r.alone.values()))
    sharper = [r for r in unsure if r.intervals.score < r.plain.score]
    ratio = float(np.exp(np.mean([np.log(r.intervals.score / r.plain.score) for r in unsure])))
    worse = max(unsure, key=lambda r: r.intervals.score / r.plain.score)
    return [
        "",
        (
            f"Mean MASE of {len(said)} series {mean:.3f}; best fixed member {fixed[best]:.3f} ({best}); "
            f"last value {fixed['last']:.3f}; seasonal naive {fixed.get('day', mean):.3f}."
        ),
        (
            f"Furthest behind its own best member, of those that are not exactly known: {behind.name}, "
            f"{behind.mase:.2f} to {min(behind.alone.values()):.2f}."
        ),
        (
            f"{_covered('90 % intervals', [r.intervals for r in rolled])}; the worst of those that are "
            f"not exactly known is {worst.name} with {100 * worst.intervals.coverage:.1f} %. "
            f"{_covered('Plain ones', [r.plain for r in rolled])}."
        ),
        (
            f"Interval score of the {len(unsure)} that are not exactly known: better than plain on "
            f"{len(sharper)}, {ratio:.2f} times plain's in the geometric mean; the worst is "
            f"{worse.name} with {worse.intervals.score / worse.plain.score:.2f} times."
        ),
        (
            f"Mean cost: {np.mean([r.learn_us for r in rolled]):.0f} µs to learn a value, "
            f"{np.mean([r.forecast_us for r in rolled]):.0f} µs to forecast, "
            f"{max(r.state_bytes for r in rolled):,} bytes of state at most."
        ),
    ]


def _covered(what: str, each: Sequence[Intervals]) -> str:
    mean = float(np.mean([i.coverage for i in each]))
    kept = sum(0.88 <= i.coverage <= 0.92 for i in each)
    return f"{what} cover {100 * mean:.1f} % in the mean, 88 to 92 % on {kept} of {len(each)}"


def versus_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A row a series, then means and sums."""
    if not rows:
        return ["No AutoETS figures; --renew-baseline makes them."]
    lines = [
        "| last 500 points | MASE | AutoETS | CPU s | AutoETS CPU s | fits |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['name']} | {r['mase']:.2f} | {r['autoets_mase']:.2f} | {r['cpu']:.3f} | "
        f"{r['autoets_cpu']:.1f} | {r['fits']} |"
        for r in rows
    ]
    ours, theirs = (float(np.mean([r[key] for r in rows])) for key in ("mase", "autoets_mase"))
    cpu, their_cpu = (sum(r[key] for r in rows) for key in ("cpu", "autoets_cpu"))
    lines.append(
        f"| mean; sum of CPU | {ours:.3f} | {theirs:.3f} | {cpu:.2f} | {their_cpu:.1f} | "
        f"1/{their_cpu / cpu:.0f} of the CPU |"
    )
    return lines


if __name__ == "__main__":
    main()
