"""How far apart a series' values are, and what that makes of a surprise.

The same event is many values of a series sampled every minute and few of one sampled every hour. In
deviations of a short mean an event of some length weighs the less, the fewer values fall into it: as
much less as there are fewer where it is shorter than the short mean, not at all where it is longer.
So that one threshold serves series of any spacing, a surprise counts by the fourth root of the
spacing in minutes: chosen on coarser copies of the benchmark, of the powers 0.1 to 0.7 one at which
the copies gain most of what they can and the corpus itself hardly loses.
"""

from __future__ import annotations

from math import exp, log
from typing import Any

from ml.state import moment, number, whole

_POWER = 0.25
_MINUTE = 60_000.0
_LONGEST = log(60.0)
"""Of minutes: of series that are further apart nothing was measured, and they count as these do."""

_KEPT = 100
"""Distances that are looked back on, in their logarithms: one gap is not taken for the spacing."""


class Spacing:
    """The geometric mean of the distances in time between a series' values."""

    __slots__ = ("_at", "_mean", "_number", "factor")

    def __init__(self, at: int | None = None, mean: float = 0.0, number: int = 0) -> None:
        self._at, self._mean, self._number = at, mean, number
        self.factor = 1.0
        """What a surprise is multiplied by; 1 for values a minute apart."""
        if number:
            self._weigh()

    def learn(self, at: int) -> None:
        """The next value is of ``at`` (epoch ms)."""
        last = self._at
        if last is not None and at <= last:
            return
        self._at = at
        if last is None:
            return
        number = self._number = min(self._number + 1, _KEPT)
        off = log((at - last) / _MINUTE) - self._mean
        if off:
            self._mean += off / number
            self._weigh()

    def _weigh(self) -> None:
        self.factor = exp(_POWER * min(self._mean, _LONGEST))

    def dump(self) -> list[Any]:
        """The state as plain values."""
        return [self._at, self._mean, self._number]

    @classmethod
    def load(cls, state: list[Any]) -> Spacing:
        """The spacing that was dumped; ValueError or TypeError if it is not one."""
        at, mean, count = state
        return cls(moment(at), number(mean), whole(count, 0, _KEPT))
