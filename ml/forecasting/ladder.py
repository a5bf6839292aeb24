"""Prediction intervals of the block forecaster: quantiles of its errors, moved by its misses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.forecasting.bands import RUNGS, Floats
from ml.forecasting.filters import ORIGINS
from ml.state import whole

_RUNGS = np.array(RUNGS)
_MIDDLE = RUNGS.index(0.5)
_KEPT = 28 * ORIGINS
_AT_ONCE = 3 * ORIGINS
"""Errors that are all looked at; of more, the latest half, up to ``_KEPT``."""

_LOWEST = np.where(_RUNGS < 0.5, 0.0, 0.5)
_HIGHEST = np.where(_RUNGS > 0.5, 1.0, 0.5)
_STEP = np.where(_RUNGS == 0.5, 0.0, 0.0125)
"""Of an outcome; the median does not move."""

_ALIKE = 0.3
"""Power of the number of outcomes that overlap by which each moves less: they are alike, and would send
places to their ends, from which they can only come back."""


class Ladder:
    """Quantiles of errors, one ladder of :data:`RUNGS` for each band, learned in blocks.

    ``overlap`` (bands): how many outcomes of a band are about the same time; at least 1. ``known``
    (bands): how many of the errors that quantiles were last read off are known.

    Source: adaptive conformal inference, Gibbs and Candès 2021. A quantile is read off the last 196
    errors of its band (the latest half while there are few), not at its rung but at a place that moves
    up by ``step * rung`` for every value that lay above what had been issued and down by ``step * (1 - rung)``
    for every other. Places stay in [0, 1], which reaches beyond the errors by a part in 197 of their
    range: further, they would take hundreds of outcomes to come back after a run of misses, for which
    coverage is a little less than promised. The median stays in the middle, and the others on their
    sides of it.
    """

    def __init__(self, overlap: Floats) -> None:
        bands = len(overlap)
        self._seen = 0
        self.known = np.zeros(bands, dtype=np.int64)
        self._unknown_at = -_KEPT
        self._step = _STEP / overlap[:, None] ** _ALIKE
        self._places = np.tile(_RUNGS, (bands, 1))
        self._errors = np.full((bands, _KEPT), np.nan)

    def learn(self, off: Floats, issued: Floats, known: NDArray[np.bool_] | None) -> None:
        """Take in errors (origins, bands) and the quantiles issued for them (bands, rungs).

        Both in the series' unit. ``known`` (origins, bands): which errors count; None: all.

        Origins are those of 1, 2 or 4 blocks; of several, from a multiple of as many on.
        """
        held = np.empty((*off.shape, len(RUNGS)), dtype=np.bool_)
        each = off[:, :, None]
        np.less(each, issued[:, :_MIDDLE], out=held[:, :, :_MIDDLE])
        np.less_equal(each, issued[:, _MIDDLE:], out=held[:, :, _MIDDLE:])
        count: Any = len(off)
        if known is not None:
            self._unknown_at = self._seen
            off = np.where(known, off, np.nan)
            held &= known[:, :, None]
            count = known.sum(axis=0)[:, None]
        if self._seen:
            # Where all is known exactly, every quantile is the same and hits say nothing of where.
            told = issued[:, :1] < issued[:, -1:]
            move = _RUNGS * count - held.sum(axis=0)
            move *= self._step * told
            move += self._places
            np.minimum(np.maximum(move, _LOWEST, out=move), _HIGHEST, out=self._places)
        place = self._seen % _KEPT
        self._errors[:, place : place + len(off)] = off.T
        self._seen += len(off)

    def quantiles(self) -> Floats:
        """(bands, rungs), rising: how far above its point a value will be. Nought before any error."""
        kept = min(max(self._seen // 2, min(self._seen, _AT_ONCE)), _KEPT)
        self.known[:] = kept
        if not kept:
            return np.zeros(self._places.shape)
        errors = self._errors
        if kept < _KEPT:
            errors = errors[:, (self._seen - 1 - np.arange(kept)) % _KEPT]
        count: Any = kept
        if self._seen - self._unknown_at <= _KEPT:
            self.known -= np.isnan(errors).sum(axis=1)
            count = self.known[:, None]
        places = self._places.copy()
        places.sort(axis=1)
        return _read(errors, places, count)

    def dump(self) -> list[Any]:
        """The state as plain values."""
        errors = self._errors[:, : min(self._seen, _KEPT)]
        parts = (self.known, self._places, errors)
        return [self._seen, self._unknown_at, *(part.tobytes() for part in parts)]

    def restore(self, state: list[Any], seen: int) -> None:
        """Know what :meth:`dump` gave after ``seen`` origins.

        Raises:
            ValueError, TypeError, LookupError: it is of other origins or bands, or damaged.
        """
        if state[0] != seen:
            raise ValueError(f"quantiles are of {state[0]} origins, and {seen} have been judged")
        self._seen, self._unknown_at = seen, whole(state[1], -_KEPT, seen)
        self.known[:] = np.frombuffer(state[2], dtype=np.int64)
        self._places[:] = np.frombuffer(state[3]).reshape(self._places.shape)
        held = self._errors[:, : min(seen, _KEPT)]
        held[:] = np.frombuffer(state[4]).reshape(held.shape)
        if not ((self._places >= _LOWEST) & (self._places <= _HIGHEST)).all():
            raise ValueError("places are not on their sides of the middle")
        if ((self.known < 0) | (self.known > seen)).any() or np.isinf(held).any():
            raise ValueError("errors are not finite, or more are known than have been")


def _read(errors: Floats, places: Floats, count: Any) -> Floats:
    """Errors (bands, n), of which ``count`` are known, at places in [0, 1] (bands, rungs).

    0 and 1 lie beyond them all, by a part in count + 1 of their range; nought where none is known.
    """
    reach = np.zeros((len(errors), errors.shape[1] + 2))
    inner = reach[:, 1:-1]
    inner[:] = errors
    inner.sort(axis=1)  # what is not known stands last
    flat, row = reach.ravel(), np.arange(0, reach.size, reach.shape[1])[:, None]
    if isinstance(count, int):
        low, high = reach[:, 1:2], reach[:, count : count + 1]
        beyond = (high - low) / (count + 1)
        reach[:, :1], reach[:, count + 1 :] = low - beyond, high + beyond
    else:
        top, some = row + count, count > 0
        low, high = np.where(some, flat[row + 1], 0.0), np.where(some, flat[top], 0.0)
        beyond = (high - low) / (count + 1)
        flat[row], flat[top + 1] = low - beyond, high + beyond
    place = places * (count + 1)
    below = np.minimum(place.astype(np.intp), count)
    place -= below
    below += row
    start = flat.take(below)
    below += 1
    ladder: Floats = flat.take(below)
    ladder -= start
    ladder *= place
    ladder += start
    return ladder
