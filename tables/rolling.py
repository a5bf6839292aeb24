"""The content of a window that slides: what enters is merged in, what leaves is taken out.

Counts, sums and buckets are integers, so that what leaves is subtracted exactly. Extremes and
registers cannot be subtracted: extremes are kept in monotonic queues, registers in two stacks
(the older half as a stack of unions, the newer as one running union; Tangwongsan, Hirzel, Schneider
and Wu, "General incremental sliding-window aggregation", PVLDB 8, 2015).

A window of 60 blocks costs about what two blocks cost, instead of 60.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tables.histograms import Histogram
from tables.panes import Pane
from tables.parts import Parts
from tables.sketches import (
    NO_MOMENTS,
    REGISTERS,
    Dense,
    is_linear,
    occupancy,
    register_columns,
)

Fetch = Callable[[int], Pane | None]
"""The block that starts there, or None if it is empty."""


class _Run(Protocol):
    """The running merge of one part."""

    def push(self, start: int, part: Any) -> None: ...

    def pop(self, start: int, part: Any) -> None: ...

    def value(self) -> Any: ...


class _Buckets:
    def __init__(self) -> None:
        self._histogram = Histogram()

    def push(self, start: int, part: dict[int, int]) -> None:
        self._histogram.add(part)

    def pop(self, start: int, part: dict[int, int]) -> None:
        self._histogram.subtract(part)

    def value(self) -> Histogram:
        return self._histogram


class _Moments:
    def __init__(self) -> None:
        self._n = self._total = self._squares = self._exponent = 0
        self._lows: deque[tuple[int, float]] = deque()
        self._highs: deque[tuple[int, float]] = deque()

    def push(self, start: int, part: list[Any]) -> None:
        if not part[0]:
            return
        self._add(part, 1)
        low, high = part[4], part[5]
        while self._lows and self._lows[-1][1] >= low:
            self._lows.pop()
        self._lows.append((start, low))
        while self._highs and self._highs[-1][1] <= high:
            self._highs.pop()
        self._highs.append((start, high))

    def pop(self, start: int, part: list[Any]) -> None:
        if not part[0]:
            return
        self._add(part, -1)
        if self._lows[0][0] == start:
            self._lows.popleft()
        if self._highs[0][0] == start:
            self._highs.popleft()

    def _add(self, part: list[Any], sign: int) -> None:
        shift = self._exponent - part[3]
        if shift > 0:
            self._total <<= shift
            self._squares <<= 2 * shift
            self._exponent = part[3]
            shift = 0
        self._n += sign * part[0]
        self._total += sign * (int(part[1]) << -shift)
        self._squares += sign * (int(part[2]) << -2 * shift)

    def value(self) -> list[Any]:
        if not self._n:
            return list(NO_MOMENTS)
        return [
            self._n, self._total, self._squares, self._exponent, self._lows[0][1], self._highs[0][1],
        ]  # fmt: skip


class _Registers:
    """Which registers are filled, as a bit mask a block: a union costs next to nothing.

    ``_older[-1]`` is the union of the older blocks, ``_newer`` that of the newer ones. Ranks are only
    kept while so many registers are filled that they are needed.
    """

    def __init__(self) -> None:
        self._older: list[int] = []
        self._newer = 0
        self._masks: list[int] = []
        self._parts: deque[Any] = deque()
        self._ranks: _Ranks | None = None

    def push(self, start: int, part: dict[int, int] | bytes) -> None:
        mask = occupancy(part)
        self._newer |= mask
        self._masks.append(mask)
        self._parts.append(part)
        if self._ranks is not None:
            self._ranks.push(part)

    def pop(self, start: int, part: dict[int, int] | bytes) -> None:
        if not self._older:
            self._older = list(accumulate(reversed(self._masks), operator.or_))
            self._masks, self._newer = [], 0
        self._older.pop()
        self._parts.popleft()
        if self._ranks is not None:
            self._ranks.pop()

    def value(self) -> int | Dense:
        mask = self._older[-1] | self._newer if self._older else self._newer
        filled = mask.bit_count()
        if is_linear(filled):
            self._ranks = None
            return filled
        if self._ranks is None:
            self._ranks = _Ranks()
            for part in self._parts:
                self._ranks.push(part)
        return self._ranks.value()


class _Ranks:
    """The union of ranks: of the older blocks with what each changed in it, and of the newer."""

    def __init__(self) -> None:
        self._older: Dense = np.zeros(REGISTERS, np.uint8)
        self._undo: list[tuple[NDArray[np.uint16], Dense]] = []
        self._newer: Dense = np.zeros(REGISTERS, np.uint8)
        self._columns: list[tuple[NDArray[np.uint16], Dense]] = []

    def push(self, part: dict[int, int] | bytes) -> None:
        numbers, ranks = register_columns(part)
        self._newer[numbers] = np.maximum(self._newer[numbers], ranks)
        self._columns.append((numbers, ranks))

    def pop(self) -> None:
        if not self._undo:
            self._turn()
        numbers, before = self._undo.pop()
        self._older[numbers] = before

    def _turn(self) -> None:
        """Make the newer blocks the older ones, the oldest to be undone first."""
        for numbers, ranks in reversed(self._columns):
            before = self._older[numbers]
            higher = ranks > before
            self._undo.append((numbers[higher], before[higher]))
            self._older[numbers[higher]] = ranks[higher]
        self._columns.clear()
        self._newer[:] = 0

    def value(self) -> Dense:
        return np.maximum(self._older, self._newer)


_RUNS: dict[str, Callable[[], _Run]] = {"s": _Moments, "q": _Buckets, "d": _Registers}

_IN_HAND = 12
"""Windows of up to so many blocks keep them unpacked."""


class Roll:
    """The parts of ``[end - size, end)`` for ends that mostly go up. Times in ms."""

    def __init__(self, size: int, step: int) -> None:
        self.size = size
        self.step = step
        self._in_hand = size // step <= _IN_HAND
        self._clear(0)

    def _clear(self, start: int) -> None:
        self._start = self._end = start
        self._blocks: deque[tuple[int, Pane | Mapping[str, Any]]] = deque()
        self._counts: dict[str, int] = {}
        self._runs: dict[str, _Run] = {}

    def advance(self, end: int, fetch: Fetch) -> Parts:
        """The parts of the window that ends at ``end``; none if no block is in it.

        They are to be read only, and before the next call. Registers come in the forms that
        ``sketches.distinct`` knows, sums as integers of any size, buckets as a histogram. A block's content must be the same from when it enters to when
        it leaves.
        """
        start, blocks = end - self.size, self._blocks
        if start >= self._end or start < self._start or end < self._end:
            self._clear(start)
            blocks = self._blocks
        while blocks and blocks[0][0] < start:
            at, block = blocks.popleft()
            self._pop(at, block.columns if isinstance(block, Pane) else block)
        for at in range(self._end, end, self.step):
            pane = fetch(at)
            if pane is not None:
                columns = pane.columns
                blocks.append((at, columns if self._in_hand else pane))
                self._push(at, columns)
        self._start, self._end = start, end
        if not blocks:
            return {}
        parts: Parts = self._counts.copy()
        for name, run in self._runs.items():
            parts[name] = run.value()
        return parts

    def _push(self, start: int, columns: Mapping[str, Any]) -> None:
        counts, runs = self._counts, self._runs
        for name, part in columns.items():
            if name[0] == "n":
                counts[name] = counts.get(name, 0) + part
                continue
            run = runs.get(name)
            if run is None:
                run = runs[name] = _RUNS[name[0]]()
            run.push(start, part)

    def _pop(self, start: int, columns: Mapping[str, Any]) -> None:
        counts, runs = self._counts, self._runs
        for name, part in columns.items():
            if name[0] == "n":
                counts[name] -= part
            else:
                runs[name].pop(start, part)
