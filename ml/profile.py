"""What a series usually is at this hour of the day and of the week (UTC).

Separate because two detectors use it. A mean an hour, moved by the hour that passes and not by the
number of points in it, so that a series sampled more often is not forgotten faster.
"""

from __future__ import annotations

from array import array
from math import isinf
from typing import Any

from ml.state import moment

_HOUR = 3_600_000
_RATE = 0.5
"""What an hour full of new values weighs in the mean of that hour: half."""

_LARGEST = 3e38
"""The means are kept as 32-bit floats; beyond their range a series is judged without a profile."""


class Profile:
    """Means for each hour of the day and of the week; NaN where none is known yet.

    Own method: an exponential mean an hour, where the time that passed has the weight.
    """

    __slots__ = ("_at", "_day", "_week")

    def __init__(self) -> None:
        self._day = array("f", [float("nan")] * 24)
        self._week = array("f", [float("nan")] * 168)
        self._at: int | None = None

    def expected(self, at: int, otherwise: float) -> float:
        """The mean of this hour of the week at an epoch ms, in the series' unit.

        That of the hour of the day stands in for one not known yet, and ``otherwise`` for both.
        """
        hour = at // _HOUR
        week = self._week[hour % 168]
        if week == week:  # noqa: PLR0124 - not NaN
            return week
        day = self._day[hour % 24]
        return otherwise if day != day else day  # noqa: PLR0124

    def learn(self, value: float, at: int) -> None:
        """Move the means of the hour of ``at`` (epoch ms) towards a finite value."""
        if not -_LARGEST <= value <= _LARGEST:
            value = _LARGEST if value > 0 else -_LARGEST
        last, self._at = self._at, at
        passed = _HOUR if last is None or at - last >= _HOUR else max(at - last, 0)
        rate, hour, day, week = _RATE * passed / _HOUR, at // _HOUR, self._day, self._week
        slot, mean = hour % 24, day[hour % 24]
        day[slot] = value if mean != mean else mean + rate * (value - mean)  # noqa: PLR0124
        slot, mean = hour % 168, week[hour % 168]
        week[slot] = value if mean != mean else mean + rate * (value - mean)  # noqa: PLR0124

    def dump(self) -> list[Any]:
        """The state as plain values."""
        return [self._at, self._day.tobytes(), self._week.tobytes()]

    @classmethod
    def load(cls, state: list[Any]) -> Profile:
        """The profile that was dumped; ValueError or TypeError if it is not one."""
        profile = cls()
        at, day, week = state
        profile._at = moment(at)
        for means, held in ((profile._day, day), (profile._week, week)):
            if not isinstance(held, bytes) or len(held) != 4 * len(means):
                raise ValueError("profile does not cover the day and the week")
            del means[:]
            means.frombytes(held)
            if any(map(isinf, means)):
                raise ValueError("a mean is not finite")
        return profile
