"""The last value, or that of a season ago: what every other member has to beat."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import chain, islice, repeat
from typing import Any, ClassVar


class SeasonalNaive:
    """The value of a season (of so many slots) ago; with a season of one, the last value.

    Source: Hyndman and Athanasopoulos, Forecasting: Principles and Practice (3rd ed.), 5.2. Learning
    for one season. Bad at levels that move, and one bad season is all the next one's forecast.
    """

    name: ClassVar[str] = "seasonal_naive/1"

    def __init__(self, season: int = 1) -> None:
        self._season = season
        self._last = array("d")
        self._next = 0

    def learn(self, value: float, at: int) -> None:
        """See :meth:`ml.forecasting.protocol.Member.learn`."""
        if len(self._last) < self._season:
            self._last.append(value)
            return
        self._last[self._next] = value
        self._next = (self._next + 1) % self._season

    def forecast(self, horizon: int) -> Sequence[float] | None:
        """See :meth:`ml.forecasting.protocol.Member.forecast`; None before a whole season."""
        if len(self._last) < self._season:
            return None
        first = self._last[self._next : self._next + horizon]
        if len(first) < horizon:
            whole = chain(self._last[self._next :], self._last[: self._next])
            first = array("d", islice(chain.from_iterable(repeat(list(whole))), horizon))
        return first

    def dump(self) -> list[Any]:
        """See :meth:`ml.forecasting.protocol.Member.dump`: 8 bytes a slot of the season."""
        return [self._next, self._last.tobytes()]

    def restore(self, state: list[Any]) -> None:
        """See :meth:`ml.forecasting.protocol.Member.restore`.

        Raises:
            ValueError, TypeError, LookupError: it is none, or does not fit the season.
        """
        self._next, held = int(state[0]), array("d")
        held.frombytes(state[1])
        if len(held) > self._season or not 0 <= self._next < self._season:
            msg = f"{len(held)} values and place {self._next} do not fit a season of {self._season}"
            raise ValueError(msg)
        self._last = held
