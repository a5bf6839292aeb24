"""Several metrics of one thing judged together: cpu, memory and requests of a host.

Finds what no single metric shows, a break of how they go together: busy without requests. Apart
from :mod:`ml.registry`'s detectors because it takes several values at once; the contract is the
same in all else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ml.protocol import finite
from ml.state import DAMAGE, number, whole
from ml.tail import Tail
from models.config import MOST_TOGETHER
from models.errors import ConfigurationError, StateError

MIN_SAMPLES = 100
"""Instants until the first score."""

MOST = MOST_TOGETHER
"""Metrics judged together."""

_RATE = 0.005
_REACH = 2.0
"""Mean distance a metric as which what lies further off is learned, so that an incident is not soon
normal (Campbell 1980).
"""

_LEAST = 0.001
_SUDDEN = 100.0
"""Deviations of a first change after nothing but the same value."""

_FARTHEST = 1e60
_FLOOR = 1e-3
"""Least eigenvalue of a correlation matrix: metrics that are copies of each other leave none."""

_Vector = NDArray[np.float64]
_encode = msgspec.msgpack.Encoder().encode


class JointVerdict(NamedTuple):
    """What is thought of several values of one instant before they are learned.

    ``score``: unbounded surprise in deviations, None while learning or where fewer than two metrics
    have a value. ``tail``: share of past surprises as large. ``shares``: each metric's part in the
    surprise, largest first, adding up to 1; empty where there is none. ``missing``: without a value.
    """

    score: float | None
    tail: float | None = None
    shares: tuple[tuple[str, float], ...] = ()
    missing: tuple[str, ...] = ()


class JointDetector:
    """Distance of a vector from its mean by an exponentially weighted, shrunk covariance.

    Sources: Mahalanobis 1936; correlations shrunk towards none as far as the number of instants
    asks for (oracle approximating shrinkage, Chen, Wiesel, Eldar and Hero 2010); the squared
    distance made a deviation by its cube root (Wilson and Hilferty 1931); a metric's share is what
    the others leave unexplained of it (Mason, Tracy and Young 1995), so of two metrics that part
    both have half. A missing value is left out of the distance, and learned as what
    the others let expect.

    Bad at relations that are no straight lines, at a relation that holds with a delay, and at an
    incident in which all metrics move as they always do together: that a single metric's detector
    has to find.

    Raises:
        ConfigurationError: fewer than two metrics, more than :data:`MOST`, or one twice.
    """

    name: ClassVar[str] = "joint/1"

    def __init__(self, metrics: Sequence[str], min_n_samples: int = MIN_SAMPLES) -> None:
        if not 2 <= len(metrics) <= MOST or len(set(metrics)) < len(metrics):
            msg = f"joint takes 2 to {MOST} different metrics, not {list(metrics)}"
            raise ConfigurationError(msg)
        size = len(metrics)
        self.metrics = tuple(metrics)
        self.min_n_samples = min_n_samples
        self._seen = np.zeros(size, dtype=np.int64)
        self._mean: _Vector = np.zeros(size)
        self._covariance: _Vector = np.zeros((size, size))
        self._tail = Tail()
        self._last: tuple[bytes, JointVerdict, float] | None = None

    def score(self, values: Mapping[str, float | None], at: int) -> JointVerdict:
        """Judge the values of the window that starts ``at`` (epoch ms); changes nothing.

        Raises:
            ValueError: a value is not finite, or is of a metric that was not named.
        """
        return self._judged(self._vector(values))[0]

    def learn(self, values: Mapping[str, float | None], at: int) -> None:
        """Take the values in; ``at`` never goes back. Raises ValueError as :meth:`score` does."""
        vector = self._vector(values)
        verdict, distance = self._judged(vector)
        if verdict.score is not None:
            self._tail.learn(verdict.score)
        there, seen = ~np.isnan(vector), self._seen
        weight = max(_LEAST, min(1.0, _REACH / distance)) if distance else 1.0
        off = np.where(there & (seen > 0), weight * (vector - self._mean), 0.0)
        self._mean = np.where(there & (seen == 0), vector, self._mean)
        unsure = self._complete(off, there)
        active = np.flatnonzero(there | (seen >= self.min_n_samples))
        if not there.any():
            return
        rate = np.maximum(_RATE, 1.0 / (seen[active] + 1))
        self._mean[active] += rate * off[active]
        rates, block = np.maximum.outer(rate, rate), np.ix_(active, active)
        moved = rates * np.outer(off[active], off[active])
        self._covariance[block] = (1 - rates) * (self._covariance[block] + moved)
        self._covariance[block] += rates * unsure[block]
        self._seen = seen + there
        self._last = None

    def dump(self) -> bytes:
        """The state, msgpack."""
        return _encode([
            self.name, self.metrics, self.min_n_samples, self._seen.tolist(), self._mean.tolist(),
            self._covariance.ravel().tolist(), self._tail.dump(),
        ])  # fmt: skip

    @classmethod
    def load(cls, state: bytes) -> JointDetector:
        """The detector that was dumped; it continues identically.

        Raises:
            StateError: the bytes are damaged, or of another detector or version.
        """
        try:
            name, metrics, least, seen, mean, covariance, tail = msgspec.msgpack.decode(state)
            if name != cls.name:
                msg = f"detector state is of {name!r}; this reads {cls.name}"
                raise StateError(msg)
            detector = cls([str(m) for m in metrics], whole(least))
            size = len(metrics)
            detector._seen = np.array([whole(n) for n in seen]).reshape(size)
            detector._mean = np.array([number(m) for m in mean]).reshape(size)
            parts = [number(part) for part in covariance]
            detector._covariance = np.array(parts).reshape(size, size)
            detector._tail = Tail.load(tail)
        except (*DAMAGE, ConfigurationError) as exc:
            msg = f"state of {cls.name} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector

    def _vector(self, values: Mapping[str, float | None]) -> _Vector:
        """The values in the order of the metrics, NaN where there is none."""
        if unknown := values.keys() - set(self.metrics):
            msg = f"joint knows {', '.join(self.metrics)}, not {', '.join(sorted(unknown))}"
            raise ValueError(msg)
        found = (values.get(metric) for metric in self.metrics)
        return np.array([math.nan if v is None else finite(v) for v in found])

    def _judged(self, vector: _Vector) -> tuple[JointVerdict, float]:
        """The verdict and the mean distance a metric; remembered, for it is scored, then learned."""
        asked = vector.tobytes()
        if self._last is None or self._last[0] != asked:
            self._last = (asked, *self._judge(vector))
        return self._last[1:]

    def _judge(self, vector: _Vector) -> tuple[JointVerdict, float]:
        missing = tuple(m for m, v in zip(self.metrics, vector, strict=True) if math.isnan(v))
        there = np.flatnonzero(~np.isnan(vector) & (self._seen >= self.min_n_samples))
        size = len(there)
        if size < 2:
            return JointVerdict(None, missing=missing), 0.0
        precision, spread = self._relations(there)
        off = vector[there] - self._mean[there]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            z = np.where(spread > 0, off / spread, np.where(off == 0, 0.0, np.sign(off) * _SUDDEN))
        z = np.clip(z, -_FARTHEST, _FARTHEST)
        left = precision @ z
        squared = max(float(z @ left), 0.0) / size
        scale = 2 / (9 * size)
        score = max(0.0, (math.cbrt(squared) - 1 + scale) / math.sqrt(scale))
        parts = left * left / np.diag(precision)
        total = float(parts.sum())
        named = ((self.metrics[i], float(part)) for i, part in zip(there, parts, strict=True))
        shares = tuple((m, part / total) for m, part in sorted(named, key=_part)) if total else ()
        tail = self._tail.probability(score)
        return JointVerdict(score, tail, shares, missing), math.sqrt(squared)

    def _relations(self, there: NDArray[np.intp]) -> tuple[_Vector, _Vector]:
        """(inverse of the shrunk correlations, standard deviations) of these metrics."""
        block = self._covariance[np.ix_(there, there)]
        spread = np.sqrt(np.diag(block))
        usual = np.where(spread > 0, spread, 1.0)
        related = np.clip(block / usual[:, None] / usual, -1.0, 1.0)
        np.fill_diagonal(related, 1.0)
        return _precision(related, int(self._seen[there].min())), spread

    def _complete(self, off: _Vector, there: NDArray[np.bool_]) -> _Vector:
        """Put into ``off`` what missing metrics are expected to be beside those that are there.

        Returns the covariance of what is not known about them. Without both, a gap would pull
        means apart that move together (Dempster, Laird and Rubin 1977, done online).
        """
        unsure: _Vector = np.zeros_like(self._covariance)
        ready = np.flatnonzero(self._seen >= self.min_n_samples)
        known = there[ready]
        if known.all() or not known.any():
            return unsure
        precision, spread = self._relations(ready)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(spread[known] > 0, off[ready[known]] / spread[known], 0.0)
        z = np.clip(z, -_SUDDEN, _SUDDEN)
        inner = np.linalg.inv(precision[np.ix_(~known, ~known)])
        gone, far = ready[~known], spread[~known]
        expected = -inner @ (precision[np.ix_(~known, known)] @ z)
        off[gone] = far * np.clip(expected, -_SUDDEN, _SUDDEN)
        unsure[np.ix_(gone, gone)] = inner * np.outer(far, far)
        return unsure


def _part(share: tuple[str, float]) -> float:
    return -share[1]


def _precision(related: _Vector, seen: int) -> _Vector:
    """The inverse of a correlation matrix, shrunk as far as the number of instants asks for."""
    size = len(related)
    instants = min(seen, (2 - _RATE) / _RATE)
    squares = float((related * related).sum())
    spread = (instants + 1 - 2 / size) * (squares - size)
    shrink = min(1.0, ((1 - 2 / size) * squares + size * size) / spread) if spread > 0 else 1.0
    values, vectors = np.linalg.eigh((1 - shrink) * related + shrink * np.eye(size))
    inverse: _Vector = (vectors / np.maximum(values, _FLOOR)) @ vectors.T
    return inverse
