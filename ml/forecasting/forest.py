"""River's adaptive random forest behind our protocol: lags and calendar, rebuilt from what it saw."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, ClassVar

from river import forest

from ml.forecasting.protocol import DAY, WEEK

_LAGS = 3
_EPOCH = 256
_TREES, _DEPTH, _SEED = 2, 6, 1


class Forest:
    """A few small trees on the last values, their mean, and the time of day and week.

    Source: Gomes, Barddal, Ferreira and Bifet 2018, as River implements it; values are given as
    distances from the last one, so that a new level is not a new world. River's trees have no state
    that could be written down, so kept are the values: every 256 slots the forest is planted anew and
    grown on the last 256, and loading replays what was seen since then, at most 512 (a few tenths of
    a second). It costs about 0.5 ms to learn and 0.05 ms a step of forecast. Bad at trends, which
    trees cannot continue, and its recursion adds up its errors.
    """

    name: ClassVar[str] = "forest/1"

    def __init__(self) -> None:
        self._values, self._times = array("d"), array("q")
        self._model = _plant()
        self._step = 0

    def learn(self, value: float, at: int) -> None:
        """See :meth:`ml.forecasting.protocol.Member.learn`."""
        if self._times:
            self._step = at - self._times[-1]
        if len(self._values) == 2 * _EPOCH:
            del self._values[:_EPOCH], self._times[:_EPOCH]
            self._grow()
        self._values.append(value)
        self._times.append(at)
        self._teach(len(self._values) - 1)

    def forecast(self, horizon: int) -> Sequence[float] | None:
        """See :meth:`ml.forecasting.protocol.Member.forecast`; None before 128 values."""
        if len(self._values) < _EPOCH // 2:
            return None
        path = list(self._values[-_LAGS:])
        at = self._times[-1]
        for ahead in range(1, horizon + 1):
            features = _features(path[-_LAGS:], at + ahead * self._step)
            path.append(path[-1] + self._model.predict_one(features))
        return path[_LAGS:]

    def dump(self) -> list[Any]:
        """See :meth:`ml.forecasting.protocol.Member.dump`: up to 512 values and their times, 8 KB."""
        return [self._step, self._values.tobytes(), self._times.tobytes()]

    def restore(self, state: list[Any]) -> None:
        """See :meth:`ml.forecasting.protocol.Member.restore`.

        Raises:
            ValueError, TypeError: values and times differ in number, are too many, or are none.
        """
        step, values, times = state
        self._step = int(step)
        self._values, self._times = array("d"), array("q")
        self._values.frombytes(values)
        self._times.frombytes(times)
        if len(self._values) != len(self._times) or len(self._values) > 2 * _EPOCH:
            raise ValueError(f"{len(self._values)} values and {len(self._times)} times are held")
        self._grow()

    def _grow(self) -> None:
        self._model = _plant()
        for place in range(len(self._values)):
            self._teach(place)

    def _teach(self, place: int) -> None:
        if place < _LAGS:
            return
        past = self._values[place - _LAGS : place]
        change = self._values[place] - past[-1]
        self._model.learn_one(_features(past, self._times[place]), change)


def _plant() -> Any:
    return forest.ARFRegressor(n_models=_TREES, max_depth=_DEPTH, seed=_SEED)


def _features(past: Sequence[float], at: int) -> dict[str, float]:
    last = past[-1]
    away = {f"lag-{lag}": past[-lag] - last for lag in range(2, len(past) + 1)}
    return {"last": last, **away, "day": at % DAY / DAY, "week": at % WEEK / WEEK}
