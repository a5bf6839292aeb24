"""Which new centre is which old one, so that a segment stays the segment that it was."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from ml.segmenting.scaling import Array


def matched(old: Array, new: Array) -> list[int | None]:
    """For each new centre (k, d) the row of the old one (m, d) that it continues, or None: it is new.

    A list of k; both in the same scale.

    Pairs have the least sum of distances (Kuhn 1955). A pair further apart than the old centre was
    from its own nearest neighbour is none: it would rather be the neighbour.
    """
    if not len(old):
        return [None] * len(new)
    apart = np.sqrt(((old[:, None, :] - new[None, :, :]) ** 2).sum(axis=2))
    between = np.sqrt(((old[:, None, :] - old[None, :, :]) ** 2).sum(axis=2))
    np.fill_diagonal(between, np.inf)
    reach = between.min(axis=1)
    found: list[int | None] = [None] * len(new)
    for row, column in zip(*linear_sum_assignment(apart), strict=True):
        if apart[row, column] <= reach[row]:
            found[int(column)] = int(row)
    return found
