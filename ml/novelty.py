"""The detector that ships: the rate of novelty over coarse cells, as a River anomaly detector.

Surprise is not distance from a mean but the rate at which a series visits states it has rarely
been in, against the rate it usually does: no distribution is assumed, a daily curve becomes normal
by being repeated, and a noisy series stays calm. What it cannot see is an absence that looks like
a state it knows well (a quiet hour at the wrong time is seen through the time of day only).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import msgspec
from river import base

from ml.band import Band
from ml.context import Context
from ml.protocol import Verdict
from models.errors import StateError

NAME = "novelty/1"
MIN_SAMPLES = 30
"""Values until the first score."""

CONTEXTS = ("value", "value at this time of day", "level", "variation", "jump")
"""What is counted: the value; the value by 3-hour bucket of the UTC day; its exponential mean; its
mean absolute deviation from that; its distance from the last mean."""

_BUCKETS = (1, 8, 1, 1, 1)
_BUCKET_MS = 10_800_000
_HALF_LIFE = 10_000
_GROWTH = 2.0 ** (1 / _HALF_LIFE)
"""Counts are forgotten by letting new visits weigh more."""

_MAX_WEIGHT = 2.0**16
_RATE = 0.1
_LONG = 800
_WIDTH = (3.0, 20.0, 0.004)
"""Points the short rate looks back on: least, most, and share of the points seen."""

_LARGEST = 1e150
_encode = msgspec.msgpack.Encoder().encode


class NoveltyDetector(base.AnomalyDetector):
    """Online detector of one series; see :class:`ml.protocol.Detector`.

    ``score`` is the mean over the contexts of their surprise, in deviations: below 1 nearly
    always, above 3 hardly ever without a cause. As a River estimator it takes
    ``{"value": float, "at": epoch ms}`` and scores 0.0 while it learns.
    """

    name: ClassVar[str] = NAME

    def __init__(self, min_n_samples: int = MIN_SAMPLES) -> None:
        self.min_n_samples = min_n_samples
        self._seen = 0
        self._weight = 1.0
        self._level = 0.0
        self._variation = 0.0
        self._band = Band()
        self._contexts = [Context(buckets) for buckets in _BUCKETS]

    def score(self, value: float, at: int) -> Verdict:
        """Judge a value of the window that starts ``at`` (epoch ms); changes nothing.

        Raises:
            ValueError: the value is not finite.
        """
        value = _finite(value)
        if self._seen < self.min_n_samples:
            return Verdict(None, None, None)
        width, weight = self._width(), self._weight
        share, total = 1.0 / len(CONTEXTS), 0.0
        parts = []
        quantities, bucket = self._quantities(value), at // _BUCKET_MS % 8
        for name, context, quantity in zip(CONTEXTS, self._contexts, quantities, strict=True):
            novelty = context.novelty(quantity, bucket if context.buckets > 1 else 0, weight)
            part = share * context.surprise(novelty, width)
            parts.append((name, part))
            total += part
        low, high = self._band.limits()
        direction = (value > high) - (value < low)
        return Verdict(total, low, high, direction, None, tuple(parts))

    def learn(self, value: float, at: int) -> None:
        """Take a value in; ``at`` never goes back.

        Raises:
            ValueError: the value is not finite.
        """
        value = _finite(value)
        width, weight, seen = self._width(), self._weight, self._seen
        settling, span = seen < MIN_SAMPLES, min(seen + 1, _LONG)
        quantities, bucket = self._quantities(value), at // _BUCKET_MS % 8
        for context, quantity in zip(self._contexts, quantities, strict=True):
            b = bucket if context.buckets > 1 else 0
            novelty = context.novelty(quantity, b, weight)
            context.learn(quantity, b, weight, novelty, width, span, settling=settling)
        _, _, self._level, self._variation, _ = quantities
        self._band.learn(value)
        self._seen += 1
        self._weight *= _GROWTH
        if self._weight > _MAX_WEIGHT:
            for context in self._contexts:
                context.age(self._weight)
            self._weight = 1.0

    def score_one(self, x: dict[Any, Any]) -> float:
        """River's form of :meth:`score`: 0.0 while learning."""
        return self.score(x["value"], x["at"]).score or 0.0

    def learn_one(self, x: dict[Any, Any]) -> None:
        """River's form of :meth:`learn`."""
        self.learn(x["value"], x["at"])

    def dump(self) -> bytes:
        """The state, msgpack: about 0.5 KB, at most 1 KB."""
        return _encode([
            NAME, self.min_n_samples, self._seen, self._weight, self._level, self._variation,
            self._band.dump(), [c.dump() for c in self._contexts],
        ])  # fmt: skip

    @classmethod
    def load(cls, state: list[Any]) -> NoveltyDetector:
        """The detector that was dumped, from its decoded state.

        Raises:
            StateError: the state is not one of this version.
        """
        try:
            _, min_n_samples, seen, weight, level, variation, band, contexts = state
            detector = cls(int(min_n_samples))
            detector._seen, detector._weight = int(seen), float(weight)
            detector._level, detector._variation = float(level), float(variation)
            detector._band = Band(float(band[0]), float(band[1]), int(band[2]), bool(band[3]))
            detector._contexts = [
                Context.load(c, buckets) for c, buckets in zip(contexts, _BUCKETS, strict=True)
            ]
        except (TypeError, ValueError, LookupError) as exc:
            msg = f"state of {NAME} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector

    def _width(self) -> float:
        least, most, share = _WIDTH
        return min(most, max(least, share * self._seen))

    def _quantities(self, value: float) -> tuple[float, float, float, float, float]:
        """What each context counts, were ``value`` learned."""
        level = self._level if self._seen else value
        rate = max(_RATE, 1.0 / (self._seen + 1))
        jump = value - level
        variation = self._variation + rate * (abs(jump) - self._variation)
        return value, value, level + rate * jump, variation, jump


def _finite(value: float) -> float:
    value = float(value)
    if not math.isfinite(value):
        msg = f"a detector takes finite values, not {value}; keep gaps away from it"
        raise ValueError(msg)
    return min(max(value, -_LARGEST), _LARGEST)
