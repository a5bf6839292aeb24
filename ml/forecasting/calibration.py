"""Prediction intervals that keep their word on drifting data: adaptive conformal inference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.forecasting.bands import RUNGS, Floats

_RUNGS = np.array(RUNGS)
_LOWER = _RUNGS < 0.5
_KEPT = 200
_AT_ONCE = 20
"""Errors that are all looked at; of more, the latest half, up to ``_KEPT``."""

_STEP = np.where(_RUNGS == 0.5, 0.0, 0.02)
_BEYOND = 0.02
"""How far a place may leave [0, 1]: further, it would take thousands of outcomes to come back after a
run of misses, and intervals would stay far too wide."""


class Calibration:
    """Quantiles of forecast errors, one ladder of :data:`RUNGS` for each of ``nodes`` horizons.

    Source: adaptive conformal inference, Gibbs and Candès 2021. A quantile is read off the last 200
    errors of its horizon (while there are fewer than 400, off the latest half: the members' first
    errors, made before they knew the series, are soon forgotten), not at its rung but at a place that
    moves up by ``step * rung`` when the value lay above it and down by ``step * (1 - rung)`` when not, so
    that over T outcomes the share of misses is within about 1 / (step * T) of what was promised. The
    median is a point and promises no share: it stays in the middle, but where a run of misses has
    brought others beyond it: they are put in order. The paper has this for any data, for its
    interval becomes infinite where its place leaves [0, 1]; this one reaches at most 2.5 % of the
    errors' own range beyond them (of 200; more of fewer), and so on data that go on leaving that range
    it is not promised.
    Both ends are followed by themselves, so that skewed errors have skewed intervals. Compared are
    the quantiles that were *issued*: what is learned of a far horizon comes late.
    """

    def __init__(self, nodes: int) -> None:
        self.seen = np.zeros(nodes, dtype=np.int64)
        self._places = np.tile(_RUNGS, (nodes, 1))
        self._errors = np.full((nodes, _KEPT), np.nan)

    def issue(self) -> Floats:
        """The quantiles (nodes x rungs, rising) of how far the value will be from a point."""
        half = np.maximum(self.seen // 2, np.minimum(self.seen, _AT_ONCE))
        count = np.minimum(half, _KEPT)[:, None]
        age = (self.seen[:, None] - 1 - np.arange(_KEPT)) % _KEPT
        errors = np.sort(np.where(age < count, self._errors, np.nan), axis=1)
        last = np.maximum(count - 1, 0)
        place = self._places * (count + 1) - 1
        inside = np.clip(place, 0, last)
        below = inside.astype(np.intp)
        low = np.take_along_axis(errors, below, axis=1)
        high = np.take_along_axis(errors, np.minimum(below + 1, last), axis=1)
        span = np.take_along_axis(errors, last, axis=1) - errors[:, :1]
        quantiles = low + (inside - below) * (high - low) + (place - inside) / (count + 1) * span
        return np.sort(np.nan_to_num(quantiles), axis=1)

    def learn(self, nodes: NDArray[np.intp], value: float, points: Floats, issued: Floats) -> None:
        """A value has come: of these nodes, each once, the points and quantiles once issued for it.

        ``nodes`` k indices, ``points`` (k), ``issued`` (k x rungs): quantiles of the value itself.
        """
        held = np.where(_LOWER, value < issued, value <= issued)
        # Where all is known exactly, every quantile is the same and hits say nothing of where they are.
        told = (issued[:, 0] < issued[:, -1]) | (value != points)
        move = np.where((told & (self.seen[nodes] > 0))[:, None], _STEP * (_RUNGS - held), 0.0)
        self._places[nodes] = np.clip(self._places[nodes] + move, -_BEYOND, 1.0 + _BEYOND)
        self._errors[nodes, self.seen[nodes] % _KEPT] = value - points
        self.seen[nodes] += 1

    def dump(self) -> list[Any]:
        """The state as plain values."""
        return [values.tobytes() for values in (self.seen, self._places, self._errors)]

    def restore(self, state: list[Any]) -> None:
        """Know what was dumped of as many nodes.

        Raises:
            ValueError, TypeError: it does not fit.
        """
        seen, places, errors = state
        self.seen[:] = np.frombuffer(seen, dtype=np.int64)
        self._places[:] = np.frombuffer(places).reshape(self._places.shape)
        self._errors[:] = np.frombuffer(errors).reshape(self._errors.shape)
