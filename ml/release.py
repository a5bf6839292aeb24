"""A track's first week against how releases usually go, hour by hour.

A new track has no past of its own to be compared with; other releases have.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import msgspec

from ml.protocol import Verdict, finite
from ml.state import DAMAGE, numbers
from ml.tail import Tail
from models.errors import StateError
from models.releases import HOUR, HOURS

LEAST = 5
"""Past releases that reached an hour until tracks are judged there."""

NAME = "release/1"
_REACH = 3.0
_PRIOR = 3.0
"""Hours of its own after which a track's level counts for half: before, it is mostly typical."""

_CLIP = 4.0
_STEADY = 0.15
"""Least deviation of an hour, in logarithms: 15 %. A few releases can agree by chance."""

_LARGEST = 700.0
"""Logarithm of about the largest number there is."""

_encode = msgspec.msgpack.Encoder().encode


class ReleaseCurve:
    """How plays an hour go after a release: mean and deviation of ln(1 + plays), by hour (0 to 167).

    A track's curve is compared after taking out its own level, so a hit and a debut share one
    shape. The level is the mean of its hours' distances so far, drawn to that of a typical release
    while there are few (James and Stein 1961); deviations are those that past releases had when
    they were judged in the same way. Means are updated by Welford's method, release by release.
    Bad at releases at another hour of the day than usual, and at what changes from year to year.
    """

    def __init__(self) -> None:
        self._seen = array("I", bytes(4 * HOURS))
        self._mean = array("d", bytes(8 * HOURS))
        self._spread = array("d", bytes(8 * HOURS))
        self._tail = Tail()

    def learn(self, counts: Sequence[float | None]) -> None:
        """Take in a past release: plays in its first, second, ... hour, None where not known.

        Raises:
            ValueError: more than 168 hours, or a count that is negative or not finite.
        """
        if len(counts) > HOURS:
            msg = f"a release has at most {HOURS} hours, not {len(counts)}"
            raise ValueError(msg)
        known = [(hour, _log(count)) for hour, count in enumerate(counts) if count is not None]
        track = ReleasedTrack(self, 0)
        for hour, value in known:
            verdict = track.judge(hour, value)
            if verdict.score is not None:
                self._tail.learn(verdict.score)
            off = value - self._mean[hour] - track.level
            if self._seen[hour]:
                self._spread[hour] += (off * off - self._spread[hour]) / self._seen[hour]
            track.take(hour, value)
        for hour, value in known:
            self._seen[hour] += 1
            self._mean[hour] += (value - self._mean[hour]) / self._seen[hour]

    def typical(self, hour: int) -> float | None:
        """Plays in an hour (0 is the first) of a release of middling size; None while unknown."""
        return _plays(self._mean[hour]) if self._knows(hour) else None

    def expected(self, hour: int, level: float) -> tuple[float, float] | None:
        """(logarithm of plays, usual deviation) for a track of this level; None while unknown."""
        if not self._knows(hour, LEAST):
            return None
        return self._mean[hour] + level, max(math.sqrt(self._spread[hour]), _STEADY)

    def mean(self, hour: int) -> float | None:
        """The mean logarithm of an hour; None where no release has reached it."""
        return self._mean[hour] if self._knows(hour) else None

    def _knows(self, hour: int, least: int = 1) -> bool:
        return 0 <= hour < HOURS and self._seen[hour] >= least

    def rarity(self, score: float) -> float:
        """The share of past releases' hours that were as far off, as :class:`ml.tail.Tail` has it."""
        return self._tail.probability(score)

    def dump(self) -> bytes:
        """The state, msgpack: about 3.5 KB."""
        parts = (self._seen, self._mean, self._spread)
        return _encode([NAME, *(part.tobytes() for part in parts), self._tail.dump()])

    @classmethod
    def load(cls, state: bytes) -> ReleaseCurve:
        """The curve that was dumped; StateError if it is not one of this version."""
        curve = cls()
        try:
            name, seen, mean, spread, tail = msgspec.msgpack.decode(state)
            if name != NAME:
                msg = f"release curve state is of {name!r}; this program reads {NAME}"
                raise StateError(msg)
            for part, held in ((curve._seen, seen), (curve._mean, mean), (curve._spread, spread)):
                part[:] = numbers(held, part.typecode, HOURS)
            curve._tail = Tail.load(tail)
        except DAMAGE as exc:
            msg = f"state of {NAME} is damaged: {exc}"
            raise StateError(msg) from exc
        return curve


class ReleasedTrack:
    """One track of the first week, held against the curve; judges and learns as detectors do.

    ``released_at``: epoch ms. ``level``: how far, in logarithms, it lies above the typical release.
    """

    def __init__(self, curve: ReleaseCurve, released_at: int) -> None:
        self._curve = curve
        self._released_at = released_at
        self._hours = 0
        self._sum = 0.0

    @property
    def level(self) -> float:
        """The logarithm of how many times the typical release's plays it has, drawn to 0."""
        return self._sum / (self._hours + _PRIOR)

    def score(self, value: float, at: int) -> Verdict:
        """Judge the plays of the hour that starts ``at`` (epoch ms). Changes nothing.

        The band is in plays, the score in usual deviations of that hour. It is None before the
        release, after the first week, and in hours that fewer than five past releases have reached.

        Raises:
            ValueError: the value is negative or not finite.
        """
        return self.judge((at - self._released_at) // HOUR, _log(value))

    def learn(self, value: float, at: int) -> None:
        """Take in the plays of the hour that starts ``at``; raises ValueError as :meth:`score`."""
        self.take((at - self._released_at) // HOUR, _log(value))

    def judge(self, hour: int, value: float) -> Verdict:
        """As :meth:`score`, of the logarithm of plays in an hour since the release."""
        expected = self._curve.expected(hour, self.level)
        if expected is None:
            return Verdict(None, None, None)
        centre, spread = expected
        low, high = centre - _REACH * spread, centre + _REACH * spread
        score = abs(value - centre) / spread
        direction = (value > high) - (value < low)
        shape = {1: "spike", -1: "dip", 0: ""}[direction] if value else "drop to zero"
        if not value and direction >= 0:
            shape = ""
        parts = (("against the typical release", score),)
        limits = (max(_plays(low), 0.0), _plays(high))
        return Verdict(score, *limits, direction, self._curve.rarity(score), parts, shape)

    def take(self, hour: int, value: float) -> None:
        """As :meth:`learn`, of the logarithm of plays in an hour since the release."""
        mean = self._curve.mean(hour)
        if mean is None:
            return
        off, expected = value - mean - self.level, self._curve.expected(hour, self.level)
        if expected is not None:
            reach = _CLIP * expected[1]
            off = min(max(off, -reach), reach)
        self._sum += off + self.level
        self._hours += 1


def _plays(logarithm: float) -> float:
    return math.expm1(min(logarithm, _LARGEST))


def _log(count: float) -> float:
    count = finite(count)
    if count < 0:
        msg = f"plays in an hour are {count:g}; there cannot be fewer than none"
        raise ValueError(msg)
    return math.log1p(count)
