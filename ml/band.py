"""The range a value was expected in: an exponential mean and absolute deviation, robustly learned.

Separate from the score: the band explains an alert in the series' own unit; what is surprising is
decided by novelty, which needs no shape of a distribution.
"""

from __future__ import annotations

from typing import Any

from ml.state import number, whole

RATE = 0.1
"""Weight of the newest value in the centre; a daily curve of five-minute samples is followed."""

SPREAD_RATE = 0.05
REACH = 4.0
"""Half the band's width in mean absolute deviations; of normal noise, 1 in 700 lies outside."""

_LEAST = 0.001
"""A value moves the band by at least this part of its distance, or a constant could never change."""


class Band:
    """Centre and spread of what is normal; a value far outside moves them only as far as one at
    the band's edge would, so an incident does not become the expectation at once. ``seen`` values
    were learned; ``signed``: one was negative, or may be.

    Own method, of exponential means with clipping.
    """

    __slots__ = ("centre", "seen", "signed", "spread")

    def __init__(
        self, centre: float = 0.0, spread: float = 0.0, seen: int = 0, signed: bool = False
    ) -> None:
        self.centre = centre
        self.spread = spread
        self.seen = seen
        self.signed = signed

    def limits(self) -> tuple[float, float]:
        """(low, high) in the series' unit; low is not below 0 while no negative value was seen."""
        reach = REACH * self.spread
        low = self.centre - reach
        return (low if self.signed else max(low, 0.0)), self.centre + reach

    def learn(self, value: float) -> None:
        """Move towards a value in the series' unit. It must be finite, which is not checked here."""
        self.signed = self.signed or value < 0
        if self.seen == 0:
            self.centre = value
        off = value - self.centre
        rate, spread_rate = max(RATE, 1 / (self.seen + 1)), max(SPREAD_RATE, 1 / (self.seen + 1))
        reach = max(REACH * self.spread, _LEAST * abs(off)) if self.seen > REACH else abs(off)
        off = min(max(off, -reach), reach)
        self.centre += rate * off
        self.spread += spread_rate * (abs(off) - self.spread)
        self.seen += 1

    def dump(self) -> list[float | int | bool]:
        """The state as plain values."""
        return [self.centre, self.spread, self.seen, self.signed]

    @classmethod
    def load(cls, state: list[Any]) -> Band:
        """The band that was dumped; ValueError or TypeError if it is not one."""
        centre, spread, seen, signed = state
        return cls(number(centre), number(spread, 0), whole(seen), bool(signed))
