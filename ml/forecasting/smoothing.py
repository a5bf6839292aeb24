"""River's Holt-Winters behind our protocol: begun properly, never multiplicative, explicit state."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any, ClassVar

from river import time_series


class Smoothing:
    """Exponential smoothing of a level, of a trend where ``trend`` is a rate, and of a season.

    ``level`` and ``trend``: weight of the newest value, 0 to 1; ``season``: its slots, 0 for none.

    Source: Brown 1959, Holt 1957, Winters 1960, additive, as River implements it. River's own
    beginning is not used: it takes quotients for an additive season, and it raises when it is asked
    before a whole one. Here the first season's mean is the level, its differences the season, and the
    trend begins with nought. Its multiplicative form divides by zero and is not offered. Bad at
    changes of the level (slow rates) or at noise (fast ones); its trend goes on for ever.
    """

    name: ClassVar[str] = "smoothing/1"

    def __init__(self, level: float, trend: float | None = None, season: int = 0) -> None:
        self._first = array("d")
        self._begins_with = max(2, season)
        self._model = time_series.HoltWinters(
            alpha=level, beta=trend, gamma=level if season else None, seasonality=season
        )

    def learn(self, value: float, at: int) -> None:
        """See :meth:`ml.forecasting.protocol.Member.learn`."""
        model = self._model
        if model._initialized:  # noqa: SLF001 - River's flag; the version is pinned
            model.learn_one(value)
            return
        self._first.append(value)
        if len(self._first) == self._begins_with:
            self._begin()

    def forecast(self, horizon: int) -> Sequence[float] | None:
        """See :meth:`ml.forecasting.protocol.Member.forecast`; None before a season or two values."""
        if not self._model._initialized:  # noqa: SLF001
            return None
        points: list[float] = self._model.forecast(horizon)
        return points

    def dump(self) -> list[Any]:
        """See :meth:`ml.forecasting.protocol.Member.dump`."""
        parts = (self._model.level, self._model.trend, self._model.season)
        return [self._first.tobytes(), *(array("d", part or ()).tobytes() for part in parts)]

    def restore(self, state: list[Any]) -> None:
        """See :meth:`ml.forecasting.protocol.Member.restore`.

        Raises:
            ValueError, TypeError: it is none, or of other components than this one has.
        """
        first, *parts = (array("d", values) for values in map(_floats, state))
        self._first = first
        model = self._model
        for component, values in zip((model.level, model.trend, model.season), parts, strict=True):
            if component is not None:
                component.extend(values)
            elif values:
                raise ValueError(f"{len(values)} values are held of a component that is not there")
        if (len(first) >= self._begins_with) != bool(parts[0]):
            raise ValueError(f"{len(first)} first values and a level of {len(parts[0])}")
        model._initialized = bool(parts[0])  # noqa: SLF001

    def _begin(self) -> None:
        model, first = self._model, self._first
        mean = sum(first) / len(first)
        season = model.season is not None
        model.level.append(mean if season else first[-1])
        if model.trend is not None:
            model.trend.append(0.0 if season else first[-1] - first[0])
        if season:
            model.season.extend(value - mean for value in first)
        model._initialized = True  # noqa: SLF001


def _floats(data: bytes) -> array[float]:
    values = array("d")
    values.frombytes(data)
    return values
