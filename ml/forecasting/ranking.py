"""Which members of the block forecaster to believe at which horizon: by how far each has been off."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RATE = 0.0175
"""Of an origin; a block's seven move the mean by an eighth."""


_TINY = 5e-324
"""The smallest number: an error of nought has all the weight."""


class Ranking:
    """Running mean absolute error of each member in each of ``bands`` of horizons.

    Weights are errors to the power of -12: where one is clearly best it is alone, where two are
    alike their mean is taken. Members join as their season becomes known. Until a block has been judged,
    member ``first`` is believed.
    """

    def __init__(self, bands: int, first: int) -> None:
        self._bands, self._first = bands, first
        self._errors = np.empty((0, bands))
        self._seen: list[int] = []

    def learn(self, errors: Floats, known: NDArray[np.bool_] | None) -> None:
        """Take in a block's errors (origins, members, bands), of which these (origins, bands) count."""
        off = np.abs(errors)
        origins, members = off.shape[:2]
        told = None
        if known is None:
            mean = off.sum(axis=0) / origins
        else:
            counts = known.sum(axis=0)
            told = counts > 0
            mean = (off * known[:, None]).sum(axis=0) / np.maximum(counts, 1)
        before = self._errors
        if len(before) < members:
            before = np.concatenate([before, mean[len(before) :]])
            self._seen += [0] * (members - len(self._seen))
        rate: Any = 1.0 - (1.0 - _RATE) ** origins
        if self._seen[-1] < origins / rate:  # the youngest still averages
            self._seen = [n + origins for n in self._seen]
            rate = np.array([max(rate, origins / n) for n in self._seen])[:, None]
        mean -= before
        mean *= rate
        mean += before
        self._errors = mean if told is None else np.where(told, mean, before)

    def weights(self) -> Floats:
        """(members, bands); they sum to 1 in each band."""
        if not len(self._errors):
            alone = np.zeros((5, self._bands))
            alone[self._first] = 1.0
            return alone
        errors = np.maximum(self._errors, _TINY)
        share: Floats = errors.min(axis=0) / errors
        share *= share
        share *= share
        share *= share * share
        share /= share.sum(axis=0)
        return share

    def dump(self) -> list[Any]:
        return [self._seen, self._errors.tobytes()]

    def restore(self, state: list[Any]) -> None:
        seen, errors = state
        self._seen = list(map(int, seen))
        self._errors = np.frombuffer(errors).reshape(len(self._seen), self._bands).copy()
