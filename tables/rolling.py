"""The content of a window that slides: what enters is merged in, what leaves is taken out.

Counts, sums and buckets are integers, so that what leaves is subtracted exactly. Extremes and
registers cannot be subtracted: extremes are kept in monotonic queues, registers in two stacks
(a queue's aggregate: the older half as a stack of unions, the newer as one running union; Tangwongsan,
Hirzel, Schneider and Wu, "General incremental sliding-window aggregation", PVLDB 8, 2015), where the
older stack is one row of registers and a log of what each block had changed in it.

A window of 60 blocks costs about what two blocks cost, instead of 60.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tables.panes import Pane
from tables.parts import Parts
from tables.sketches import REGISTERS, Dense, register_columns, wire_int

Fetch = Callable[[int], Pane | None]
"""The block that starts there, or None if it is empty."""


class _Run(Protocol):
    """The running merge of one part."""

    def push(self, start: int, part: Any) -> None: ...

    def pop(self, start: int, part: Any) -> None: ...

    def value(self) -> Any: ...


class _Counts:
    def __init__(self) -> None:
        self._total = 0

    def push(self, start: int, part: int) -> None:
        self._total += part

    def pop(self, start: int, part: int) -> None:
        self._total -= part

    def value(self) -> int:
        return self._total


class _Buckets:
    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def push(self, start: int, part: dict[int, int]) -> None:
        counts = self._counts
        get = counts.get
        for key, count in part.items():
            counts[key] = get(key, 0) + count

    def pop(self, start: int, part: dict[int, int]) -> None:
        counts = self._counts
        for key, count in part.items():
            left = counts[key] - count
            if left:
                counts[key] = left
            else:
                del counts[key]

    def value(self) -> dict[int, int]:
        return self._counts


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
        for extremes in (self._lows, self._highs):
            if extremes[0][0] == start:
                extremes.popleft()

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
        total, squares = wire_int(self._total), wire_int(self._squares)
        return [
            self._n, total, squares, self._exponent, self._lows[0][1], self._highs[0][1],
        ]  # fmt: skip


class _Registers:
    """Two stacks: ``_front`` is the union of the older blocks, ``_back`` that of the newer ones."""

    def __init__(self) -> None:
        self._front: Dense | None = None
        self._undo: list[tuple[int, NDArray[np.uint16], Dense]] = []
        self._back: Dense | None = None
        self._newer: list[tuple[int, NDArray[np.uint16], Dense]] = []

    def push(self, start: int, part: dict[int, int] | bytes) -> None:
        numbers, ranks = register_columns(part)
        if self._back is None:
            self._back = np.zeros(REGISTERS, np.uint8)
        self._back[numbers] = np.maximum(self._back[numbers], ranks)
        self._newer.append((start, numbers, ranks))

    def pop(self, start: int, part: dict[int, int] | bytes) -> None:
        if not self._undo:
            self._turn()
        _, numbers, before = self._undo.pop()
        assert self._front is not None  # noqa: S101 - turned above
        self._front[numbers] = before

    def _turn(self) -> None:
        """Make the newer blocks the older stack, the oldest on top."""
        front = np.zeros(REGISTERS, np.uint8) if self._front is None else self._front
        for start, numbers, ranks in reversed(self._newer):
            before = front[numbers]
            higher = ranks > before
            numbers = numbers[higher]  # noqa: PLW2901  the same, without those that change nothing
            self._undo.append((start, numbers, before[higher]))
            front[numbers] = ranks[higher]
        self._front, self._back, self._newer = front, None, []

    def value(self) -> Dense:
        if self._back is None or not self._undo:
            whole = self._front if self._back is None else self._back
            assert whole is not None  # noqa: S101 - there is something, or nobody asks
            return whole
        assert self._front is not None  # noqa: S101 - something can be undone
        return np.maximum(self._front, self._back)


_RUNS: dict[str, Callable[[], _Run]] = {
    "n": _Counts,
    "s": _Moments,
    "q": _Buckets,
    "d": _Registers,
}


class Roll:
    """The parts of ``[end - size, end)`` for ends that mostly go up. Times in ms."""

    def __init__(self, size: int, step: int) -> None:
        self.size = size
        self.step = step
        self._clear(0)

    def _clear(self, start: int) -> None:
        self._start = self._end = start
        self._blocks: deque[tuple[int, Pane]] = deque()
        self._runs: dict[str, _Run] = {}
        self._present: dict[str, int] = {}

    def advance(self, end: int, fetch: Fetch) -> Parts:
        """The parts of the window that ends at ``end``.

        They are to be read only, and before the next call; registers come as one row. A block's
        content must be the same from when it enters to when it leaves.
        """
        start = end - self.size
        if start >= self._end or start < self._start or end < self._end:
            self._clear(start)
        while self._blocks and self._blocks[0][0] < start:
            self._pop(*self._blocks.popleft())
        for at in range(self._end, end, self.step):
            pane = fetch(at)
            if pane is not None:
                self._blocks.append((at, pane))
                self._push(at, pane)
        self._start, self._end = start, end
        return {name: self._runs[name].value() for name in self._present}

    def _push(self, start: int, pane: Pane) -> None:
        for name, part in pane.columns.items():
            run = self._runs.get(name)
            if run is None:
                run = self._runs[name] = _RUNS[name[0]]()
            run.push(start, part)
            self._present[name] = self._present.get(name, 0) + 1

    def _pop(self, start: int, pane: Pane) -> None:
        for name, part in pane.columns.items():
            self._runs[name].pop(start, part)
            left = self._present[name] - 1
            if left:
                self._present[name] = left
            else:
                del self._present[name], self._runs[name]
