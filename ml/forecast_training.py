"""Training a forecaster over stored history, a series at a time: :mod:`ml.training` for forecasts.

A forecaster is asked about each stretch of the past before it learns it, so one pass gives both what
it has learned and how it would have done. Pure; a caller may stop between the steps.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from ml import specs
from ml.forecasting import Forecaster, create
from ml.forecasting.slots import slots_of
from ml.specs import Spec
from ml.training import History, Summary
from models.errors import ConfigurationError
from models.learning import Label

STEP = 50
"""Slots between two places where a training can be stopped: a millisecond or so."""

LEVEL = 0.9
"""The interval whose coverage is measured."""

V = TypeVar("V", float, float | None)


class Learned(NamedTuple):
    """What came of one series. ``body`` is the forecaster's state after the window that starts ``at``.

    ``slots`` were learned and ``foretold`` of them had been forecast; ``error`` is the sum of these
    forecasts' absolute errors, ``baseline`` that of the last value known at the time, ``covered`` how
    many lay in their 90 % interval. Errors are in the series' unit, times epoch ms.
    """

    history: History
    at: int
    body: bytes
    slots: int
    foretold: int
    error: float
    baseline: float
    covered: int


class _Told(NamedTuple):
    point: float
    low: float
    high: float
    last: float


def complete(spec: Spec) -> dict[str, str | float | int | bool]:
    """The specification with the time that is looked ahead.

    Raises:
        ConfigurationError: it says what nothing can be made of.
    """
    specs.check_forecaster(spec)
    return {"within": specs.WITHIN, **spec}


def seen(points: Iterable[tuple[int, V]], size: int, step: int) -> Iterator[tuple[int, V]]:
    """(start of its slot, value) of the windows (start, value) that end a slot of ``step`` ms."""
    for start, value in points:
        if (start + size) % step == 0:
            yield start + size - step, value


def train(spec: Spec, history: History) -> Generator[int, None, Learned]:
    """Foretell and learn one series; yields the number of points done, returns what was learned.

    The time that the specification looks ahead is foretold whenever the one before is over, so
    that no value counts twice.

    Raises:
        ConfigurationError: the specification cannot be used, or there are no points.
    """
    if not history.points:
        msg = f"series {history.series} has no values to learn from"
        raise ConfigurationError(msg)
    step, slots = slots_of(specs.within_of(spec), history.size)
    forecaster = create(step, slots)
    pending: dict[int, _Told] = {}
    number = foretold = covered = 0
    error = baseline = 0.0
    every = len(history.points) / max(1, sum(1 for _ in seen(history.points, history.size, step)))
    for number, (at, value) in enumerate(seen(history.points, history.size, step), 1):
        told = pending.pop(at, None)
        if told is not None:
            foretold += 1
            error += abs(value - told.point)
            baseline += abs(value - told.last)
            covered += told.low <= value <= told.high
        forecaster.learn(value, at)
        if not any(ahead > at for ahead in pending):
            pending = _foretell(forecaster, value)
        if number % STEP == 0:
            yield min(len(history.points), int(number * every))
    last = history.points[-1][0]
    return Learned(history, last, forecaster.dump(), number, foretold, error, baseline, covered)


def _foretell(forecaster: Forecaster, last: float) -> dict[int, _Told]:
    """What is said of each of the next slots; nothing while learning."""
    found = forecaster.forecast(levels=(LEVEL,))
    if found.learning:
        return {}
    low, high = found.intervals[LEVEL]
    return {
        found.at + n * found.step_ms: _Told(point, low[n], high[n], last)
        for n, point in enumerate(found.points)
    }


def summarise(spec: Spec, learned: Sequence[Learned], _: Iterable[Label] = ()) -> Summary:
    """The figures of a training: at least one series; labels say nothing of forecasts.

    ``error_ratio`` is the absolute error of what was foretold over that of the last value (below 1
    is better), ``error_ratio_most`` the worst series'; ``coverage_90`` the share of values in their
    90 % interval, ``coverage_90_least`` the worst series'; ``share_learning`` the share of slots that
    nothing was said of. Ratios are left out where nothing was foretold, or nothing ever changed.
    """
    slots, foretold = sum(one.slots for one in learned), sum(one.foretold for one in learned)
    metrics = {
        "series": float(len(learned)),
        "points": float(sum(len(one.history.points) for one in learned)),
        "slots": float(slots),
        "within_ms": float(specs.within_of(spec)),
        "share_learning": 1.0 - foretold / slots if slots else 1.0,
    }
    asked = [one for one in learned if one.foretold]
    if asked:
        metrics["coverage_90"] = sum(one.covered for one in asked) / foretold
        metrics["coverage_90_least"] = min(one.covered / one.foretold for one in asked)
    moved = [one for one in asked if one.baseline]
    if moved:
        metrics["error_ratio"] = sum(o.error for o in moved) / sum(o.baseline for o in moved)
        metrics["error_ratio_most"] = max(one.error / one.baseline for one in moved)
    since = min(one.history.points[0][0] for one in learned)
    until = max(one.at + one.history.size for one in learned)
    return Summary(metrics, since, until)
