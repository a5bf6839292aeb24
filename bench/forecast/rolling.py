"""One series, forecast from a rolling origin: the forecaster, each member alone, and the cost."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.forecast.series import Regular
from ml.forecasting import DEFAULT, Forecast, Forecaster, create, members
from ml.forecasting.protocol import Member, seasons_of

LEVEL = 0.9
WITHIN = 0.88, 0.92
"""The coverage that is wanted of 90 % intervals."""

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

OURS, THRIFTY, LEARNERS = "blocks", "blocks, pace 4", "River's members"
KINDS: dict[str, Callable[[int, int], Forecaster]] = {
    OURS: create,
    THRIFTY: partial(create, pace=4),
    LEARNERS: partial(create, members=DEFAULT),
}
"""The forecaster that ships, the same at its slowest pace, and the one of members that learn."""


class Intervals(NamedTuple):
    """How 90 % intervals did over all origins and horizons of a series; see :class:`Rolled`."""

    coverage: float
    width: float
    score: float


class Kind(NamedTuple):
    """How one kind of forecaster did: MASE, its 90 % intervals, CPU µs a value and a forecast, bytes."""

    mase: float
    intervals: Intervals
    learn_us: float
    forecast_us: float
    state_bytes: int


class Rolled(NamedTuple):
    """Of one series; errors in mean absolute scaled errors (MASE, Hyndman and Koehler 2006).

    ``kinds`` by :data:`KINDS`; ``alone`` member -> MASE by itself. Intervals: the share of values in the
    90 % interval, its mean width and its mean interval score (Gneiting and Raftery 2007: width, and 20
    times what a value lies outside), scaled like the errors; of ``plain`` those of :func:`conformal`.
    """

    name: str
    points: int
    origins: int
    kinds: dict[str, Kind]
    alone: dict[str, float]
    plain: Intervals


class _Asked:
    """A forecaster that learns a series and is asked again and again; what came of it."""

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster = forecaster
        self.learning = self.asking = 0.0
        self.off: list[Floats] = []
        self.ends: list[tuple[Floats, Floats, Floats]] = []

    def learn(self, value: float, at: int) -> None:
        began = time.process_time()
        self.forecaster.learn(value, at)
        self.learning += time.process_time() - began

    def ask(self) -> tuple[Forecast, float]:
        """A forecast, and the CPU seconds it took."""
        began = time.process_time()
        said = self.forecaster.forecast(self.forecaster.horizon, (LEVEL,))
        return said, time.process_time() - began

    def judge(self, said: Forecast, took: float, coming: Floats) -> None:
        """Hold a forecast against what came."""
        low, high = (np.array(end[: len(coming)]) for end in said.intervals[LEVEL])
        self.asking += took
        self.off.append(np.abs(np.array(said.points[: len(coming)]) - coming))
        self.ends.append((low, high, coming))

    def kind(self, points: int, scale: float) -> Kind:
        return Kind(
            float(np.nanmean(np.concatenate(self.off)) / scale), judged(self.ends, scale),
            1e6 * self.learning / points, 1e6 * self.asking / len(self.off),
            len(self.forecaster.dump()),
        )  # fmt: skip


def roll(series: Regular) -> Rolled:
    """Forecasts from every 25th (or fifth) slot after the first quarter, as far as the series goes."""
    values, horizon = series.values, series.horizon
    scale = float(np.nanmean(np.abs(np.diff(series.filled)))) or math.nan
    asked = {kind: _Asked(make(series.step_ms, horizon)) for kind, make in KINDS.items()}
    alone = members.create(DEFAULT, seasons_of(series.step_ms))
    singly: dict[str, list[Floats]] = {name: [] for name in alone}
    plain: list[tuple[Floats, Floats, Floats]] = []
    origins = origins_of(values)
    for place, (value, known) in enumerate(zip(values, series.filled, strict=True)):
        at = series.start + place * series.step_ms
        if not math.isnan(value):
            for each in asked.values():
                each.learn(value, at)
        for member in alone.values():
            member.learn(known, at)
        if place not in origins or math.isnan(value):
            continue
        coming = values[place + 1 : place + 1 + horizon]
        told = [(each, *each.ask()) for each in asked.values()]
        if any(said.learning for _, said, _ in told):
            continue  # all are judged at the same origins
        for each, said, took in told:
            each.judge(said, took, coming)
        plain.append((*conformal(series.filled[: place + 1], len(coming)), coming))
        for name, path in paths(alone, horizon).items():
            singly[name].append(np.abs(path[: len(coming)] - coming))
    mase = {name: float(np.nanmean(np.concatenate(each)) / scale) for name, each in singly.items()}
    kinds = {kind: each.kind(len(values), scale) for kind, each in asked.items()}
    for kind in (OURS, THRIFTY):
        kinds[kind] = kinds[kind]._replace(learn_us=cost(series, kind))
    return Rolled(series.name, len(values), len(plain), kinds, mase, judged(plain, scale))


def origins_of(values: Floats) -> range:
    """Places after which forecasts are asked for: every 25th (or fifth) after the first quarter."""
    every = EVERY[len(values) <= 1_500]
    return range(math.ceil(WARM * len(values) / every) * every, len(values) - 1, every)


def cost(series: Regular, kind: str) -> float:
    """CPU µs a value of learning the whole series, blocks and all: a value takes less than a clock."""
    forecaster = KINDS[kind](series.step_ms, series.horizon)
    points = _points(series)
    began = time.process_time()
    for value, at in points:
        forecaster.learn(value, at)
    return 1e6 * (time.process_time() - began) / len(points)


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


def online(series: Regular, task: Task, forecaster: Forecaster) -> tuple[float, float]:
    """(mean absolute error, CPU seconds over the last points) of a forecaster at the same origins."""
    starts = [series.start + origin * series.step_ms for origin in task.origins]
    parts: list[list[tuple[float, int]]] = [[] for _ in range(len(starts) + 1)]
    for value, at in _points(series):
        parts[bisect_right(starts, at)].append((value, at))
    off: list[float] = []
    cpu = 0.0
    for number, part in enumerate(parts):
        began = time.process_time()
        for value, at in part:
            forecaster.learn(value, at)
        if number == 0:
            began = time.process_time()  # what came before the last points costs nothing
        points = forecaster.forecast().points if number < len(starts) else []
        cpu += time.process_time() - began
        if number < len(starts):
            origin = task.origins[number]
            coming = task.values[origin : origin + series.horizon]
            points = points or task.values[origin - 1 : origin] * series.horizon
            off += np.abs(np.array(points[: len(coming)]) - coming).tolist()
    return float(np.mean(off)), cpu


def _points(series: Regular) -> list[tuple[float, int]]:
    """(value, epoch ms) of the slots that have one."""
    return [
        (value, series.start + place * series.step_ms)
        for place, value in enumerate(series.values.tolist())
        if not math.isnan(value)
    ]
