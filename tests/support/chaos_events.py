"""What the chaos worker is given, and what must come of it: both from a seed, the answer by a plain loop."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.flush import partition_of

PARTITIONS = 4
KEYS = 500
PANE = 10_000
"""Milliseconds of event time that are counted together."""

SPAN = 600_000
"""Milliseconds of event time that all events lie in, out of order by up to half a minute."""

POISON = b"poison"
BEGIN = 1_700_000_000_000


class Event(NamedTuple):
    """One record of the source: where it goes, and what is in it."""

    partition: int
    key: bytes
    value: bytes
    at: int
    amount: int


class Place(NamedTuple):
    """Where a record lies in the source."""

    partition: int
    offset: int


Sums = dict[str, tuple[int, int]]
"""Count and sum of amounts by key (or by ``key|pane``)."""


@dataclass
class Expected:
    """The answer: totals and panes by key, dead letters by place, records by partition."""

    tally: Sums = field(default_factory=dict)
    panes: Sums = field(default_factory=dict)
    dead: set[Place] = field(default_factory=set)
    ends: list[int] = field(default_factory=lambda: [0] * PARTITIONS)


@dataclass(frozen=True)
class Plan:
    """So many events of a seed; those with the indices ``poison`` cannot be decoded."""

    seed: int
    events: int
    poison: frozenset[int] = frozenset()

    def make(self, begin: int = 0, end: int | None = None) -> Iterator[Event]:
        """The events ``[begin, end)``; any part is the same whichever way it is asked for."""
        end = self.events if end is None else end
        step = 50_000
        for block in range(begin // step, -(-end // step)):
            first = block * step
            rng = np.random.default_rng([self.seed, block])
            # Some keys are ten times as busy as others; every amount is a small integer.
            keys = (KEYS * rng.random(step) ** 1.5).astype(int).tolist()
            amounts = rng.integers(1, 100, step).tolist()
            jitter = rng.integers(-30_000, 30_000, step).tolist()
            for i in range(max(begin - first, 0), min(end - first, step)):
                at = BEGIN + (first + i) * SPAN // self.events + jitter[i]
                partition, key = KEY_PLACES[keys[i]]
                value = b'{"at":%d,"amount":%d}' % (at, amounts[i])
                if first + i in self.poison:
                    value = POISON
                yield Event(partition, key, value, at, amounts[i])

    def expected(
        self, *, lost: Collection[Place] = (), broken_key: bytes | None = None
    ) -> Expected:
        """The answer of a loop over the same events.

        Args:
            lost: places that retention took away before anybody read them.
            broken_key: every record of this key is a dead letter.
        """
        answer = Expected()
        lost = frozenset(lost)
        tally: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        panes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for event in self.make():
            place = Place(event.partition, answer.ends[event.partition])
            answer.ends[event.partition] += 1
            if lost and place in lost:
                continue
            if event.value == POISON or event.key == broken_key:
                answer.dead.add(place)
                continue
            key = event.key.decode()
            for sums in (tally[key], panes[f"{key}|{event.at // PANE}"]):
                sums[0] += 1
                sums[1] += event.amount
        answer.tally = {key: (n, total) for key, (n, total) in tally.items()}
        answer.panes = {key: (n, total) for key, (n, total) in panes.items()}
        return answer


def _key(number: int) -> bytes:
    return b"key-%03d" % number


KEY_PLACES = [(partition_of(_key(n), PARTITIONS), _key(n)) for n in range(KEYS)]
"""Partition and name of each key: where Kafka's own partitioner would put it."""


def instants(seed: int, count: int, begin: float = 0.05, end: float = 0.9) -> list[float]:
    """So many random shares of the work, one in each equal part of ``[begin, end]``, in order."""
    rng = random.Random(seed)
    width = (end - begin) / count
    return [begin + (k + rng.random()) * width for k in range(count)]
