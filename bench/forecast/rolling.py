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

KEPT = 200
"""Errors that the plain intervals are made of, as many as the forecaster's."""

REFIT = 48
LAST = 500

Floats = NDArray[np.float64]


class Intervals(NamedTuple):
    """How 90 % intervals did over all origins and horizons of a series; see :class:`Rolled`."""

    coverage: float
    width: float
    score: float


class Rolled(NamedTuple):
    """Of one series; errors in mean absolute scaled errors (MASE, Hyndman and Koehler 2006).

    ``alone`` member -> MASE by itself. ``coverage``, ``width`` and ``score`` of the 90 % interval: the share
    of values in it, its mean width and its mean interval score (Gneiting and Raftery 2007: width, and
    20 times what a value lies outside), scaled like the errors; of ``plain`` those of :func:`conformal`.
    """

    name: str
    points: int
    origins: int
    mase: float
    alone: dict[str, float]
    intervals: Intervals
    plain: Intervals
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
    ours: list[tuple[Floats, Floats, Floats]] = []
    plain: list[tuple[Floats, Floats, Floats]] = []
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
        ours.append((low, high, coming))
        plain.append((*conformal(series.filled[: place + 1], len(coming)), coming))
        for name, path in paths(alone, horizon).items():
            singly[name].append(np.abs(path[: len(coming)] - coming))
    mase = {name: float(np.nanmean(np.concatenate(each)) / scale) for name, each in singly.items()}
    return Rolled(
        series.name, len(values), len(off), float(np.nanmean(np.concatenate(off)) / scale), mase,
        judged(ours, scale), judged(plain, scale),
        1e6 * learning / len(values), 1e6 * asking / len(off), len(forecaster.dump()),
    )  # fmt: skip


def judged(ends: list[tuple[Floats, Floats, Floats]], scale: float) -> Intervals:
    """Of (low, high, what came) of each origin; slots without a value count for nothing."""
    low, high, coming = (np.concatenate(part) for part in zip(*ends, strict=True))
    known = ~np.isnan(coming)
    low, high, coming = low[known], high[known], coming[known]
    outside = np.maximum(low - coming, 0) + np.maximum(coming - high, 0)
    return Intervals(
        float((outside == 0).mean()), float(np.mean(high - low) / scale),
        float(np.mean(high - low + 2 / (1 - LEVEL) * outside) / scale),
    )  # fmt: skip


def conformal(past: Floats, horizon: int) -> tuple[Floats, Floats]:
    """The last value with 90 % intervals of its last 200 errors at each horizon, nothing adapted.

    Split conformal prediction (Vovk, Gammerman and Shafer 2005), the plain thing to compare with.
    """
    low, high = np.empty(horizon), np.empty(horizon)
    for ahead in range(1, horizon + 1):
        errors = past[ahead:][-KEPT:] - past[:-ahead][-KEPT:]
        share = min((1 + 1 / len(errors)) * LEVEL, 1.0)
        low[ahead - 1], high[ahead - 1] = np.quantile(errors, [(1 - share) / 2, (1 + share) / 2])
    return past[-1] + low, past[-1] + high


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
