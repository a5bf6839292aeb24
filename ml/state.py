"""What loaders of states share: the numbers that a state may hold, and what damage of it raises."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np

DAMAGE = (
    TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError,
)  # fmt: skip
"""What comes of taking something apart that is no state."""


_MOST = 1e301
"""What a detector's numbers stay below: they are squares, at most, of values below 1e150."""


def whole(held: Any, least: int = 0, most: int = 2**53) -> int:
    """The value, which must be an int within these; ValueError if it is none."""
    if type(held) is not int or not least <= held <= most:
        raise ValueError(f"{held!r} is no whole number from {least} to {most}")
    return held


def moment(held: Any) -> int | None:
    """An epoch ms, or None; ValueError if it is neither."""
    return None if held is None else whole(held, -(2**62), 2**62)


def number(held: Any, least: float = -_MOST, most: float = _MOST) -> float:
    """The value as a float, which must be within these; ValueError if it is not."""
    found = float(held)
    if not least <= found <= most:
        raise ValueError(f"{held!r} is no number from {least} to {most}")
    return found


def numbers(held: Any, code: str, count: int | None = None) -> array[Any]:
    """The array that the bytes hold, all finite, and ``count`` of them where that is known.

    ``code`` is as :class:`array.array` has it. ValueError or TypeError if they are not such bytes.
    """
    found: array[Any] = array(code)
    found.frombytes(held)
    if count is not None and len(found) != count:
        raise ValueError(f"{len(found)} numbers are kept, and not {count}")
    if not np.isfinite(np.frombuffer(held, dtype=code)).all():
        raise ValueError("a number is not finite")
    return found
