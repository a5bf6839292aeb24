"""What a surprising value looks like, in a word: for the finding, and for rules that want one kind.

Separate from the score, which knows how surprising a value is and not in what way.
"""

from __future__ import annotations

from collections.abc import Sequence

SHIFT = 5
"""Values in a row on one side of the band until a spike or dip is called a level shift."""

SHAPES = ("", "spike", "dip", "level shift", "variance", "drop to zero")

_RATE = 0.01
_RARE = 0.01
"""A nought is a drop where fewer than one value in a hundred was one."""


class Shape:
    """Remembers the run of values outside the band, and how often the value was nought."""

    __slots__ = ("_run", "_zeros")

    def __init__(self, run: int = 0, zeros: float = 1.0) -> None:
        self._run = run
        self._zeros = zeros

    def of(self, value: float, direction: int, parts: Sequence[tuple[str, float]]) -> str:
        """The word for a value on this side of the band; parts are (context, surprise).

        "" where nothing is remarkable but the mixture.
        """
        if value == 0 and self._zeros < _RARE:
            return "drop to zero"
        if direction:
            if self._run * direction >= SHIFT - 1:
                return "level shift"
            return "spike" if direction > 0 else "dip"
        name, most = max(parts, key=lambda part: part[1], default=("", 0.0))
        return "variance" if name == "variation" and most > 0 else ""

    def learn(self, value: float, direction: int) -> None:
        """Take in a value and its side of the band."""
        self._zeros += _RATE * ((value == 0) - self._zeros)
        if direction == 0 or self._run * direction < 0:
            self._run = 0
        self._run += direction

    def dump(self) -> list[int | float]:
        """The state as plain values."""
        return [self._run, self._zeros]
