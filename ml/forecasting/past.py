"""The last values of a series on its grid, and what its season says of each."""

from __future__ import annotations

from typing import Any

import numpy as np

from ml.forecasting.bands import Floats, Ints
from ml.protocol import LARGEST
from ml.state import whole

AT_ONCE = 256
"""Values that are put into a tail at once at most."""

_SEASON_RATE = 0.5
"""How fast the mean over the seasons at a slot of theirs follows."""


class Tail:
    """The last values of a stream by their number from its beginning: at least ``kept`` of them."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._held = np.empty(kept + 2 * AT_ONCE)
        self._base = self.end = 0

    def extend(self, values: Floats) -> None:
        """Put values (n,) behind the others: at most :data:`AT_ONCE`."""
        place = self.end - self._base
        if place + len(values) > len(self._held):
            self._held[: self._kept] = self._held[place - self._kept : place].copy()
            place, self._base = self._kept, self.end - self._kept
        self._held[place : place + len(values)] = values
        self.end += len(values)

    def part(self, start: int, stop: int) -> Floats:
        """(stop - start,): a view of the values by number, which are all still held."""
        return self._held[start - self._base : stop - self._base]

    def take(self, numbers: Ints) -> Floats:
        """Values by number, in the shape of the numbers."""
        return self._held.take(numbers - self._base)

    def dump(self) -> list[Any]:
        """The state as plain values: the last ``kept`` and how many there were."""
        start = max(self.end - self._kept, 0)
        return [self.end, self.part(start, self.end).tobytes()]

    def restore(self, state: list[Any]) -> None:
        """Know what was dumped of a tail that keeps as many.

        Raises:
            ValueError, TypeError, LookupError: it is none, of another length, or not finite.
        """
        self.end, values = whole(state[0]), np.frombuffer(state[1])
        if len(values) != min(self.end, self._kept):
            raise ValueError(f"{len(values)} values are held of {self.end}")
        if not (np.abs(values) <= LARGEST).all():
            raise ValueError("values are not finite")
        self._base = self.end - len(values)
        self._held[: len(values)] = values


class Past:
    """Values, and what their seasons say of each.

    ``lags`` are the seasons in slots: none, one, or two with the shorter first. Of the shorter the
    exponential mean of each of its slots is kept, as it was once a value was known; of the longer the
    value itself. ``kept`` values behind a season can be asked for, and what comes up to ``reach``
    slots ahead. Values are numbered from the first, which is 0; row 0 is the values, row 1 the
    shorter season, row 2 the longer.

    Own method: seasonal naive, with a mean that moves half of the way to each value for the season.
    """

    def __init__(self, lags: tuple[int, ...], kept: int, reach: int) -> None:
        self._lags, self._reach = lags, reach
        self.values = Tail(max(lags, default=0) + kept)
        self._usual = Tail(lags[0] + kept) if lags else None
        sources = (self._usual or self.values, self.values)
        self._seasons = list(zip(lags, sources, strict=False))
        self._longest = min(lags[0], AT_ONCE) if lags else AT_ONCE

    def extend(self, values: Floats) -> None:
        """Put values (n,) behind the others, however many there are."""
        for start in range(0, len(values), self._longest):
            some = values[start : start + self._longest]
            if self._usual is not None:
                self._mean(some, self._usual)
            self.values.extend(some)

    def _mean(self, values: Floats, usual: Tail) -> None:
        """No more than a season is learned at once: no value stands on another of them."""
        first, season = usual.end, self._lags[0]
        if first < season:  # the first one is its own mean
            known = values[: season - first]
            usual.extend(known)
            first, values = first + len(known), values[len(known) :]
        if len(values):
            before = usual.part(first - season, first - season + len(values))
            usual.extend(before + _SEASON_RATE * (values - before))

    def rows(self, start: int, stop: int, count: int) -> Floats:
        """(count, stop - start): row 0 the values by number, the others how far these lie above what a
        season ago says.

        Before the first value stands the first value, and nought where a season ago is not known.
        """
        if start < 0:
            rows = np.zeros((count, stop - start))
            rows[:, -start:] = self.rows(0, stop, count)
            rows[0, :-start] = rows[0, -start]
            return rows
        rows = np.empty((count, stop - start))
        rows[0] = self.values.part(start, stop)
        for row in range(1, count):
            lag, source = self._seasons[row - 1]
            if lag <= start:
                np.subtract(rows[0], source.part(start - lag, stop - lag), out=rows[row])
            else:
                known = min(lag, stop) - start
                rows[row, :known] = 0.0
                ago = source.part(start + known - lag, stop - lag)
                np.subtract(rows[0, known:], ago, out=rows[row, known:])
        return rows

    def median(self, stop: int, count: int) -> float:
        """The (upper) median of the last ``count`` values before number ``stop``; of fewer at first."""
        last = self.values.part(max(stop - count, 0), stop).copy()
        middle = len(last) // 2
        last.partition(middle)
        return float(last[middle])

    def ago(self, row: int, numbers: Ints, ahead: Ints) -> Floats:
        """What row ``row`` (1 or 2) says of values by number, in the shape of the numbers.

        ``ahead`` (of a shape that fits): how many slots each lies from the last that may be known. It
        is the newest at the same time of season that does not lie beyond that.
        """
        lag, source = self._seasons[row - 1]
        if self._reach > lag:
            numbers = numbers - lag * ((ahead - 1) // lag)
        return source.take(numbers - lag)

    def next(self, row: int, ahead: Ints) -> Floats:
        """What row ``row`` (1 or 2) says of the next values: (slots,), as ``ahead``: 1, 2, ..."""
        (lag, source), end = self._seasons[row - 1], self.values.end
        if self._reach > lag:
            return self.ago(row, ahead + (end - 1), ahead)
        return source.part(end - lag, end - lag + len(ahead))

    def dump(self) -> list[Any]:
        """The state as plain values."""
        return [tail.dump() for tail in (self.values, self._usual) if tail is not None]

    def restore(self, state: list[Any]) -> None:
        """Know what was dumped of a past with the same arguments.

        Raises:
            ValueError, TypeError, LookupError: it is none, or values and means are not as many.
        """
        tails = [tail for tail in (self.values, self._usual) if tail is not None]
        for tail, held in zip(tails, state, strict=True):
            tail.restore(held)
        if len({tail.end for tail in tails}) > 1:
            raise ValueError("values and their seasonal means are not as many")
