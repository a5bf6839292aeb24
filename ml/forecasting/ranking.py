"""Which members of the block forecaster to believe at which horizon: by how far each has been off."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.forecasting.bands import Floats
from ml.forecasting.filters import FILTERS, LAST

_RATE = 0.0175
"""Of an origin; a block's seven move the mean by an eighth."""

_TINY = 5e-324
"""The smallest number: an error of nought has all the weight."""


class Ranking:
    """Running mean absolute error of each member in each of ``bands`` of horizons.

    Weights are errors to the power of -12: where one is clearly best it is alone, where two are
    alike their mean is taken. Members join as their season becomes known, and count in a band once
    they have been judged in it. Where none has been, the last value is believed.

    Source: weighting by past performance, Bates and Granger 1969; the power is our own choice.
    """

    def __init__(self, bands: int) -> None:
        self._errors = np.zeros((1 + len(FILTERS), bands))
        self._seen = np.zeros((1 + len(FILTERS), bands))
        self._steady = False

    def learn(self, errors: Floats, known: NDArray[np.bool_] | None) -> None:
        """Take in errors (origins, members, bands) in the series' unit.

        ``known`` (origins, bands): which of them count; None: all.
        """
        off = np.abs(errors)
        origins, members = off.shape[:2]
        if len(self._errors) < members:
            more = ((0, members - len(self._errors)), (0, 0))
            self._errors, self._seen = np.pad(self._errors, more), np.pad(self._seen, more)
            self._steady = False
        rate: Any = 1.0 - (1.0 - _RATE) ** origins
        if known is None:
            mean = off.sum(axis=0) / origins
            counts: Any = origins
        else:
            counts = known.sum(axis=0)
            mean = (off * known[:, None]).sum(axis=0) / np.maximum(counts, 1)
            rate = 1.0 - (1.0 - _RATE) ** counts
        if not self._steady:
            self._seen += counts
            rate = np.maximum(rate, counts / np.maximum(self._seen, 1))
            self._steady = bool((self._seen * _RATE >= 1.0).all())
        mean -= self._errors
        mean *= rate
        self._errors += mean

    def weights(self) -> Floats:
        """(members, bands); they sum to 1 in each band."""
        errors = np.maximum(self._errors, _TINY)
        if not self._steady:
            judged = self._seen > 0
            errors[~judged] = np.inf
            errors[LAST, ~judged.any(axis=0)] = 1.0
        share: Floats = errors.min(axis=0) / errors
        share *= share
        share *= share
        share *= share * share
        share /= share.sum(axis=0)
        return share

    def dump(self) -> list[Any]:
        """The state as plain values."""
        return [self._seen.tobytes(), self._errors.tobytes()]

    def restore(self, state: list[Any]) -> None:
        """Know what was dumped of as many bands.

        Raises:
            ValueError, TypeError: it is of other bands or members, or not finite.
        """
        bands = self._errors.shape[1]
        seen, errors = (np.frombuffer(part).reshape(-1, bands).copy() for part in state)
        if seen.shape != errors.shape or (len(seen) - 1) % len(FILTERS) or len(seen) < 5:
            raise ValueError(f"{len(errors)} members have errors, {len(seen)} have been judged")
        if not (np.isfinite(errors) & (errors >= 0) & np.isfinite(seen) & (seen >= 0)).all():
            raise ValueError("members' errors are not finite")
        self._seen, self._errors = seen, errors
        self._steady = bool((seen * _RATE >= 1.0).all())
