"""What intervals that are exactly right would cover: series of a known process, as long as the real ones.

    python -m bench.forecast.known --corpus DIR [--seeds 3] [--json OUT]

A series is an autoregression of order one with normal steps: each value is ``phi`` times the one before,
and a step. Its 90 % intervals are then known and nothing has to be learned. They are asked for on series
of the same lengths, at the same origins and horizons, as in ``bench.forecast``: how many cover 88 to 92 %
is what chance leaves of a promise that is kept. The shipped forecaster, beside it, is told nothing of the
process.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from bench.forecast.rolling import LEVEL, WITHIN, Floats, conformal, judged, origins_of
from bench.forecast.series import Regular, all_series
from bench.machine import about
from ml.forecasting import create

PHIS = (0.0, 0.5, 0.9, 0.99, 1.0)
"""From noise that remembers nothing to a random walk."""

METHODS = EXACT, OURS, PLAIN = "exactly right", "blocks", "plain"


class Draw(NamedTuple):
    """Coverage of every series by method, of one process and seed."""

    phi: float
    seed: int
    coverage: dict[str, list[float]]

    def within(self, method: str) -> float:
        """The share of the series that cover 88 to 92 %."""
        low, high = WITHIN
        return float(np.mean([low <= share <= high for share in self.coverage[method]]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.forecast.known", description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True, help="a copy of NAB")
    parser.add_argument("--seeds", type=int, default=3, help="draws of every series")
    parser.add_argument("--json", type=Path, help="where to keep the figures")
    options = parser.parse_args()
    like = list(all_series(options.corpus))
    draws = [drawn(like, phi, seed) for phi in PHIS for seed in range(options.seeds)]
    print("\n".join(table(draws)))
    if options.json:
        result = {**about(), "level": LEVEL, "draws": [d._asdict() for d in draws]}
        options.json.write_text(json.dumps(result) + "\n", encoding="utf-8")


def drawn(like: Sequence[Regular], phi: float, seed: int) -> Draw:
    """Every series replaced by one of the process, on the same grid."""
    draw = np.random.default_rng(seed)
    coverage: dict[str, list[float]] = {method: [] for method in METHODS}
    for each in like:
        steps = draw.standard_normal(len(each.values))
        for method, share in covered(each._replace(values=autoregression(steps, phi)), phi).items():
            coverage[method].append(share)
    return Draw(phi, seed, coverage)


def autoregression(steps: Floats, phi: float) -> Floats:
    """Each value is ``phi`` times the one before and a step; before the first it was nought."""
    values, value = np.empty(len(steps)), 0.0
    for place, step in enumerate(steps.tolist()):
        values[place] = value = phi * value + step
    return values


def right(value: float, phi: float, horizon: int) -> tuple[Floats, Floats]:
    """Ends of the 90 % intervals of the next slots, of a process with normal steps of deviation 1."""
    powers = phi ** np.arange(horizon)
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * np.sqrt(np.cumsum(powers**2))
    middle = value * phi * powers
    return middle - reach, middle + reach


def covered(series: Regular, phi: float) -> dict[str, float]:
    """The share of values in the 90 % intervals of each method, over all origins and horizons."""
    values, horizon = series.values, series.horizon
    origins = origins_of(values)
    forecaster = create(series.step_ms, horizon)
    ends: dict[str, list[tuple[Floats, Floats, Floats]]] = {method: [] for method in METHODS}
    for place, value in enumerate(values.tolist()):
        forecaster.learn(value, series.start + place * series.step_ms)
        if place not in origins or (said := forecaster.forecast(horizon, (LEVEL,))).learning:
            continue
        coming = values[place + 1 : place + 1 + horizon]
        low, high = (np.array(end) for end in said.intervals[LEVEL])
        for method, (least, most) in (
            (EXACT, right(value, phi, horizon)),
            (OURS, (low, high)),
            (PLAIN, conformal(values[: place + 1], horizon)),
        ):
            ends[method].append((least[: len(coming)], most[: len(coming)], coming))
    return {method: judged(each, 1.0).coverage for method, each in ends.items()}


def table(draws: Sequence[Draw]) -> list[str]:
    """A row a process: the share of series within 88 to 92 % (worst draw), then the furthest off."""
    lines = [f"| each value of the one before | {' | '.join(METHODS)} |", "|---" * 4 + "|"]
    for phi in sorted({each.phi for each in draws}):
        cells = []
        for method in METHODS:
            of = [each for each in draws if each.phi == phi]
            within = [each.within(method) for each in of]
            every = [share for each in of for share in each.coverage[method]]
            cells.append(
                f"{100 * np.mean(within):.0f} % of series ({100 * min(within):.0f}), "
                f"{100 * min(every):.1f} to {100 * max(every):.1f} %"
            )
        lines.append(f"| {phi:g} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
