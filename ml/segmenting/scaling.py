"""Standardisation that learns as it goes: the mean and the deviation of each feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LARGEST = 1e30
"""Values count as if they were not beyond this, so that they may be squared and summed."""

HORIZON = 8_192
"""Vectors from which on the oldest are forgotten; up to there all count the same."""


def as_vector(values: Sequence[float], size: int) -> Array:
    """(size,): the values as an array of its own.

    Raises:
        ValueError: another number of values, or one that is not finite.
    """
    vector = np.array(values, dtype=np.float64)
    if vector.shape != (size,):
        msg = f"a vector of shape {vector.shape} was given; one of {size} features is wanted"
        raise ValueError(msg)
    if not sum(map(abs, values)) < LARGEST:  # one look at all instead of one at each; rarely true
        if not np.isfinite(vector).all():
            msg = f"feature {int(np.argmin(np.isfinite(vector)))} is not finite; leave the listener out"
            raise ValueError(msg)
        vector = np.minimum(np.maximum(vector, -LARGEST), LARGEST)
    return vector


class Scaler:
    """Running mean and population variance (Welford 1962; the values of River's ``StandardScaler``).

    ``mean`` and ``variance`` (size,) are in the features' units and their squares.

    Beyond ``HORIZON`` vectors the weight of a new one stays 1/HORIZON, so that a population which has
    changed is followed.
    """

    __slots__ = ("mean", "seen", "variance")

    def __init__(self, size: int) -> None:
        self.seen = 0
        self.mean: Array = np.zeros(size)
        self.variance: Array = np.zeros(size)

    def learn(self, vector: Array) -> None:
        """Take a vector (size,) in, which is finite: see :func:`as_vector`."""
        self.seen = min(self.seen + 1, HORIZON)
        rate = 1.0 / self.seen
        off = vector - self.mean
        self.mean = self.mean + rate * off
        self.variance = (1.0 - rate) * (self.variance + rate * off * off)

    def deviation(self) -> Array:
        """(size,): standard deviations; 0 where a feature has always been the same, rounding aside."""
        out: Array = np.sqrt(self.variance)
        out[out <= 1e-9 * np.abs(self.mean)] = 0.0
        return out

    def dump(self) -> list[Any]:
        """The state as plain values."""
        return [self.seen, self.mean.tobytes(), self.variance.tobytes()]

    @classmethod
    def load(cls, state: list[Any], size: int) -> Scaler:
        """The scaler of so many features that was dumped; ValueError or TypeError if it is not one."""
        seen, mean, variance = state
        scaler = cls(size)
        scaler.seen = int(seen)
        scaler.mean, scaler.variance = read_array(mean, (size,)), read_array(variance, (size,))
        return scaler


def read_array(data: bytes, shape: tuple[int, ...]) -> Array:
    """The array whose bytes these are; ValueError if they are of another size, TypeError if none."""
    out: Array = np.frombuffer(data, np.float64).reshape(shape).copy()
    return out
