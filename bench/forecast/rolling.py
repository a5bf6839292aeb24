"""One series, forecast from a rolling origin: the forecaster, each member alone, and the cost."""

from __future__ import annotations

import math
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.forecast.series import Regular
from ml.forecasting import DEFAULT, Forecaster
from ml.forecasting.members import create
from ml.forecasting.protocol import Member, seasons_of

LEVEL = 0.9
EVERY = 25, 5
"""Slots from one origin to the next, in a long series and in one of up to 1,500 points: no multiple of
those at which the forecaster takes notes."""

WARM = 0.25
"""Share of a series, from its beginning, in which no origin lies."""

REFIT = 48
LAST = 500

Floats = NDArray[np.float64]


class Rolled(NamedTuple):
    """Of one series; errors in mean absolute scaled errors (MASE, Hyndman and Koehler 2006).

    ``alone`` member -> MASE by itself; ``coverage`` of the 90 % interval; ``width`` and ``score`` are its
    mean width and interval score (Gneiting and Raftery 2007), scaled like the errors.
    """

    name: str
    points: int
    origins: int
    mase: float
    alone: dict[str, float]
    coverage: float
    width: float
    score: float
    learn_us: float
    forecast_us: float
    state_bytes: int


def roll(series: Regular) -> Rolled:
    """Forecasts from every 25th (or fifth) slot after the first quarter, as far as the series goes."""
    values, horizon = series.values, series.horizon
    scale = float(np.nanmean(np.abs(np.diff(series.filled)))) or math.nan
    forecaster = Forecaster(series.step_ms, horizon)
    alone = create(DEFAULT, seasons_of(series.step_ms))
    off: list[Floats] = []
    singly: dict[str, list[Floats]] = {name: [] for name in alone}
    ends: list[tuple[Floats, Floats, Floats]] = []
    learning = asking = 0.0
    every = EVERY[len(values) <= 1_500]
    for place, (value, known) in enumerate(zip(values, series.filled, strict=True)):
        began = time.process_time()
        if not math.isnan(value):
            forecaster.learn(value, series.start + place * series.step_ms)
        learning += time.process_time() - began
        for member in alone.values():
            member.learn(known, series.start + place * series.step_ms)
        if place % every or place < WARM * len(values) or place + 1 == len(values):
            continue
        if math.isnan(value):
            continue
        began = time.process_time()
        said = forecaster.forecast(horizon, (LEVEL,))
        asking += time.process_time() - began
        if said.learning:
            continue
        coming = values[place + 1 : place + 1 + horizon]
        off.append(np.abs(np.array(said.points[: len(coming)]) - coming))
        low, high = (np.array(end[: len(coming)]) for end in said.intervals[LEVEL])
        ends.append((low, high, coming))
        for name, path in paths(alone, horizon).items():
            singly[name].append(np.abs(path[: len(coming)] - coming))
    low, high, coming = (np.concatenate(part) for part in zip(*ends, strict=True))
    known = ~np.isnan(coming)
    outside = np.maximum(low - coming, 0) + np.maximum(coming - high, 0)
    mase = {name: float(np.nanmean(np.concatenate(each)) / scale) for name, each in singly.items()}
    return Rolled(
        series.name, len(values), len(off), float(np.nanmean(np.concatenate(off)) / scale), mase,
        float((outside[known] == 0).mean()), float(np.mean(high - low) / scale),
        float(np.mean((high - low + 2 / (1 - LEVEL) * outside)[known]) / scale),
        1e6 * learning / len(values), 1e6 * asking / len(off), len(forecaster.dump()),
    )  # fmt: skip


def paths(members: dict[str, Member], horizon: int) -> dict[str, Floats]:
    """What each member says; one that cannot yet says what the first does."""
    said = {name: member.forecast(horizon) for name, member in members.items()}
    first = next(path for path in said.values() if path is not None)
    return {name: np.array(first if path is None else path) for name, path in said.items()}


class Task(NamedTuple):
    """A series and origins (numbers of values known) for a method that is refitted at each."""

    name: str
    values: list[float]
    season: int
    origins: list[int]
    horizon: int


def task_of(series: Regular) -> Task:
    """The last 500 points, an origin every 48; of a season of more than 24 AutoETS takes no notice."""
    n = len(series.values)
    origins = list(range(max(n - LAST, n // 3), n - 1, min(REFIT, series.horizon)))
    season = series.season if series.season <= 24 else 1
    return Task(series.name, series.filled.tolist(), season, origins, series.horizon)


def online(series: Regular, task: Task) -> tuple[float, float]:
    """(mean absolute error, CPU seconds over the last points) of the forecaster at the same origins."""
    forecaster = Forecaster(series.step_ms, series.horizon)
    wanted, off, cpu = set(task.origins), [], 0.0
    for place, known in enumerate(task.values):
        began = time.process_time()
        points: list[float] = []
        if place in wanted:
            said = forecaster.forecast(series.horizon)
            points = said.points or task.values[place - 1 : place] * series.horizon
        if not math.isnan(series.values[place]):
            forecaster.learn(known, series.start + place * series.step_ms)
        if place >= task.origins[0]:
            cpu += time.process_time() - began
        if place in wanted:
            coming = task.values[place : place + series.horizon]
            off += np.abs(np.array(points[: len(coming)]) - coming).tolist()
    return float(np.mean(off)), cpu
