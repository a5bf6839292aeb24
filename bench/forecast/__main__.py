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

from bench.forecast.rolling import (
    KINDS,
    LEARNERS,
    LEVEL,
    OURS,
    WITHIN,
    Intervals,
    Rolled,
    Task,
    online,
    roll,
    task_of,
)  # fmt: skip
from bench.forecast.series import SEED, Regular, all_series
from bench.machine import about

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BASELINE = HERE / "autoets.json"
KNOWN = 1e-6
"""A series that its best member forecasts this well (MASE) is exactly known."""

PASSES = 9
"""Passes of which the middle one's CPU counts: a pass takes about a millisecond."""

AUTOETS = "AutoETS"

VENV = ROOT / ".cache" / "forecast-venv"
UV = ROOT / ".venv" / "bin" / "uv"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.forecast", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="a copy of NAB")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    parser.add_argument("--renew-baseline", action="store_true", help="fit AutoETS again")
    parser.add_argument("--only", default="", help="series whose name contains this")
    options = parser.parse_args()
    results: dict[str, Any] = {**about(), "seed": SEED, "level": LEVEL}
    series = [s for s in all_series(options.corpus) if options.only in s.name]
    if options.renew_baseline:
        renew([task_of(s) for s in compared(series)])
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
        for kind, each in rolled.kinds.items()
    }
    return {**rolled._asdict(), "kinds": kinds, "plain": rolled.plain._asdict()}


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
    """Mean absolute scaled error and CPU seconds of each, for series that the baseline has."""
    kept = json.loads(BASELINE.read_text(encoding="utf-8"))["series"] if BASELINE.exists() else {}
    rows = []
    for each in series:
        if (theirs := kept.get(each.name)) is None:
            continue
        task, scale = task_of(each), float(np.abs(np.diff(each.filled)).mean())
        row = {"name": each.name, "fits": theirs["fits"], "mase": {}, "cpu": {}}
        for kind, make in KINDS.items():
            passes = [online(each, task, make(each.step_ms, each.horizon)) for _ in range(PASSES)]
            row["mase"][kind] = passes[0][0] / scale
            row["cpu"][kind] = sorted(cpu for _, cpu in passes)[PASSES // 2]
        row["mase"][AUTOETS], row["cpu"][AUTOETS] = theirs["mae"] / scale, theirs["cpu"]
        rows.append(row)
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
        season, ours, learners = (
            r.alone.get("day", r.alone["last"]),
            r.kinds[OURS],
            r.kinds[LEARNERS],
        )
        each = (ours.intervals, learners.intervals, r.plain)
        covers = " | ".join(f"{100 * one.coverage:.1f} %" for one in each)
        scores = " | ".join(f"{one.score:.1f}" for one in each)
        lines.append(
            f"| {r.name} | {ours.mase:.2f} | {learners.mase:.2f} | {r.alone[best]:.2f} ({best}) | "
            f"{season:.2f} | {r.alone['last']:.2f} | {covers} | {scores} |"
        )
    return lines + summary(rolled)


def summary(rolled: Sequence[Rolled]) -> list[str]:
    """What the targets ask for: means, the best fixed member, coverage, worst cases, cost."""
    said = [r for r in rolled if np.isfinite(r.kinds[OURS].mase)]
    fixed = {
        name: float(np.mean([r.alone.get(name, r.alone["last"]) for r in said]))
        for name in {name for r in said for name in r.alone}
    }
    best = min(fixed, key=lambda name: fixed[name])
    unsure = [
        r for r in said if min(r.alone.values()) > KNOWN and r.kinds[OURS].intervals.coverage < 1
    ]
    behind = max(unsure, key=lambda r: r.kinds[OURS].mase / min(r.alone.values()))
    return [
        "",
        (
            f"Mean MASE of {len(said)} series: the best member alone {fixed[best]:.3f} ({best}); last "
            f"value {fixed['last']:.3f}; seasonal naive {fixed.get('day', fixed['last']):.3f}. "
            f"Furthest behind the best member, of the {len(unsure)} that are not exactly known: "
            f"{behind.name}, {behind.kinds[OURS].mase:.2f} to {min(behind.alone.values()):.2f}."
        ),
        "",
        (
            "| | mean MASE | 90 % cover: mean | within 88 to 92 % | not exactly known | "
            "interval score to plain's | the worst | µs to learn | µs to forecast | bytes |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|",
        *(_kind_row(kind, rolled, said, unsure) for kind in KINDS),
        _plain_row(rolled, unsure),
    ]


def _kind_row(
    kind: str, rolled: Sequence[Rolled], said: Sequence[Rolled], unsure: Sequence[Rolled]
) -> str:
    kinds = [r.kinds[kind] for r in rolled]
    ratios = {r.name: r.kinds[kind].intervals.score / r.plain.score for r in unsure}
    worst = max(ratios, key=lambda name: ratios[name])
    mean = float(np.exp(np.mean(np.log(list(ratios.values())))))
    return (
        f"| {kind} | {np.mean([r.kinds[kind].mase for r in said]):.3f} | "
        f"{_covered([k.intervals for k in kinds], [r.kinds[kind].intervals for r in unsure])} | "
        f"{mean:.2f}, better on {sum(ratio < 1 for ratio in ratios.values())} | "
        f"{ratios[worst]:.2f} ({worst}) | {np.mean([k.learn_us for k in kinds]):.1f} | "
        f"{np.mean([k.forecast_us for k in kinds]):.0f} | {max(k.state_bytes for k in kinds):,} |"
    )


def _plain_row(rolled: Sequence[Rolled], unsure: Sequence[Rolled]) -> str:
    covered = _covered([r.plain for r in rolled], [r.plain for r in unsure])
    return f"| plain | | {covered} | 1 | | | | |"


def _covered(each: Sequence[Intervals], unsure: Sequence[Intervals]) -> str:
    """Cells: the mean, how many are within 88 to 92 %, least and most of those not exactly known."""
    ends = [i.coverage for i in unsure]
    low, high = WITHIN
    kept = sum(low <= i.coverage <= high for i in each)
    return (
        f"{100 * np.mean([i.coverage for i in each]):.1f} % | {kept} of {len(each)} | "
        f"{100 * min(ends):.1f} to {100 * max(ends):.1f} %"
    )


def versus_table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A row a series, then means and sums."""
    if not rows:
        return ["No AutoETS figures; --renew-baseline makes them."]
    names = [*KINDS, AUTOETS]
    lines = [
        f"| last 500 points: MASE, CPU ms | {' | '.join(names)} | fits |",
        "|---" * (len(names) + 2) + "|",
    ]
    for r in rows:
        cells = (f"{r['mase'][name]:.2f}, {1e3 * r['cpu'][name]:.1f}" for name in names)
        lines.append(f"| {r['name']} | {' | '.join(cells)} | {r['fits']} |")
    cpu = {name: sum(r["cpu"][name] for r in rows) for name in names}
    mean = {name: float(np.mean([r["mase"][name] for r in rows])) for name in names}
    total = (
        f"{mean[name]:.3f}, {1e3 * cpu[name]:.1f}: 1/{cpu[AUTOETS] / cpu[name]:.0f}"
        for name in names
    )
    return [*lines, f"| mean MASE, sum of CPU | {' | '.join(total)} | |"]


if __name__ == "__main__":
    main()
