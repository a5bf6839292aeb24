"""Bands of horizons, which are followed together, and the ladder of quantiles kept for each."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RUNGS = (0.005, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.975, 0.995)
"""The quantiles that are followed; with them intervals of 50, 80, 90, 95 and 99 %."""

LEVELS = tuple(round(high - low, 3) for low, high in zip(RUNGS, reversed(RUNGS), strict=True))[:5]
"""The levels that can be asked for: 0.99, 0.95, 0.9, 0.8 and 0.5."""

GOLDEN, SILVER = (math.sqrt(5) - 1) / 2, math.sqrt(2) - 1
"""Irrational shares by which what is looked at moves on, of the distance between notes and of a band's
width: it comes evenly at all phases of whatever period the series has. (Every fourth slot saw three of
the twelve phases of an hour in steps of five minutes, and horizons of 12, 24 and 48 slots are all
whole hours: intervals held for those alone.)
"""


def nodes_of(horizon: int) -> Ints:
    """(bands,): the last horizon of each, in slots: 1, 2, 3, 4, 6, 8, 12, 16, ... and the very last."""
    powers = [2**k for k in range(horizon.bit_length())]
    halves = [3 * power // 2 for power in powers[1:]]
    return np.array(sorted({*(n for n in powers + halves if n < horizon), horizon}), dtype=np.int64)


def middles(nodes: Ints) -> Floats:
    """(bands,): the middle of each band, in slots; ``nodes`` as of :func:`nodes_of`."""
    middle: Floats = (np.append(0, nodes[:-1]) + 1 + nodes) / 2
    return middle


def looked_at(number: Ints, nodes: Ints) -> Ints:
    """(..., bands): the horizon of each band that origins of these numbers (...) are about."""
    first = np.append(0, nodes[:-1]) + 1
    turn = (number[..., None] * SILVER + np.arange(len(nodes)) * GOLDEN) % 1.0
    ahead: Ints = first + (turn * (nodes - first + 1)).astype(np.int64)
    return ahead
