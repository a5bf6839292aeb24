"""Trivial detectors to compare with: whoever does not beat them has shown nothing."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from ml.protocol import Verdict, finite
from ml.state import DAMAGE, number, whole
from models.errors import StateError

_encode = msgspec.msgpack.Encoder().encode


class Metronome:
    """Fires blindly: scores 1 (of no unit) at every ``every``-th value and 0 at the others."""

    name = "metronome/1"

    def __init__(self, every: int = 600) -> None:
        self.every = every
        self._seen = 0

    def score(self, value: float, at: int) -> Verdict:
        """Judge by the count alone. Raises ValueError if the value is not finite."""
        finite(value)
        return Verdict(float((self._seen + 1) % self.every == 0), None, None)

    def learn(self, value: float, at: int) -> None:
        """Count. Raises ValueError if the value is not finite."""
        finite(value)
        self._seen += 1

    def dump(self) -> bytes:
        """The state, msgpack."""
        return _encode([self.name, self.every, self._seen])

    @classmethod
    def load(cls, state: list[Any]) -> Metronome:
        """The detector that was dumped; StateError if it is not one."""
        try:
            _, every, seen = state
            detector = cls(whole(every, 1))
            detector._seen = whole(seen)
        except DAMAGE as exc:
            msg = f"state of {cls.name} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector


class ZScore:
    """Distance from an exponentially weighted mean in exponentially weighted deviations.

    Source: West 1979, for updating mean and variance. ``rate``: weight of the newest value. Bad
    at daily curves and at values that are not normal; an outlier widens it.
    """

    name = "zscore/1"

    def __init__(self, rate: float = 0.02, min_n_samples: int = 50) -> None:
        self.rate = rate
        self.min_n_samples = min_n_samples
        self._seen = 0
        self._mean = 0.0
        self._variance = 0.0

    def score(self, value: float, at: int) -> Verdict:
        """Judge a value, in deviations; learning until ``min_n_samples`` were seen.

        Raises:
            ValueError: the value is not finite.
        """
        value = finite(value)
        if self._seen < self.min_n_samples:
            return Verdict(None, None, None)
        deviation = math.sqrt(self._variance)
        off = value - self._mean
        score = abs(off) / deviation if deviation else (0.0 if off == 0 else 100.0)
        low, high = self._mean - 3 * deviation, self._mean + 3 * deviation
        return Verdict(score, low, high, (value > high) - (value < low))

    def learn(self, value: float, at: int) -> None:
        """Move mean and variance towards a value. Raises ValueError if it is not finite."""
        value = finite(value)
        rate = max(self.rate, 1 / (self._seen + 1))
        off = value - self._mean
        self._mean += rate * off
        self._variance = (1 - rate) * (self._variance + rate * off * off)
        self._seen += 1

    def dump(self) -> bytes:
        """The state, msgpack."""
        state = (self.rate, self.min_n_samples, self._seen, self._mean, self._variance)
        return _encode([self.name, *state])

    @classmethod
    def load(cls, state: list[Any]) -> ZScore:
        """The detector that was dumped; StateError if it is not one."""
        try:
            _, rate, min_n_samples, seen, mean, variance = state
            detector = cls(number(rate, 0, 1), whole(min_n_samples))
            detector._seen, detector._mean = whole(seen), number(mean)
            detector._variance = number(variance, 0)
        except DAMAGE as exc:
            msg = f"state of {cls.name} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector
