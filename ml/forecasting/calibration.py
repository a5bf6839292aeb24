"""Prediction intervals that keep their word on drifting data: quantiles of errors, tracked online."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

RUNGS = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995)
"""The quantiles that are tracked; with them intervals of 50, 80, 90, 95 and 99 %."""

_MEDIAN = RUNGS.index(0.5)
_RUNGS = np.array(RUNGS)
_NORMAL = np.array([NormalDist().inv_cdf(rung) for rung in RUNGS]) * 1.2533
_SLOWEST = 0.05
"""Least step of a quantile, in mean absolute errors."""
_SCALE_RATE = 0.02

Floats = NDArray[np.float64]


class Calibration:
    """Quantiles of forecast errors, one ladder of :data:`RUNGS` for each of ``nodes`` horizons.

    Source: the quantile tracker of Angelopoulos, Candès and Tibshirani 2023 (conformal PID control),
    with the falling steps of Angelopoulos, Barber and Bates 2024 down to a least one: successors of
    adaptive conformal inference (Gibbs and Candès 2021) that need no window of scores and whose
    intervals are always finite. Each quantile moves up by ``step * rung`` when it held and down by
    ``step * (1 - rung)`` when it did not, so over T outcomes its share of misses is within
    (reach + step) / (step * T) of what was promised, whatever the data. Quantiles are kept in units
    of a running mean absolute error and so widen with it at once. Compared are the quantiles that
    were *issued*: what is learned of a far horizon comes late.
    """

    def __init__(self, nodes: int) -> None:
        self.seen = np.zeros(nodes, dtype=np.int64)
        self._scale = np.zeros(nodes)
        self._ladder = np.tile(_NORMAL, (nodes, 1))

    def issue(self, points: Floats) -> Floats:
        """The quantiles (nodes x rungs) of what will be, around one point for each node."""
        return np.sort(points[:, None] + self._scale[:, None] * self._ladder, axis=1)

    def learn(self, nodes: NDArray[np.intp], value: float, points: Floats, issued: Floats) -> None:
        """A value has come: of these nodes, each once, the points and quantiles once issued for it.

        ``nodes`` k indices, ``points`` (k), ``issued`` (k x rungs).
        """
        seen = self.seen[nodes] = self.seen[nodes] + 1
        off = np.abs(value - points)
        held = np.where(_RUNGS < 0.5, value < issued, value <= issued)
        scale = self._scale[nodes]
        step = np.where(scale > 0, np.maximum(_SLOWEST, seen**-0.5), 0.0)
        self._ladder[nodes] += step[:, None] * (_RUNGS - held)
        rate = np.maximum(_SCALE_RATE, 1.0 / seen)
        self._scale[nodes] = scale + rate * (off - scale)

    def dump(self) -> list[Any]:
        return [self.seen.tobytes(), self._scale.tobytes(), self._ladder.tobytes()]

    def restore(self, state: list[Any]) -> None:
        seen, scale, ladder = state
        self.seen[:] = np.frombuffer(seen, dtype=np.int64)
        self._scale[:] = np.frombuffer(scale)
        self._ladder[:] = np.frombuffer(ladder).reshape(self._ladder.shape)
