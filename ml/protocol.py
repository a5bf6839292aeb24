"""What a detector must be, and what it says of a value. Those there are: :mod:`ml.registry`."""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

LARGEST = 1e150
"""Values are judged as if they were not beyond this, so that they may be squared."""


class Verdict(NamedTuple):
    """What a detector thinks of one value before it learns it.

    ``score``: unbounded surprise, 0 is perfectly normal; None while learning. Its unit is the
    detector's own, deviations for most. ``low``/``high``: the band it expected, in the series' unit
    (None while learning). ``direction``: sign of value against the band, -1, 0, 1.
    ``tail``: calibrated probability of a surprise this large, or None. ``contributions``: how much
    each context (name) added to the score. ``shape``: what it looks like, one of
    :data:`ml.shape.SHAPES`, "" where the detector does not say.
    """

    score: float | None
    low: float | None
    high: float | None
    direction: int = 0
    tail: float | None = None
    contributions: tuple[tuple[str, float], ...] = ()
    shape: str = ""


class Detector(Protocol):
    """An online detector of one series: score first, then learn; one owner; bounded memory.

    Given the same calls it gives the same answers, also after ``load(dump())`` at any point.
    Not-finite input raises ValueError in both; the caller keeps gaps away from it.
    """

    name: str
    """The name it is configured by, with its state's version: ``novelty/4``."""

    def score(self, value: float, at: int) -> Verdict:
        """Judge a value of the window that starts ``at`` (epoch ms). Changes nothing."""
        ...

    def learn(self, value: float, at: int) -> None:
        """Take the value in. ``at`` never goes back."""
        ...

    def dump(self) -> bytes:
        """Explicit, versioned state (msgpack; no pickle)."""
        ...


def finite(value: float) -> float:
    """The value, within what may be squared; ValueError if it is not finite."""
    value = float(value)
    if not math.isfinite(value):
        msg = f"a detector takes finite values, not {value}; keep gaps away from it"
        raise ValueError(msg)
    return min(max(value, -LARGEST), LARGEST)
