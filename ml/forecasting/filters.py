"""The members of the block forecaster: fixed linear filters of the last values, as matrices.

What a member says is a weighted sum of the last :data:`WINDOW` values of a row, and what a season ago
adds to it. So all members speak at all origins of a block by one product of matrices, which is
what makes a block cost as much as one call of one estimator that learns value by value.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ml.forecasting.bands import Floats, Ints, looked_at, middles, nodes_of
from ml.forecasting.protocol import Seasons

WINDOW = 64
"""Values that a filter sees."""

MEDIAN_OF = 255
"""Values whose median is a member, where no season is taken off."""

ORIGINS = 7
"""Origins in a block, evenly spread, from which each member's forecasts are held against what came."""

PACES = (1, 2, 4)
"""Blocks that can be learned at once."""

_FAST, _SLOW = 0.3, 0.03
_TURNS = 64
"""Blocks after which the order in which horizons are looked at comes again."""

ROWS = ("", "season", "week")
"""What is taken off a value before the filters see it: nothing, the exponential mean of its slot of the
season (a day's, where it has slots), or the value of a week ago."""

FILTERS = ("", "last", "fast_level", "slow_level")
"""What is added to it again: nothing (of the values themselves their median), the last distance from
it, or an exponential mean of the distances (rates 0.3 and 0.03)."""

LAST = 2
"""The member that says the last value again."""


def member_names() -> list[str]:
    """``line``, the least-squares line through the window, and each filter of each row."""
    pairs = ["+".join(filter(None, (row, each))) for row in ROWS for each in FILTERS]
    return ["line", pairs[0] or "median", *pairs[1:]]


class Bank(NamedTuple):
    """Filters and horizons for one horizon and spacing; O origins, n bands, H slots.

    ``block`` slots from one block's first origin to the next one's, a prime of at least H: origins
    come at every phase of any shorter period. ``origins`` (O) of the blocks that are learned at once,
    counted from the first; ``taps`` (W + origins[-1], 5 O) and ``now`` (W, 5): what filters give at each
    of them, and at the end: last, fast, slow, level and slope of the line. ``ahead`` (turns, O, n): the
    horizon of each band that is looked at. ``nodes`` (n) last horizons of the bands, ``band`` (H) each slot's
    band, ``spread`` (n, H): from a value a band to one a slot. ``slots`` (H): 1 to H. ``lags``: the
    seasons of rows 1 and 2 in slots, or fewer. ``together`` origins take the median that the first of
    them knew: those of a window.
    """

    block: int
    origins: Ints
    taps: Floats
    now: Floats
    ahead: Ints
    nodes: Ints
    band: NDArray[np.intp]
    spread: Floats
    slots: Ints
    lags: tuple[int, ...]
    together: int


@lru_cache(maxsize=64)
def bank_of(horizon: int, seasons: Seasons, pace: int = 1) -> Bank:
    """The filters for a horizon of so many slots and ``pace`` blocks at once; made once, never written to."""
    block = _prime(horizon)
    origins = np.arange(pace * ORIGINS, dtype=np.int64) * block // ORIGINS
    now = _filters()
    taps = np.zeros((WINDOW + int(origins[-1]), 5, len(origins)))
    for place, origin in enumerate(origins.tolist()):
        taps[origin : origin + WINDOW, :, place] = now
    nodes = nodes_of(horizon)
    ahead = looked_at(np.arange(_TURNS * ORIGINS).reshape(-1, len(origins)), nodes)
    slots = np.arange(1, horizon + 1)
    identity = np.eye(len(nodes))
    spread = np.stack([np.interp(slots, middles(nodes), row) for row in identity])
    day, week = seasons.shortest, seasons.week if seasons.day else None
    lags = tuple(lag for lag in (day, week) if lag)
    return Bank(
        block,
        origins,
        taps.reshape(len(taps), -1),
        now,
        ahead,
        nodes,
        np.searchsorted(nodes, slots),
        spread,
        slots,
        lags,
        max(1, WINDOW * ORIGINS // block),
    )


def _filters() -> Floats:
    """(window, 5): the newest value last."""
    age = np.arange(WINDOW)[::-1]
    last = np.where(age == 0, 1.0, 0.0)
    means = [(1 - rate) ** age for rate in (_FAST, _SLOW)]
    line = np.linalg.pinv(np.stack([np.ones(WINDOW), -age], axis=1))
    return np.stack([last, *(mean / mean.sum() for mean in means), *line], axis=1)


def _prime(least: int) -> int:
    """The smallest prime that is at least that, and at least ``ORIGINS``."""
    number = max(least, ORIGINS)
    while any(number % each == 0 for each in range(2, math.isqrt(number) + 1)):
        number += 1
    return number
