"""Who can be scored: our detectors, River's as shipped, and published score files, by name.

``novelty`` and all others of the registry; ``river:HalfSpaceTrees`` and the like; any other name
is one of the corpus' ``results``. Detectors see a series once, in order, one value at a time.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from sys import getsizeof
from typing import Any, NamedTuple

import numpy as np
from river import anomaly, preprocessing

from bench.nab.corpus import Series, published
from bench.nab.scoring import NONE, Cooldown, Floats
from ml import registry

RIVER: dict[str, Callable[[], Any]] = {
    # Trees want [0, 1]; this pipeline is the one that River's documentation gives.
    "HalfSpaceTrees": lambda: preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=1),
    "OneClassSVM": lambda: preprocessing.StandardScaler() | anomaly.OneClassSVM(),
    "GaussianScorer": anomaly.GaussianScorer,
    "StandardAbsoluteDeviation": anomaly.StandardAbsoluteDeviation,
    "PredictiveAnomalyDetection": anomaly.PredictiveAnomalyDetection,
}
"""LocalOutlierFactor is left out: it searches all of its past at each point."""

_OF_A_TARGET = (
    anomaly.GaussianScorer,
    anomaly.StandardAbsoluteDeviation,
    anomaly.PredictiveAnomalyDetection,
)


class Measured(NamedTuple):
    """Scores of one series, and the detector's bytes at the end."""

    scores: Floats
    size: int


class Contest(NamedTuple):
    """A contender's scores of each series, its quiet time, and its cost where it was run here."""

    scores: list[Floats]
    cooldown: Cooldown
    us_per_point: float | None = None
    bytes_per_series: int | None = None


def names(corpus: Path) -> list[str]:
    """Everything that :func:`enter` knows in this corpus, sorted within each kind."""
    results = corpus / "results"
    held = sorted(p.name for p in results.iterdir() if p.is_dir()) if results.is_dir() else []
    return [*registry.names(), *(f"river:{name}" for name in sorted(RIVER)), *held]


def enter(name: str, corpus: Path, series: Sequence[Series], workers: int = 1) -> Contest:
    """A contender's scores of all series.

    Published scores and the metronome's count every point, as NAB does; the others are quiet for
    a while after each detection.

    Raises:
        FileNotFoundError: there is no such detector and no such results in the corpus.
    """
    if name not in registry.names() and not name.startswith("river:"):
        return Contest([published(corpus, name, s) for s in series], NONE)
    if name.startswith("river:") and name.removeprefix("river:") not in RIVER:
        msg = f"there is no detector {name!r}; there are {', '.join(names(corpus))}"
        raise FileNotFoundError(msg)
    run = partial(measure, name)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            measured = list(pool.map(run, series))
    else:
        measured = [run(s) for s in series]
    return Contest(
        [m.scores for m in measured],
        NONE if name == "metronome" else Cooldown(),
        cost(name, max(series, key=lambda s: len(s.values))),
        max(m.size for m in measured),
    )


def measure(name: str, series: Series) -> Measured:
    """What a new detector scores each point before it learns it; 0 while it is learning."""
    detector, step = _start(name)
    scores = np.zeros(len(series.values))
    for i, (at, value) in enumerate(zip(series.times, series.values, strict=True)):
        scores[i] = step(value, at)
    return Measured(np.nan_to_num(scores), deep_size(detector))


def cost(name: str, series: Series, points: int = 3000, passes: int = 5) -> float:
    """CPU µs a point, scored and learned: the best pass over a series' first points, as timeit's."""
    best, n = float("inf"), min(points, len(series.values))
    for _ in range(passes):
        _, step = _start(name)
        began = time.process_time()
        for at, value in zip(series.times[:n], series.values[:n], strict=True):
            step(value, at)
        best = min(best, (time.process_time() - began) / n)
    return round(1e6 * best, 2)


def _start(name: str) -> tuple[Any, Callable[[float, int], float]]:
    """A new detector, and what takes it one point on."""
    if name.startswith("river:"):
        detector = RIVER[name.removeprefix("river:")]()
        return detector, _river_step(detector)
    ours = registry.create(name)
    return ours, _step(ours)


def _step(detector: Any) -> Callable[[float, int], float]:
    def step(value: float, at: int) -> float:
        score = detector.score(value, at).score
        detector.learn(value, at)
        return score or 0.0

    return step


def _river_step(detector: Any) -> Callable[[float, int], float]:
    """What is called of River's at each value; those that take a target predict it from the last."""
    last: dict[str, float] = {"value": 0.0}

    def of_a_target(value: float, _: int) -> float:
        try:
            score = detector.score_one(dict(last), value)
        except ZeroDivisionError:  # PredictiveAnomalyDetection, after errors of exactly nought
            score = 0.0
        detector.learn_one(dict(last), value)
        last["value"] = value
        return float(score)

    def of_features(value: float, _: int) -> float:
        score = detector.score_one({"value": value})
        detector.learn_one({"value": value})
        return float(score)

    return of_a_target if isinstance(detector, _OF_A_TARGET) else of_features


def deep_size(thing: object) -> int:
    """Bytes of an object and all that only it holds; modules, types and code are shared."""
    seen: set[int] = set()
    total, waiting = 0, [thing]
    while waiting:
        each = waiting.pop()
        if id(each) in seen or isinstance(each, type) or callable(each):
            continue
        seen.add(id(each))
        total += getsizeof(each)
        waiting += gc.get_referents(each)
    return total
