"""How rare a surprise is for this series: the share of its own past surprises that were as large.

A conformal p-value (Vovk, Gammerman and Shafer 2005; for anomalies Laxhammar and Falkman 2011): if
nothing changes, a tail of at most p is seen with probability at most p, whatever the detector and
the series. Past surprises are kept as counts in 32 logarithmic cells, all of a cell counting as at
least as large, so the tail errs upwards.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

CELLS = 32
_PER_OCTAVE = 6
"""Cells per doubling of 1 + surprise: of 12 % each; the last holds everything from 34.9 on."""

_MOST = 20_000
"""Surprises counted until all counts are halved, so that a series may become calmer or wilder."""


class Tail:
    """Counts of past surprises of one series."""

    __slots__ = ("_counts", "_total")

    def __init__(self) -> None:
        self._counts = array("I", bytes(4 * CELLS))
        self._total = 0

    def probability(self, surprise: float) -> float:
        """In (0, 1]: of a surprise (>= 0) at least this large, were all as it was."""
        return (1.0 + sum(self._counts[_cell(surprise) :])) / (1.0 + self._total)

    def learn(self, surprise: float) -> None:
        """Count a surprise."""
        self._counts[_cell(surprise)] += 1
        self._total += 1
        if self._total >= _MOST:
            self._counts = array("I", [count // 2 for count in self._counts])
            self._total = sum(self._counts)

    def dump(self) -> bytes:
        """The state: the counts."""
        return self._counts.tobytes()

    @classmethod
    def load(cls, state: Any) -> Tail:
        """The tail that was dumped; ValueError if it is not one."""
        if not isinstance(state, bytes) or len(state) != 4 * CELLS:
            raise ValueError("tail does not cover the surprises")
        tail = cls()
        tail._counts = array("I")
        tail._counts.frombytes(state)
        tail._total = sum(tail._counts)
        if tail._total >= _MOST:
            raise ValueError(f"{tail._total} surprises are counted, more than are kept")
        return tail


def _cell(surprise: float) -> int:
    return min(CELLS - 1, int(_PER_OCTAVE * math.log2(1.0 + surprise)))
