"""Several detectors that must agree before a value is surprising."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from ml.classics import HoltWintersResidual, RobustZScore
from ml.estimator import SeriesEstimator
from ml.novelty import NoveltyDetector
from ml.protocol import Verdict, finite
from ml.state import DAMAGE
from models.errors import StateError

_encode = msgspec.msgpack.Encoder().encode


class EnsembleDetector(SeriesEstimator):
    """The least surprised of novelty, the robust z-score and Holt and Winters, all in deviations.

    Source: the minimum as the rule of combination, Kittler and others 1998. A mean let the two
    classical members outvote novelty (44.7 on NAB's four groups, the minimum 77). The band is
    Holt and Winters'; the one contribution names the member that held back. Bad where any member
    is blind (a change of variation at the same level), and it costs what they cost together.
    """

    name: ClassVar[str] = "ensemble/1"

    def __init__(self) -> None:
        self._members: tuple[Any, ...] = (NoveltyDetector(), RobustZScore(), HoltWintersResidual())

    def score(self, value: float, at: int) -> Verdict:
        """Judge a value; learning while a member is.

        Raises:
            ValueError: the value is not finite.
        """
        value = finite(value)
        verdicts = [member.score(value, at) for member in self._members]
        said = [
            (verdict.score, member.name.partition("/")[0])
            for member, verdict in zip(self._members, verdicts, strict=True)
            if verdict.score is not None
        ]
        if len(said) < len(verdicts):
            return Verdict(None, None, None)
        (least, name), last = min(said), verdicts[-1]
        tail = verdicts[0].tail
        return Verdict(least, last.low, last.high, last.direction, tail, ((name, least),))

    def learn(self, value: float, at: int) -> None:
        """Take a value in; ``at`` never goes back. Raises ValueError if it is not finite."""
        value = finite(value)
        for member in self._members:
            member.learn(value, at)

    def dump(self) -> bytes:
        """The state, msgpack: that of the members."""
        return _encode([self.name, [member.dump() for member in self._members]])

    @classmethod
    def load(cls, state: list[Any]) -> EnsembleDetector:
        """The detector that was dumped; StateError if it is not one."""
        detector = cls()
        try:
            _, members = state
            detector._members = tuple(
                _loaded(member, held)
                for member, held in zip(detector._members, members, strict=True)
            )
        except DAMAGE as exc:
            msg = f"state of {cls.name} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector


def _loaded(member: Any, held: bytes) -> Any:
    """A member of this kind from its state; ValueError if it is of another kind or version."""
    state = msgspec.msgpack.decode(held, type=list)
    if not state or state[0] != member.name:
        raise ValueError(f"a member is {state[:1]}, and not {member.name}")
    return type(member).load(state)
