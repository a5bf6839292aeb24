"""A detector that only speaks of what was asked for: one direction, and enough volume."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec

from ml.protocol import Detector, Verdict
from ml.state import DAMAGE, number
from models.errors import ConfigurationError, StateError

NAME = "directed/1"
DIRECTIONS = ("any", "up", "down", "zero")
_encode = msgspec.msgpack.Encoder().encode


class DirectedDetector:
    """Another detector's verdicts, with a score of 0 where they are not asked for.

    ``direction``: "up" and "down" keep values above and below the middle of the expected band,
    "zero" only drops to nought. ``minimum``, in the series' unit: where neither value nor middle
    reaches it, there is not enough volume to speak of. A verdict without a band stays as it is.
    Learning is the other's own and leaves nothing out.

    Raises:
        ConfigurationError: there is no such direction.
    """

    name = NAME

    def __init__(self, inner: Detector, direction: str = "any", minimum: float = 0.0) -> None:
        if direction not in DIRECTIONS:
            msg = f"direction {direction!r} is none of {', '.join(DIRECTIONS)}"
            raise ConfigurationError(msg)
        self.inner = inner
        self.direction = direction
        self.minimum = minimum

    def score(self, value: float, at: int) -> Verdict:
        """The inner verdict, silenced where it is not asked for. Raises what the inner one does."""
        verdict = self.inner.score(value, at)
        if verdict.score is None or self._is_asked_for(value, verdict):
            return verdict
        return verdict._replace(score=0.0, tail=None, contributions=(), shape="")

    def learn(self, value: float, at: int) -> None:
        """Take the value in. Raises what the inner detector does."""
        self.inner.learn(value, at)

    def dump(self) -> bytes:
        """The state, msgpack: what is asked for, and the inner detector's."""
        return _encode([NAME, self.direction, self.minimum, self.inner.dump()])

    @classmethod
    def load(cls, state: list[Any], load_inner: Callable[[bytes], Detector]) -> DirectedDetector:
        """The detector that was dumped; StateError if it is not one. ``load_inner`` loads the inner."""
        try:
            _, direction, minimum, inner = state
            detector = load_inner(inner)
            if isinstance(detector, cls):
                raise TypeError("one within another says nothing that one does not")
            return cls(detector, direction, number(minimum, most=math.inf))
        except (*DAMAGE, ConfigurationError) as exc:
            msg = f"state of {NAME} is damaged: {exc}"
            raise StateError(msg) from exc

    def _is_asked_for(self, value: float, verdict: Verdict) -> bool:
        if verdict.low is None or verdict.high is None:
            return True
        middle = verdict.low / 2 + verdict.high / 2
        if max(abs(value), abs(middle)) < self.minimum:
            return False
        match self.direction:
            case "up":
                return value > middle
            case "down":
                return value < middle
            case "zero":
                return verdict.shape == "drop to zero" or (value == 0 and middle > 0)
            case _:
                return True
