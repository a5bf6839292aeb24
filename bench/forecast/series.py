"""Series to forecast: NAB's regular ones, those that come with River, and the simulator's plays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.known_cause import panes
from bench.nab.corpus import read_corpus
from ml.forecasting.protocol import DAY, seasons_of
from simulate.config import demo
from simulate.draw import SUPPRESSED
from simulate.generator import Simulation

SEED = 1
LONGEST = 10_000
"""Points taken of a series, from its beginning."""

REGULAR = 0.1
"""Share of slots that may be empty in a series that counts as regular."""

_NOW = 1_790_000_000_000
_SLOT = 600_000


class Regular(NamedTuple):
    """A series on a grid: the value of each slot from the first on, NaN where there is none."""

    name: str
    step_ms: int
    start: int
    values: NDArray[np.float64]

    @property
    def horizon(self) -> int:
        """48 slots; 12 where there are few."""
        return 48 if len(self.values) > 200 else 12

    @property
    def season(self) -> int:
        return seasons_of(self.step_ms).shortest or 1

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.values.tobytes()).hexdigest()[:16]

    @property
    def filled(self) -> NDArray[np.float64]:
        """The values, with the one before in an empty slot: what the batch method is given."""
        known = np.where(np.isnan(self.values), 0, np.arange(len(self.values)))
        return self.values[np.maximum.accumulate(known)]


def all_series(corpus: Path) -> Iterator[Regular]:
    """Every series, in a fixed order; NAB's irregular ones are left out."""
    for nab in read_corpus(corpus):
        step, means = panes(nab)
        series = on_grid(nab.name.partition("/")[2].removesuffix(".csv"), step, means)
        if np.isnan(series.values).mean() <= REGULAR:
            yield series
    yield from river_series()
    yield simulated()


def river_series() -> Iterator[Regular]:
    """Those of River's data sets that are series and come with it."""
    from river.datasets import AirlinePassengers, WaterFlow

    hours = [(round(x["Time"].timestamp() * 1000), float(y)) for x, y in WaterFlow()]
    yield on_grid("river: water flow", 3_600_000, hours)
    months = [(30 * DAY * k, float(y)) for k, (_, y) in enumerate(AirlinePassengers())]
    yield on_grid("river: airline passengers", 30 * DAY, months)


def simulated(days: int = 7) -> Regular:
    """The simulator's plays in ten minutes, with the demo's incidents in them."""
    simulation = Simulation(SEED, demo(_NOW, rate=0.5, history=days * DAY))
    counts = np.zeros(days * DAY // _SLOT)
    start = (_NOW - days * DAY) // _SLOT * _SLOT
    for rows in simulation.rows(start, start + days * DAY):
        arrived = rows["arrival"][rows["kind"] != SUPPRESSED]
        np.add.at(counts, (arrived - start) // _SLOT, 1)
    return Regular("simulator: plays", _SLOT, start, counts)


def on_grid(name: str, step_ms: int, samples: list[tuple[int, float]]) -> Regular:
    """Samples in order of time, each in its slot; of several in one the first."""
    first = samples[0][0] // step_ms
    values = np.full(min(samples[-1][0] // step_ms - first + 1, LONGEST), np.nan)
    for at, value in reversed(samples):
        if (place := at // step_ms - first) < len(values):
            values[place] = value
    return Regular(name, step_ms, first * step_ms, values)
