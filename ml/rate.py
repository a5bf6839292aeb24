"""How novel a series is lately, against how novel it usually is: one rate for one novelty.

The distance of a short exponential mean from a long one, in deviations. The deviation is measured
in the series itself, for rare events come in clusters here and singly there (a quasi-Poisson rate:
McCullagh and Nelder 1989), so no distribution of the values or of the events is assumed.
"""

from __future__ import annotations

import math

from ml.state import number

SPANS = (500, 1000)
"""Points the long mean looks back on: the mean of two, so that no single length decides. The
deviation looks back on the longer one."""

_EPSILON = 0.003
"""Variance that is always expected: a stream that repeats itself for ever would else be infinitely
surprised by its first new value."""

_WIDTH = (4.0, 20.0, 0.004)
"""Points the short mean looks back on: least, most, and share of the points seen. The longer a
stream is known, the less a single new state says about it."""


def width(seen: int) -> float:
    """The length of the short mean, in points, of a stream of ``seen`` points."""
    least, most, share = _WIDTH
    return min(most, max(least, share * seen))


def spans(seen: int) -> tuple[int, int]:
    """The lengths of the long means, in points: of a young stream, all there is."""
    a, b = SPANS
    return min(seen + 1, a), min(seen + 1, b)


class Rate:
    """Exponentially weighted means of a novelty (0 to 1), one short and two long, and its variance."""

    __slots__ = ("_a", "_b", "_short", "_variance")

    def __init__(
        self,
        short: float = 0.0,
        longs: tuple[float, float] = (0.0, 0.0),
        variance: float = 0.0,
    ) -> None:
        self._short = short
        self._a, self._b = longs
        self._variance = variance

    def usual(self) -> float:
        """The novelty that is usual."""
        return (self._a + self._b) / 2.0

    def surprise(self, novelty: float | None, width: float) -> float:
        """How far the short mean with this novelty lies above the usual, in deviations, >= 0.

        ``width`` is the short mean's length in points. None is as novel as usual. An exponential mean
        over ``width`` points would have half of variance / ``width`` if they were independent; what is
        new comes in runs, so all of it is taken.
        """
        usual = (self._a + self._b) / 2.0
        short = self._short + ((usual if novelty is None else novelty) - self._short) / width
        if short <= usual:
            return 0.0
        return (short - usual) / math.sqrt((self._variance + _EPSILON) / width)

    def learn(self, novelty: float | None, width: float, spans: tuple[int, int]) -> None:
        """Take a novelty into a short mean of ``width`` points and long ones of ``spans`` points."""
        usual = (self._a + self._b) / 2.0
        if novelty is None:
            novelty = usual
        a, b = spans
        off = novelty - usual
        self._variance += (off * off - self._variance) / b
        self._short += (novelty - self._short) / width
        self._a += (novelty - self._a) / a
        self._b += (novelty - self._b) / b

    def dump(self) -> list[float]:
        """The state as plain values."""
        return [self._short, self._a, self._b, self._variance]

    @classmethod
    def load(cls, state: list[float]) -> Rate:
        """The rate that was dumped; ValueError or TypeError if it is not one."""
        short, a, b, variance = (number(held, 0) for held in state)
        return cls(short, (a, b), variance)
