"""The detector that ships: the rate of novelty over coarse cells, as a River anomaly detector.

Surprise is not distance from a mean but the rate at which a series visits states it has rarely
been in, against the rate it usually does: no distribution is assumed, a daily or weekly curve
becomes normal by being repeated, and a noisy series stays calm.

Bad at: an absence that looks like a state it knows well (a silence between bursts that lasts too
long); a third anomaly just like the two before; bursts in a stream that is nearly always nought,
until it has seen some; values whose fine differences matter less than 1/16 of their range.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import msgspec

from ml.band import Band
from ml.context import Context, grown
from ml.estimator import SeriesEstimator
from ml.profile import Profile
from ml.protocol import Verdict, finite
from ml.rate import Rate, spans, width
from ml.shape import Shape
from ml.spacing import Spacing
from ml.state import DAMAGE, number, whole
from ml.tail import Tail
from models.errors import StateError

NAME = "novelty/4"
MIN_SAMPLES = 30
"""Values until the first score."""

CONTEXTS = (
    "value", "value at this time of day", "level", "variation", "jump",
    "against this hour of the week",
)  # fmt: skip
"""What is counted: the value; its magnitude by 3-hour bucket of the UTC day; its exponential mean;
its mean absolute deviation from that; its distance from the last mean; its distance from what this
hour of the week usually brings."""

_BUCKETS = (1, 8, 1, 1, 1, 1)
_BUCKET_MS = 10_800_000
LEVEL_RATE = 0.1
TRUST = 150
"""Points after which half of a surprise is believed: the young are surprised by everything."""

_LARGEST = 1e300
"""Most first values that a magnitude tells apart: a quotient must stay finite."""

_encode = msgspec.msgpack.Encoder().encode


class _Judged(NamedTuple):
    """One value seen by all contexts: what :meth:`score` found and :meth:`learn` counts."""

    value: float
    at: int
    quantities: tuple[float, ...]
    bucket: int
    novelties: list[float | None]
    parts: list[float]
    total: float


class NoveltyDetector(SeriesEstimator):
    """Online detector of one series; see :class:`ml.protocol.Detector`.

    ``score`` is the mean over the contexts of their surprise, in deviations of a series of minutes
    (:mod:`ml.spacing`): below 1 nearly always, above 3 hardly ever without a cause. As a River estimator it takes
    ``{"value": float, "at": epoch ms}`` and scores 0.0 while it learns.
    """

    name: ClassVar[str] = NAME

    def __init__(self, min_n_samples: int = MIN_SAMPLES) -> None:
        self.min_n_samples = min_n_samples
        self._seen = 0
        self._weight = 1.0
        self._unit = 0.0
        self._level = 0.0
        self._variation = 0.0
        self._band = Band()
        self._profile = Profile()
        self._spacing = Spacing()
        self._tail = Tail()
        self._shape = Shape()
        self._contexts = [Context(buckets) for buckets in _BUCKETS]
        self._rates = [Rate() for _ in _BUCKETS]
        self._last: _Judged | None = None

    def score(self, value: float, at: int) -> Verdict:
        """Judge a value of the window that starts ``at`` (epoch ms); changes nothing.

        Raises:
            ValueError: the value is not finite.
        """
        value = finite(value)
        if self._seen < self.min_n_samples:
            return Verdict(None, None, None)
        judged = self._judge(value, at)
        low, high = self._band.limits()
        direction = (value > high) - (value < low)
        tail = self._tail.probability(judged.total)
        parts = tuple(zip(CONTEXTS, judged.parts, strict=True))
        shape = self._shape.of(value, direction, parts)
        return Verdict(judged.total, low, high, direction, tail, parts, shape)

    def learn(self, value: float, at: int) -> None:
        """Take a value in; ``at`` never goes back.

        Raises:
            ValueError: the value is not finite.
        """
        value = finite(value)
        judged = self._judge(value, at)
        weight, seen = self._weight, self._seen
        short, longs = width(seen), spans(seen)
        settling = seen < MIN_SAMPLES
        for context, rate, quantity, novelty in zip(
            self._contexts, self._rates, judged.quantities, judged.novelties, strict=True
        ):
            bucket = judged.bucket if context.buckets > 1 else 0
            context.visit(quantity, bucket, weight, settling=settling)
            rate.learn(novelty, short, longs)
        self._level, self._variation = judged.quantities[2:4]
        self._unit = self._unit or abs(value)
        self._profile.learn(value, at)
        self._spacing.learn(at)
        low, high = self._band.limits()
        direction = (value > high) - (value < low) if not settling else 0
        self._shape.learn(value, direction, low, high, seen)
        self._band.learn(value)
        if seen >= self.min_n_samples:
            self._tail.learn(judged.total)
        self._last = None
        self._seen += 1
        self._weight = grown(weight, self._contexts)

    def dump(self) -> bytes:
        """The state, msgpack: about 2 KB, at most 3 KB."""
        return _encode([
            NAME, self.min_n_samples, self._seen, self._weight, self._unit, self._level,
            self._variation, self._band.dump(), self._shape.dump(), self._profile.dump(),
            self._spacing.dump(), self._tail.dump(),
            [c.dump() for c in self._contexts], [r.dump() for r in self._rates],
        ])  # fmt: skip

    @classmethod
    def load(cls, state: list[Any]) -> NoveltyDetector:
        """The detector that was dumped, from its decoded state.

        Raises:
            StateError: the state is not one of this version.
        """
        try:
            _, min_n_samples, seen, weight, unit, level, variation = state[:7]
            band, shape, profile, spacing, tail, contexts, rates = state[7:]
            detector = cls(whole(min_n_samples))
            detector._seen, detector._weight = whole(seen), number(weight, 1)
            detector._unit, detector._level = number(unit, 0), number(level)
            detector._variation = number(variation, 0)
            detector._band = Band.load(band)
            detector._shape = Shape.load(shape)
            detector._profile, detector._spacing = Profile.load(profile), Spacing.load(spacing)
            detector._tail = Tail.load(tail)
            detector._contexts = [
                Context.load(c, buckets) for c, buckets in zip(contexts, _BUCKETS, strict=True)
            ]
            detector._rates = [Rate.load(r) for r, _ in zip(rates, _BUCKETS, strict=True)]
        except DAMAGE as exc:
            msg = f"state of {NAME} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector

    def _judge(self, value: float, at: int) -> _Judged:
        """The value seen by all contexts; remembered, for it is scored and then learned."""
        last = self._last
        if last is not None and last.value == value and last.at == at:
            return last
        quantities, bucket = self._quantities(value, at), at // _BUCKET_MS % 8
        seen, weight, span = self._seen, self._weight, width(self._seen)
        trust = seen / (seen + TRUST) * self._spacing.factor / len(CONTEXTS)
        novelties, parts = [], []
        for context, rate, quantity in zip(self._contexts, self._rates, quantities, strict=True):
            novelty = context.novelty(quantity, bucket if context.buckets > 1 else 0, weight)
            novelties.append(novelty)
            parts.append(trust * rate.surprise(novelty, span))
        self._last = _Judged(value, at, quantities, bucket, novelties, parts, sum(parts))
        return self._last

    def _quantities(self, value: float, at: int) -> tuple[float, ...]:
        """What each context counts, were ``value`` learned."""
        before = self._level if self._seen else value
        rate = max(LEVEL_RATE, 1.0 / (self._seen + 1))
        jump = value - before
        variation = self._variation + rate * (abs(jump) - self._variation)
        week = self._profile.expected(at, before)
        magnitude = self._magnitude(value)
        return value, magnitude, before + rate * jump, variation, jump, value - week

    def _magnitude(self, value: float) -> float:
        """The inverse hyperbolic sine of the value, in first values that were not nought.

        Like a logarithm, but of all signs and of nought (Burbidge, Magee and Robb 1988): one burst
        does not put all that is ordinary into one cell.
        """
        unit = self._unit or abs(value)
        return math.asinh(min(max(value / unit, -_LARGEST), _LARGEST)) if unit else 0.0
