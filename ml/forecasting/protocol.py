"""What a member of a forecaster must be: it learns a regular grid, one value a slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

DAY = 86_400_000
WEEK = 7 * DAY
LONGEST_SEASON = 2_016
"""Slots; a week of five minutes. A season of more is not followed: it would cost more than it says."""


class Member(Protocol):
    """One way of forecasting a series of evenly spaced, finite values.

    Given the same calls it gives the same answers, also after ``load(dump())`` at any point. Memory
    is bounded. What is not finite, gaps and several values of a slot are kept away by the caller.
    """

    name: ClassVar[str]
    """Its name with its state's version: ``smoothing/1``."""

    def learn(self, value: float, at: int) -> None:
        """Take in the next slot's value; ``at`` is the slot's start in epoch ms."""
        ...

    def forecast(self, horizon: int) -> Sequence[float] | None:
        """The next ``horizon`` values, the next slot's first; None while there is too little."""
        ...

    def dump(self) -> list[Any]:
        """Explicit state, of what msgpack can hold."""
        ...

    def restore(self, state: list[Any]) -> None:
        """Take the state that :meth:`dump` gave, into a new member made with the same arguments.

        Raises:
            ValueError, TypeError, LookupError: it is none.
        """
        ...


class Seasons(NamedTuple):
    """The seasons of a spacing, in slots; None where there is none, or one too long to be kept.

    Where a slot is about a month, ``day`` is the year.
    """

    day: int | None
    week: int | None

    @property
    def shortest(self) -> int | None:
        """The day, or else the week; None where there is neither."""
        return self.day or self.week


def seasons_of(step_ms: int) -> Seasons:
    """The seasons a calendar gives to slots of ``step_ms``: day and week; twelve slots where one is a
    month or so.

    A day of fewer than four slots is no season, and one that is no whole number of slots neither.
    """
    if step_ms >= 28 * DAY:
        return Seasons(12, None)
    day, week = DAY / step_ms, WEEK / step_ms
    return Seasons(
        int(day) if day.is_integer() and 4 <= day <= LONGEST_SEASON else None,
        int(week) if week.is_integer() and 4 <= week <= LONGEST_SEASON else None,
    )
