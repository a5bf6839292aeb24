"""What a surprising value looks like, in a word: for the finding, and for rules that want one kind.

Separate from the score, which knows how surprising a value is and not in what way.
"""

from __future__ import annotations

from collections.abc import Sequence

from ml.state import number, whole
from models import records

SHIFT = 5
"""Values in a row on one side of the band until a spike or dip is called a level shift."""

_SETTLED = 60
"""Values in a row after which the new side is what is usual."""

SHAPES = ("", *records.SHAPES)

_RATE = 0.01
_RARE = 0.01
"""A nought is a drop where fewer than one value in a hundred was one."""

_FAMILIAR = 1 - (1 - _RATE) ** _SETTLED
"""The share of noughts from which a drop has become what is usual: that of as many values."""


class Shape:
    """Remembers the run of values outside the band, and how often the value was nought.

    A run goes on while values stay beyond the edge of the band *as it was when the run began*: the
    band itself follows a new level within a few values. A drop goes on while values are nought, up
    to as many; meanwhile the share of noughts, which they raise, is kept below nought.
    """

    __slots__ = ("_edge", "_run", "_zeros")

    def __init__(self, run: int = 0, zeros: float = 1.0, edge: float = 0.0) -> None:
        self._run = run
        self._zeros = zeros
        self._edge = edge

    def of(self, value: float, direction: int, parts: Sequence[tuple[str, float]]) -> str:
        """The word for a value on this side of the band; parts are (context, surprise).

        "" where nothing is remarkable but the mixture.
        """
        if value == 0 and self._zeros < _RARE:
            return "drop to zero"
        direction, run = self._side(value, direction), abs(self._run)
        if direction:
            if self._run * direction > 0 and run >= SHIFT - 1:
                return "level shift"
            return "spike" if direction > 0 else "dip"
        name, most = max(parts, key=lambda part: part[1], default=("", 0.0))
        return "variance" if name == "variation" and most > 0 else ""

    def learn(self, value: float, direction: int, low: float, high: float, seen: int) -> None:
        """Take in a value, its side of the band (-1, 0, 1), the band's ends, and how many came before."""
        goes_on, share = value == 0 and self._zeros < _RARE, abs(self._zeros)
        share += max(_RATE, 1 / (seen + 2)) * ((value == 0) - share)
        self._zeros = -share if goes_on and share < _FAMILIAR else share
        direction = self._side(value, direction)
        if direction == 0 or self._run * direction <= 0:
            self._run, self._edge = 0, high if direction > 0 else low
        self._run = 0 if abs(self._run) >= _SETTLED else self._run + direction

    def dump(self) -> list[int | float]:
        """The state as plain values."""
        return [self._run, self._zeros, self._edge]

    @classmethod
    def load(cls, state: list[int | float]) -> Shape:
        """The shape that was dumped; ValueError or TypeError if it is not one."""
        run, zeros, edge = state
        return cls(whole(run, -_SETTLED, _SETTLED), number(zeros, -1), number(edge))

    def _side(self, value: float, direction: int) -> int:
        """The side the run goes on at, else the side of the band."""
        if self._run and (value > self._edge if self._run > 0 else value < self._edge):
            return 1 if self._run > 0 else -1
        return direction
