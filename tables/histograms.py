"""Running bucket counts, which blocks are added to and taken from again.

A window of a minute adds and takes out a pane every ten seconds and is asked for its quantiles each
time. While its buckets lie close together (they nearly always do) they are kept in a row, which needs
neither hashing nor sorting; else in a dict. Both give what the buckets of the union would give.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from tables.sketches import MAX_BUCKETS, bucket_value, quantiles


class Histogram:
    """Counts by bucket: positive ones in a row from ``_first``, or all in ``_spread``."""

    __slots__ = ("_counts", "_first", "_spread", "_zeros")

    def __init__(self) -> None:
        self._first = 0
        self._counts: list[int] = []
        self._zeros = 0
        self._spread: dict[int, int] | None = None

    def add(self, buckets: Mapping[int, int]) -> None:
        """Count these values in."""
        if not buckets:
            return
        if self._spread is None:
            self._make_room(buckets)
        if self._spread is not None:
            get = self._spread.get
            for key, count in buckets.items():
                self._spread[key] = get(key, 0) + count
            return
        counts, first = self._counts, self._first
        for key, count in buckets.items():
            if key:
                counts[key - first] += count
            else:
                self._zeros += count

    def subtract(self, buckets: Mapping[int, int]) -> None:
        """Take out what was added before."""
        if self._spread is not None:
            for key, count in buckets.items():
                left = self._spread[key] - count
                if left:
                    self._spread[key] = left
                else:
                    del self._spread[key]
            return
        counts, first = self._counts, self._first
        for key, count in buckets.items():
            if key:
                counts[key - first] -= count
            else:
                self._zeros -= count

    def _make_room(self, buckets: Mapping[int, int]) -> None:
        """Let the row reach these buckets, or give the row up."""
        low, high = min(buckets), max(buckets)
        if low >= self._first and high < self._first + len(self._counts):
            return
        low = low or min((key for key in buckets if key), default=0)
        if not low:
            return
        if self._counts:
            low = min(low, self._first)
            high = max(high, self._first + len(self._counts) - 1)
        if low < 0 or high - low >= MAX_BUCKETS:
            self._spread = self.buckets()
            return
        before = self._first - low if self._counts else 0
        after = high - low + 1 - before - len(self._counts)
        self._counts = [0] * before + self._counts + [0] * after
        self._first = low

    def buckets(self) -> dict[int, int]:
        """The buckets that are not empty."""
        if self._spread is not None:
            return self._spread
        found = {self._first + i: count for i, count in enumerate(self._counts) if count}
        return {0: self._zeros, **found} if self._zeros else found

    def quantiles(self, qs: Sequence[float]) -> tuple[int, list[float | None]]:
        """As :func:`tables.sketches.quantiles` of the buckets."""
        if self._spread is not None:
            return quantiles(self._spread, qs)
        upto = list(accumulate(self._counts, initial=self._zeros))
        n = upto[-1]
        if not n:
            return 0, [None] * len(qs)
        found = [bisect_right(upto, int(q * (n - 1))) for q in qs]
        return n, [bucket_value(self._first + i - 1) if i else 0.0 for i in found]
