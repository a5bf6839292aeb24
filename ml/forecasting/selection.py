"""Which member to believe at which horizon: by how far each has lately been off."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.forecasting.bands import Floats

_RATE = 0.01
_SHARPNESS = 8
"""Power of the running error by which weight falls: twice the error, a 256th of the weight."""

_LEAST = 5
"""Errors that a member must have made before it is compared."""


class Selection:
    """Running mean absolute error of each of ``members`` at each of ``nodes`` horizons.

    The weights of the members at a horizon are their errors there to the power of -8: where one is
    clearly best it is alone, where two are alike their mean is taken, and nothing jumps when the
    order changes. Weighting by past performance: Bates and Granger 1969.
    """

    def __init__(self, members: int, nodes: int) -> None:
        self._seen = np.zeros((members, nodes), dtype=np.int64)
        self.errors = np.zeros((members, nodes))

    def learn(self, nodes: NDArray[np.intp], off: Floats) -> None:
        """How far each member was off (members x k) at these k nodes; NaN where it said nothing."""
        known = ~np.isnan(off)
        seen = self._seen[:, nodes] = self._seen[:, nodes] + known
        rate = np.maximum(_RATE, 1.0 / np.maximum(seen, 1))
        before = self.errors[:, nodes]
        self.errors[:, nodes] = np.where(known, before + rate * (off - before), before)

    def weights(self, able: NDArray[np.bool_]) -> Floats:
        """Weights (members x nodes), which sum to 1 at each node, of the members that are ``able``.

        Before any able member has been compared at a node, the first able one is believed there.
        """
        compared = able[:, None] & (self._seen >= _LEAST)
        errors = np.where(compared, self.errors, np.inf)
        best = errors.min(axis=0)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            ratio = np.where(errors <= best, 1.0, best / errors)
        weights = np.where(compared, ratio**_SHARPNESS, 0.0)
        weights[int(np.argmax(able)), ~compared.any(axis=0)] = 1.0
        share: Floats = weights / weights.sum(axis=0)
        return share

    def dump(self) -> list[Any]:
        """The state as plain values."""
        return [self._seen.tobytes(), self.errors.tobytes()]

    def restore(self, state: list[Any]) -> None:
        """Know what was dumped of as many members and nodes.

        Raises:
            ValueError, TypeError: it does not fit.
        """
        seen, errors = state
        self._seen[:] = np.frombuffer(seen, dtype=np.int64).reshape(self._seen.shape)
        self.errors[:] = np.frombuffer(errors).reshape(self.errors.shape)
