"""A bounded sample of listeners, each with the latest vector, the same whatever order they come in."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.segmenting.scaling import Array

DAY = 86_400_000
SIZE = 2_048
KEPT_MS = 35 * DAY
"""Who was not seen for so long is no listener any more."""


class Sample:
    """The listeners whose hashes are least (Broder's bottom-k sketch, 1997): each had the same chance.

    A vector a listener and UTC day is taken; so what learns from the sample learns from listeners,
    not from the hours that they spend.
    """

    __slots__ = ("_largest", "_rows")

    def __init__(self) -> None:
        self._rows: dict[int, tuple[int, NDArray[np.float32]]] = {}
        self._largest = -1

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, listener: str, vector: Array, at: int) -> bool:
        """Keep a vector (d,) of ``at`` (epoch ms); whether it was kept.

        It is if the listener belongs to the sample and it is the day's first.
        """
        rank = int.from_bytes(blake2b(listener.encode(), digest_size=8).digest(), "big")
        known = self._rows.get(rank)
        if known is None and len(self._rows) >= SIZE:
            if rank > self._largest:
                return False
            del self._rows[self._largest]
            self._largest = max(self._rows)
        elif known is not None and at // DAY <= known[0] // DAY:
            return False
        self._rows[rank] = (at, vector.astype(np.float32))
        self._largest = max(self._largest, rank)
        return True

    def forget(self, at: int) -> None:
        """Drop those not seen for ``KEPT_MS`` before a time (epoch ms)."""
        self._rows = {rank: row for rank, row in self._rows.items() if row[0] >= at - KEPT_MS}
        self._largest = max(self._rows, default=-1)

    def points(self) -> Array:
        """(listeners, d): the vectors, in the order of the hashes; (0,) of none."""
        return np.array([self._rows[rank][1] for rank in sorted(self._rows)], np.float64)

    def dump(self) -> list[Any]:
        """The state as plain values."""
        ranks = sorted(self._rows)
        times = [self._rows[rank][0] for rank in ranks]
        return [ranks, times, self.points().astype(np.float32).tobytes()]

    @classmethod
    def load(cls, state: list[Any], size: int) -> Sample:
        """The sample of vectors of ``size`` that was dumped.

        Raises:
            ValueError, TypeError, OverflowError: it is none.
        """
        ranks, times, points = state
        vectors = np.frombuffer(points, np.float32).reshape(len(ranks), size).copy()
        sample = cls()
        sample._rows = {
            int(rank): (int(at), vector)
            for rank, at, vector in zip(ranks, times, vectors, strict=True)
        }
        sample._largest = max(sample._rows, default=-1)
        return sample
