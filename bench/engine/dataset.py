"""What every system reads: seeded plays or metrics, and what their windows must come to.

A data set is ``events`` records over ``keys`` keys, 26,000 a second of event time (at 200,000 keys that
is 1.3 a key and window, the worst case for state), the first 2 % of every 50 up to 8 s out of order. The
Kafka timestamp is the event time. Keys are drawn evenly and partitioned as Kafka's own clients do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from aiokafka.partitioner import murmur2

PARTITIONS = 4
START = 1_760_000_000_000
"""Event time of the first record: a whole minute, so that windows of every system begin alike."""

PER_SECOND = 26_000
PANE = 10_000
"""Length of a window, ms."""

DISORDER = 8_000
GRACE = 10_000
"""For how long after its end a window takes events, ms; more than the disorder, so nothing is dropped."""

CHUNK = 20_000

PLAY = (
    b'{"event_id":"%016x","tenant_id":"demo","listener_id":"%s","track_id":"t%05d",'
    b'"artist_id":"a%04d","started_at":%d,"ms_played":%d,"track_ms":215000,"platform":"ios",'
    b'"country":"SE","source":"playlist","plan":"premium","skipped":false,"offline":false,'
    b'"error":null,"startup_ms":342}'
)
METRIC = b'{"name":"cpu","host":"%s","at":%d,"value":%d}'


class Totals(NamedTuple):
    """Count and sum by key (rows) and pane (columns)."""

    counts: np.ndarray[Any, np.dtype[np.int64]]
    sums: np.ndarray[Any, np.dtype[np.int64]]

    def differences(self, other: Totals) -> int:
        """In how many cells two totals are not the same."""
        return int(((self.counts != other.counts) | (self.sums != other.sums)).sum())


@dataclass(frozen=True)
class Dataset:
    """``payload`` is plays (300 bytes) or metrics (62 bytes)."""

    payload: str
    keys: int
    events: int
    seed: int = 1

    @property
    def prefix(self) -> str:
        """What stands before its topic's name; the topic itself is named after the payload."""
        return f"{self.keys}-{self.events}-"

    @property
    def topic(self) -> str:
        """The topic it lies in."""
        return f"{self.prefix}{self.payload}"

    @property
    def panes(self) -> int:
        """How many windows its events fall into; the disorder reaches into one before the start."""
        return self.events // (PER_SECOND * PANE // 1000) + 2

    @property
    def first_pane(self) -> int:
        """Number of the first window since the epoch."""
        return START // PANE - 1

    def _columns(self) -> Iterator[tuple[Any, Any, Any]]:
        """Key numbers, event times and values of so many records at a time."""
        rng = np.random.default_rng(self.seed)
        for first in range(0, self.events, CHUNK):
            size = min(CHUNK, self.events - first)
            numbers = np.arange(first, first + size)
            times = START + numbers * 1000 // PER_SECOND
            late = rng.random(size) < 0.02
            times = times - late * rng.integers(0, DISORDER, size)
            yield rng.integers(0, self.keys, size), times, rng.integers(0, 300_000, size)

    def records(self) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Partition, event time, key and value of every record, in order."""
        names = [b"u%06d" % n for n in range(self.keys)]
        homes = [(murmur2(name) & 0x7FFFFFFF) % PARTITIONS for name in names]
        serial = 0
        for keys, times, values in self._columns():
            for key, at, value in zip(keys.tolist(), times.tolist(), values.tolist(), strict=True):
                name = names[key]
                if self.payload == "plays":
                    serial += 1
                    track = serial * 7919 % 50_000
                    body = PLAY % (
                        serial * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF,
                        name,
                        track,
                        track // 10,
                        at,
                        value,
                    )
                else:
                    body = METRIC % (name, at, value)
                yield homes[key], at, name, body

    @cached_property
    def expected(self) -> Totals:
        """Count and sum by key and pane, computed from the columns alone."""
        cells = self.keys * self.panes
        counts, sums = np.zeros(cells, np.int64), np.zeros(cells, np.int64)
        for keys, times, values in self._columns():
            cell = keys * self.panes + times // PANE - self.first_pane
            counts += np.bincount(cell, minlength=cells)
            sums += np.bincount(cell, weights=values, minlength=cells).astype(np.int64)
        shape = (self.keys, self.panes)
        return Totals(counts.reshape(shape), sums.reshape(shape))

    def empty(self) -> Totals:
        """Totals of nothing, of this data set's shape."""
        shape = (self.keys, self.panes)
        return Totals(np.zeros(shape, np.int64), np.zeros(shape, np.int64))
