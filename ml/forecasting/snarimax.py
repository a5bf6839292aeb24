"""River's SNARIMAX behind our protocol: on a scaled target, with explicit state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from river import linear_model, optim, preprocessing, time_series

_LAGS = 3
_RATE = 0.01
_SCALE_RATE = 0.01
_REACH = 5.0
"""Mean distances from the mean: beyond it nothing is learned, and no forecast goes."""


class Snarimax:
    """Autoregression on the last values and those of a season ago, by stochastic gradient.

    Source: Anava, Hazan, Mannor and Shamir 2013, as River implements it. River's raw target drifts
    away where it is large; here it is the distance from a slow mean in slow mean distances, and what
    leaves any sense is begun anew (``restarts`` counts). Forecasting follows River's recursion with the
    weights folded into one line per lag, which is ten times faster. ``season``: slots, 0 for none.
    Bad in its first hundreds of values, and where the variance changes.
    """

    name: ClassVar[str] = "snarimax/1"

    def __init__(self, season: int = 0) -> None:
        self._season = season
        self._mean = self._spread = 0.0
        self._seen = 0
        self.restarts = 0
        self._model = self._new()

    def learn(self, value: float, at: int) -> None:
        """See :meth:`ml.forecasting.protocol.Member.learn`."""
        self._seen += 1
        rate = max(_SCALE_RATE, 1 / self._seen)
        if self._seen == 1:
            self._mean = value
        off = value - self._mean
        if self._spread > 0:
            self._model.learn_one(min(max(off / self._spread, -_REACH), _REACH))
        self._mean += rate * off
        self._spread += rate * (abs(off) - self._spread)
        if not math.isfinite(self._regressor.intercept):
            self._model, self.restarts = self._new(), self.restarts + 1

    def forecast(self, horizon: int) -> Sequence[float] | None:
        """See :meth:`ml.forecasting.protocol.Member.forecast`.

        None before a season, and while nothing has moved.
        """
        model = self._model
        history = list(model.y_diff)[: max(_LAGS, self._season)]  # the newest first
        if self._spread <= 0 or len(history) < max(_LAGS, self._season):
            return None
        base, lags = self._line()
        path = history[::-1]
        for _ in range(horizon):
            scaled = base + sum(weight * path[-lag] for lag, weight in lags)
            path.append(min(max(scaled, -_REACH), _REACH))
        return [self._mean + self._spread * scaled for scaled in path[-horizon:]]

    def _line(self) -> tuple[float, list[tuple[int, float]]]:
        """(constant, [(lag, weight)]): standardising and regression in one."""
        base, lags = self._regressor.intercept, []
        for name, weight in self._regressor.weights.items():
            lag = int(name.rpartition("-")[2])
            deviation = self._scaler.vars[name] ** 0.5
            if deviation > 0:
                lags.append((lag, weight / deviation))
                base -= weight * self._scaler.means[name] / deviation
        return base, lags

    @property
    def _scaler(self) -> Any:
        return self._model.regressor["StandardScaler"]

    @property
    def _regressor(self) -> Any:
        return self._model.regressor["LinearRegression"]

    def _new(self) -> Any:
        return time_series.SNARIMAX(
            p=_LAGS, d=0, q=0, m=self._season or 1, sp=1 if self._season else 0,
            regressor=preprocessing.StandardScaler()
            | linear_model.LinearRegression(optimizer=optim.SGD(_RATE), intercept_lr=_RATE),
        )  # fmt: skip

    def dump(self) -> list[Any]:
        """See :meth:`ml.forecasting.protocol.Member.dump`."""
        scaler, regressor = self._scaler, self._regressor
        return [
            self._mean, self._spread, self._seen, self.restarts, list(self._model.y_diff),
            dict(scaler.counts), dict(scaler.means), dict(scaler.vars),
            dict(regressor.weights), regressor.intercept, regressor.optimizer.n_iterations,
        ]  # fmt: skip

    def restore(self, state: list[Any]) -> None:
        """See :meth:`ml.forecasting.protocol.Member.restore`."""
        mean, spread, seen, restarts, past, counts, means, variances, weights, base, n = state
        self._mean, self._spread = float(mean), float(spread)
        self._seen, self.restarts = int(seen), int(restarts)
        self._model.y_diff.extend(map(float, past))
        self._scaler.counts.update(counts)
        self._scaler.means.update(means)
        self._scaler.vars.update(variances)
        self._regressor._weights.update(weights)  # noqa: SLF001
        self._regressor.intercept = float(base)
        self._regressor.optimizer.n_iterations = int(n)
