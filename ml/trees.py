"""River's half-space trees behind our protocol: scaled robustly, unbounded, with explicit state."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec
from river import anomaly

from ml.band import Band
from ml.estimator import SeriesEstimator
from ml.protocol import Verdict, finite
from ml.state import DAMAGE, number, whole
from models.errors import StateError

_HEIGHT, _WINDOW, _SEED = 3, 250, 1
_REACH = 3.0
_RATE = 0.01
_encode = msgspec.msgpack.Encoder().encode


class HalfSpaceTreesDetector(SeriesEstimator):
    """Sparsity of (value, jump) among half-space trees, in deviations from how it usually is.

    Source: Tan, Ting and Liu 2011, as River implements it. Trees want [0, 1]: value and jump are
    scaled by a robust band and clipped, so one outlier squashes nothing. Their score ends at 1 and
    ties there; its odds do not. Bad at anomalies that come packed in windows, at daily curves
    wider than the band, and it forgets all but the last 250 to 500 points.
    """

    name: ClassVar[str] = "half_space_trees/1"
    trees: ClassVar[int] = 4

    def __init__(self, min_n_samples: int = 2 * _WINDOW) -> None:
        self.min_n_samples = min_n_samples
        self._seen = 0
        self._before = 0.0
        self._usual = self._variance = 0.0
        self._values, self._jumps = Band(), Band(signed=True)
        self._trees = self._plant()

    def score(self, value: float, at: int) -> Verdict:
        """Judge a value; learning until ``min_n_samples`` were seen.

        Raises:
            ValueError: the value is not finite.
        """
        value = finite(value)
        if self._seen < self.min_n_samples:
            return Verdict(None, None, None)
        odds = self._odds(value, at)
        low, high = self._values.limits()
        surprise = max(0.0, odds - self._usual) / math.sqrt(self._variance + 0.01)
        return Verdict(surprise, low, high, (value > high) - (value < low))

    def learn(self, value: float, at: int) -> None:
        """Take a value in; ``at`` never goes back. Raises ValueError if it is not finite."""
        value = finite(value)
        if self._seen >= _WINDOW:
            off = self._odds(value, at) - self._usual
            rate = max(_RATE, 1 / (self._seen - _WINDOW + 1))
            self._usual += rate * off
            self._variance = (1 - rate) * (self._variance + rate * off * off)
        self._trees.learn_one(self._features(value, at))
        self._follow(value, at)
        self._seen += 1

    def dump(self) -> bytes:
        """The state, msgpack: the masses of the trees' nodes; the trees follow from their seed."""
        trees = self._trees
        masses = masses_of(trees)
        return _encode([
            self.name, self.min_n_samples, self._seen, self._before, self._usual, self._variance,
            self._values.dump(), self._jumps.dump(), trees.counter, masses,
        ])  # fmt: skip

    @classmethod
    def load(cls, state: list[Any]) -> HalfSpaceTreesDetector:
        """The detector that was dumped; StateError if it is not one."""
        try:
            _, least, seen, before, usual, variance, values, jumps, counter, masses = state
            detector = cls(whole(least))
            detector._seen, detector._before = whole(seen), number(before)
            detector._usual, detector._variance = number(usual), number(variance, 0)
            detector._values, detector._jumps = Band.load(values), Band.load(jumps)
            trees = detector._trees
            replant(trees, ("value", "jump"), masses, whole(counter), detector._seen)
        except DAMAGE as exc:
            msg = f"state of {cls.name} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector

    def _plant(self) -> Any:
        return anomaly.HalfSpaceTrees(
            n_trees=self.trees, height=_HEIGHT, window_size=_WINDOW, seed=_SEED
        )

    def _follow(self, value: float, _at: int) -> None:
        """Have the scales follow a value that the trees have learned."""
        self._values.learn(value)
        self._jumps.learn(value - self._before if self._seen else 0.0)
        self._before = value

    def _features(self, value: float, _at: int) -> dict[str, float]:
        jump = value - self._before if self._seen else 0.0
        return {"value": scaled(value, self._values), "jump": scaled(jump, self._jumps)}

    def _odds(self, value: float, at: int) -> float:
        """Logarithm of how much sparser it is than the densest place there could be."""
        score = self._trees.score_one(self._features(value, at))
        return -math.log(max(1.0 - score, 1e-9))


def masses_of(trees: Any) -> list[list[int]]:
    """[mass now, mass of the window before] of all nodes, a tree of 15 after the other.

    That is what the trees have learned; empty before the first value, which plants them.
    """
    return [[node.l_mass, node.r_mass] for node in _nodes(trees)]


def replant(
    trees: Any, names: Iterable[str], masses: list[list[int]], counter: int, seen: int
) -> None:
    """Give new trees the masses of others that were grown from the same seed and features.

    ``names``: the features'; ``counter``: values in River's window so far; ``seen``: in all.

    Raises:
        ValueError, TypeError: the masses are not two for each node.
    """
    if masses:
        trees.learn_one(dict.fromkeys(names, 0.5))  # plants them
        for node, (left, right) in zip(_nodes(trees), masses, strict=True):
            node.l_mass, node.r_mass = whole(left), whole(right)
    trees.counter = counter
    trees._first_window = seen < _WINDOW  # noqa: SLF001


def _nodes(trees: Any) -> list[Any]:
    """All nodes, in an order that the seed decides. River keeps them private and is pinned."""
    return [node for each in trees._tree_nodes for node in each]  # noqa: SLF001


def scaled(value: float, band: Band) -> float:
    """Where a value lies on three widths of the band around its centre, which are [0, 1].

    What is beyond counts as the end.
    """
    spread = band.spread
    if spread <= 0:
        return 0.5 + 0.5 * ((value > band.centre) - (value < band.centre))
    return min(max(0.5 + (value - band.centre) / (8.0 * _REACH * spread), 0.0), 1.0)
