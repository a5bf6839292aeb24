"""One context of the novelty detectors: how often each of its cells was visited.

A context counts one quantity (a value, a level, a jump ...) in the cells of a power-of-two grid
that follows the quantity's running range. Cells of twice the size are pairs of cells, so the grid
coarsens by adding counts and forgets nothing by it. Separate from the detectors because nearly all
of their memory is here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import floor, frexp
from typing import Any

from ml.state import numbers, whole

CELLS = 16
"""Cells of a grid; the range takes up half of them to all. Finer grids find noise novel."""

_SHIFTS = (-500, 520)
"""Bounds of a cell's size, as powers of two: products with values stay finite."""

_FIRST = 24
"""The first cell is this many powers of two smaller than the first value."""

FAMILIAR = 20
"""Visits to a time of day until what is new in it can surprise: before, everything is."""

_RANGE_BITS = 5

_HALF_LIFE = 5_000
_GROWTH = 2.0 ** (1 / _HALF_LIFE)
_MAX_WEIGHT = 2.0**16


class Context:
    """Counts of one quantity over cells x ``buckets`` (times of day)."""

    __slots__ = ("_base", "_counts", "_high", "_low", "_scale", "_shift", "_visits", "buckets")

    def __init__(self, buckets: int = 1) -> None:
        self.buckets = buckets
        self._counts = array("f", bytes(4 * CELLS * buckets))
        self._visits = [0] * buckets if buckets > 1 else None
        self._shift: int | None = None
        self._scale = 0.0
        self._base, self._low, self._high = 0, 0, -1  # nothing lies in the range yet

    def novelty(self, quantity: float, bucket: int, weight: float) -> float | None:
        """1 / (1 + visits to the quantity's cell); ``weight`` is what one visit counts now.

        None in a time of day that is not familiar yet, but for the very first value.
        """
        if self._visits is not None and self._visits[bucket] < FAMILIAR:
            return None if self._shift is not None else 1.0
        cell = floor(quantity * self._scale) - self._base
        if 0 <= cell < CELLS:
            return weight / (weight + self._counts[cell * self.buckets + bucket])
        return 1.0

    def visit(self, quantity: float, bucket: int, weight: float, *, settling: bool) -> None:
        """Count a visit of ``weight``; the range may grow at will while the stream settles in."""
        if self._visits is not None and self._visits[bucket] < FAMILIAR:
            self._visits[bucket] += 1
        cell = floor(quantity * self._scale)
        if not self._low <= cell <= self._high:
            if not self._make_room(quantity, settling=settling):
                return
            cell = floor(quantity * self._scale)
        self._counts[(cell - self._base) * self.buckets + bucket] += weight

    def age(self, weight: float) -> None:
        """Divide all counts by ``weight``, when what one visit counts starts from 1 again."""
        for i, count in enumerate(self._counts):
            self._counts[i] = count / weight

    def dump(self) -> list[Any]:
        """The state as plain values; only cells of the running range are kept."""
        first = (self._low - self._base) * self.buckets
        last = (self._high - self._base + 1) * self.buckets
        used = self._counts[first:last].tobytes() if self._shift is not None else b""
        return [self._shift, self._base, self._low, self._high, self._visits, used]

    @classmethod
    def load(cls, state: list[Any], buckets: int) -> Context:
        """A context that continues as the dumped one.

        Raises:
            ValueError, TypeError, LookupError: it is no state, or contradicts itself.
        """
        context = cls(buckets)
        shift, base, low, high, visits, used = state
        within = -(2**62), 2**62
        context._base, context._low = whole(base, *within), whole(low, *within)
        context._high = whole(high, *within)
        if buckets > 1:
            if len(visits) != buckets:
                raise ValueError("visits do not cover the buckets")
            context._visits = [whole(v) for v in visits]
        if shift is not None:
            context._coarsen_to(whole(shift, *_SHIFTS))
            counts = numbers(used, "f")
            first = (low - base) * buckets
            if (
                len(counts) != (high - low + 1) * buckets
                or not 0 <= low - base <= high - base < CELLS
            ):
                raise ValueError("counts do not cover the range")
            context._counts[first : first + len(counts)] = counts
        return context

    def _coarsen_to(self, shift: int) -> None:
        self._shift = shift
        self._scale = 2.0**-shift

    def _make_room(self, quantity: float, *, settling: bool) -> bool:
        """Extend the grid to a quantity outside it; False if it stays outside for now.

        The range at most doubles a point, so that one wild value does not blind the detector. A
        stream that is settling in, or has been constant so far, has no range to defend.
        """
        if self._shift is None:
            shift = frexp(quantity)[1] - _FIRST if quantity else _SHIFTS[0]
            self._coarsen_to(min(max(shift, _SHIFTS[0]), _SHIFTS[1]))
            self._low = self._high = floor(quantity * self._scale)
            self._base = self._low - CELLS // 2
            return True
        cell = floor(quantity * self._scale)
        low, high = min(cell, self._low), max(cell, self._high)
        free = settling or self._low == self._high
        steps = max(0, (high - low).bit_length() - _RANGE_BITS)
        while (high >> steps) - (low >> steps) >= CELLS:
            steps += 1
        fits = free or steps <= 1
        steps = steps if fits else 1
        if steps and self._shift is not None:
            self._coarsen_to(self._shift + steps)
        if not fits:
            low, high = self._low, self._high
        low, high = low >> steps, high >> steps
        if steps or low < self._base or high >= self._base + CELLS:
            self._move(steps, low - (CELLS - (high - low + 1)) // 2)
        self._low, self._high = low, high
        return fits

    def _move(self, steps: int, base: int) -> None:
        """Put the counts on a grid that begins at ``base`` and is ``steps`` powers coarser."""
        counts, n = array("f", bytes(4 * CELLS * self.buckets)), self.buckets
        for cell in range(self._low, self._high + 1):
            old, new = (cell - self._base) * n, ((cell >> steps) - base) * n
            for bucket in range(n):
                counts[new + bucket] += self._counts[old + bucket]
        self._counts, self._base = counts, base


def grown(weight: float, contexts: Iterable[Context]) -> float:
    """What the next visit weighs: a little more, which forgets older ones with a half-life of 5,000.

    Before it grows beyond bounds all counts are divided and it starts from 1 again.
    """
    weight *= _GROWTH
    if weight <= _MAX_WEIGHT:
        return weight
    for context in contexts:
        context.age(weight)
    return 1.0
