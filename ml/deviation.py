"""What detectors by distance from an expectation have in common: expect, judge, take in, dump.

Subclasses say what they expect and how far values usually lie from it. Such detectors are easy to
explain and quick to warm up; beside novelty they are weak where values have no one centre.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar, Self

import msgspec

from ml.estimator import SeriesEstimator
from ml.protocol import Verdict, finite
from ml.state import DAMAGE, whole
from models.errors import StateError

MIN_SAMPLES = 50
"""Values until the first score."""

REACH = 3.0
"""Half the band's width, in the detector's own deviations."""

_SUDDEN = 100.0
"""Deviations of a first change after nothing but the same value; a quotient would be infinite."""

_encode = msgspec.msgpack.Encoder().encode


class DeviationDetector(SeriesEstimator):
    """Distance from what was expected, in usual distances; see :class:`ml.protocol.Detector`."""

    name: ClassVar[str]

    def __init__(self, min_n_samples: int = MIN_SAMPLES) -> None:
        self.min_n_samples = min_n_samples
        self._seen = 0

    def score(self, value: float, at: int) -> Verdict:
        """Judge a value; learning until ``min_n_samples`` were seen.

        Raises:
            ValueError: the value is not finite.
        """
        value = finite(value)
        if self._seen < self.min_n_samples:
            return Verdict(None, None, None)
        centre, scale = self._expected(at)
        off = abs(value - centre)
        deviations = off / scale if scale > 0 else (_SUDDEN if off else 0.0)
        low, high = centre - REACH * scale, centre + REACH * scale
        surprise = self._weigh(min(deviations, 1e300))
        return Verdict(surprise, low, high, (value > high) - (value < low))

    def learn(self, value: float, at: int) -> None:
        """Take a value in; ``at`` never goes back. Raises ValueError if it is not finite."""
        self._take(finite(value), at)
        self._seen += 1

    def dump(self) -> bytes:
        """The state, msgpack."""
        return _encode([self.name, self.min_n_samples, self._seen, self._values()])

    @classmethod
    def load(cls, state: list[Any]) -> Self:
        """The detector that was dumped; StateError if it is not one."""
        try:
            _, min_n_samples, seen, values = state
            detector = cls(whole(min_n_samples))
            detector._seen = whole(seen)
            detector._restore(values)
        except DAMAGE as exc:
            msg = f"state of {cls.name} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector

    @abc.abstractmethod
    def _expected(self, at: int) -> tuple[float, float]:
        """(centre, usual distance from it) before the value at this epoch ms."""

    @abc.abstractmethod
    def _take(self, value: float, at: int) -> None:
        """Learn a value that is finite and within bounds."""

    @abc.abstractmethod
    def _values(self) -> list[Any]:
        """The state as plain values."""

    @abc.abstractmethod
    def _restore(self, values: list[Any]) -> None:
        """Set the state; an error of :data:`ml.state.DAMAGE` if it is none."""

    def _weigh(self, deviations: float) -> float:
        """The surprise of a distance in usual distances."""
        return deviations
