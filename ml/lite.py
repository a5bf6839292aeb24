"""The small novelty detector: three contexts and one rate, for very many series.

The same idea as :mod:`ml.novelty` at a third of its cost: the value, its level and its distance
from what this hour of the week usually brings share one mean novelty. Bad where the default is
bad, and besides at changes of variation alone, and it cannot say which context was surprised.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from ml.context import Context, grown
from ml.estimator import SeriesEstimator
from ml.novelty import LEVEL_RATE, MIN_SAMPLES, TRUST
from ml.profile import Profile
from ml.protocol import Verdict, finite
from ml.rate import Rate, spans, width
from ml.spacing import Spacing
from ml.state import DAMAGE, number, whole
from models.errors import StateError

NAME = "lite/3"
_REACH = 4.0
_encode = msgspec.msgpack.Encoder().encode


class LiteDetector(SeriesEstimator):
    """Online detector of one series in 2.7 KB of memory; see :class:`ml.protocol.Detector`.

    ``score`` is in deviations of the novelty rate, as the default's is. The band is the level and
    four mean absolute deviations.
    """

    name: ClassVar[str] = NAME

    def __init__(self, min_n_samples: int = MIN_SAMPLES) -> None:
        self.min_n_samples = min_n_samples
        self._seen = 0
        self._weight = 1.0
        self._level = 0.0
        self._spread = 0.0
        self._profile = Profile()
        self._spacing = Spacing()
        self._rate = Rate()
        self._contexts = (Context(), Context(), Context())
        self._last: tuple[float, int, float, float, float] | None = None

    def score(self, value: float, at: int) -> Verdict:
        """Judge a value of the window that starts ``at`` (epoch ms); changes nothing.

        Raises:
            ValueError: the value is not finite.
        """
        value, seen = finite(value), self._seen
        if seen < self.min_n_samples:
            return Verdict(None, None, None)
        novelty = self._judge(value, at)[2]
        trust = seen / (seen + TRUST) * self._spacing.factor
        surprise = trust * self._rate.surprise(novelty, width(seen))
        reach = _REACH * self._spread
        low, high = self._level - reach, self._level + reach
        return Verdict(surprise, low, high, (value > high) - (value < low))

    def learn(self, value: float, at: int) -> None:
        """Take a value in; ``at`` never goes back.

        Raises:
            ValueError: the value is not finite.
        """
        value, seen, weight = finite(value), self._seen, self._weight
        _, _, novelty, level, week = self._judge(value, at)
        settling, (values, levels, weeks) = seen < MIN_SAMPLES, self._contexts
        values.visit(value, 0, weight, settling=settling)
        levels.visit(level, 0, weight, settling=settling)
        weeks.visit(value - week, 0, weight, settling=settling)
        self._rate.learn(novelty, width(seen), spans(seen))
        off = abs(value - self._level) if seen else 0.0
        self._spread += max(LEVEL_RATE, 1.0 / (seen + 1)) * (off - self._spread)
        self._level = level
        self._profile.learn(value, at)
        self._spacing.learn(at)
        self._last = None
        self._seen = seen + 1
        self._weight = grown(weight, self._contexts)

    def dump(self) -> bytes:
        """The state, msgpack: about 1 KB."""
        return _encode([
            NAME, self.min_n_samples, self._seen, self._weight, self._level, self._spread,
            self._profile.dump(), self._spacing.dump(), self._rate.dump(),
            [c.dump() for c in self._contexts],
        ])  # fmt: skip

    @classmethod
    def load(cls, state: list[Any]) -> LiteDetector:
        """The detector that was dumped, from its decoded state.

        Raises:
            StateError: the state is not one of this version.
        """
        try:
            _, min_n_samples, seen, weight, level, spread, *rest = state
            profile, spacing, rate, contexts = rest
            detector = cls(whole(min_n_samples))
            detector._seen, detector._weight = whole(seen), number(weight, 1)
            detector._level, detector._spread = number(level), number(spread, 0)
            detector._profile, detector._spacing = Profile.load(profile), Spacing.load(spacing)
            detector._rate = Rate.load(rate)
            values, levels, weeks = (Context.load(c, 1) for c in contexts)
            detector._contexts = (values, levels, weeks)
        except DAMAGE as exc:
            msg = f"state of {NAME} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector

    def _judge(self, value: float, at: int) -> tuple[float, int, float, float, float]:
        """(value, at, mean novelty, level with it, what this hour of the week brings)."""
        last = self._last
        if last is not None and last[0] == value and last[1] == at:
            return last
        seen, weight = self._seen, self._weight
        before = self._level if seen else value
        level = before + max(LEVEL_RATE, 1.0 / (seen + 1)) * (value - before)
        week = self._profile.expected(at, before)
        values, levels, weeks = self._contexts
        total = 0.0
        for context, quantity in ((values, value), (levels, level), (weeks, value - week)):
            total += context.novelty(quantity, 0, weight) or 0.0
        self._last = last = (value, at, total / 3.0, level, week)
        return last
