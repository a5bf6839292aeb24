"""The simulation: records in the order of their arrival, for any span of time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulate.config import SimulationConfig
from simulate.draw import (
    LONGEST_SESSION,
    ROW,
    SUPPRESSED,
    Rows,
    draw_slice,
    reach,
)
from simulate.encoding import Encoder, Event
from simulate.labels import Tally
from simulate.world import World


class Simulation:
    """A service that the seed and the configuration determine to the byte.

    A record belongs to a span by its *arrival*. ``events(a, b)`` followed by ``events(b, c)`` gives
    exactly ``events(a, c)``, wherever one starts: each slice of time has its own random numbers.
    """

    def __init__(self, seed: int, config: SimulationConfig) -> None:
        if seed < 0:
            msg = f"seed {seed} is negative; any whole number from 0 will do"
            raise ValueError(msg)
        self.seed = seed
        self.config = config
        self.world = World(seed, config)
        self._encoder = Encoder(self.world, f"{seed:x}-")

    def events(self, start: int, end: int, tally: Tally | None = None) -> Iterator[Event]:
        """The records that arrive in ``[start, end)``, in that order; counted into ``tally``."""
        for rows in self.rows(start, end):
            if tally is not None:
                tally.count(rows)
            yield from self.encode(rows)

    def encode(self, rows: Rows) -> Iterator[Event]:
        """The records of rows, without the suppressed ones."""
        return self._encoder.encode(rows[rows["kind"] != SUPPRESSED])

    def rows(self, start: int, end: int) -> Iterator[Rows]:
        """The same, undecoded and with the suppressed plays, a slice at a time."""
        length = self.config.slice_ms
        waiting = np.zeros(0, dtype=ROW)
        for number in range((start - reach(self.config)) // length, -(-end // length)):
            until = (number + 1) * length
            drawn = self._draw(number)
            waiting = np.concatenate([waiting, drawn[drawn["arrival"] >= start]])
            due = waiting["arrival"] < min(until, end)
            ready, waiting = waiting[due], waiting[~due]
            if len(ready):
                order = np.lexsort(
                    (ready["kind"], ready["number"], ready["slice"], ready["arrival"])
                )
                yield ready[order]

    def _draw(self, number: int) -> Rows:
        start = number * self.config.slice_ms
        horizon = start + self.config.slice_ms + LONGEST_SESSION
        near = [
            (n, i)
            for n, i in enumerate(self.config.incidents)
            if i.start < horizon and i.end > start
        ]
        rng = np.random.default_rng([self.seed, 1, number])
        return draw_slice(rng, self.world, start, near)
