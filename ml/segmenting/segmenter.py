"""Segments of one population that keep their names: scaling, clustering, identity and words together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np

from ml.segmenting import clusters
from ml.segmenting.features import FEATURES, WEIGHTS
from ml.segmenting.identity import matched
from ml.segmenting.sample import DAY, Sample
from ml.segmenting.scaling import Array, Scaler, as_vector, read_array
from ml.segmenting.wording import describe
from ml.state import DAMAGE
from models.errors import StateError

REACH = 3.0
"""Standard deviations beyond which a feature is not thought to lie further out."""

STAY = 0.9
"""A listener goes to another segment if its distance is less than this share of the old one's."""

SETTLING = 1 / 7
"""What a day weighs in where a centre has been lately."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode


class Assignment(NamedTuple):
    """A listener's segment, and the distance from its centre in weighted standard deviations."""

    segment: str
    distance: float


class Segment(NamedTuple):
    """A segment as it is now.

    ``centre``: by feature, in its unit. ``since``: when it was first found (epoch ms). ``drift``: how
    far the centre is from where it was over the last week or so, in weighted standard deviations.
    """

    id: str
    description: str
    centre: dict[str, float]
    since: int
    drift: float


class Segmenter:
    """Learns what kinds of listeners there are, and says to which one a listener belongs.

    A sample of at most 2,048 listeners is learned from, each once a UTC day. On the first
    of each day, and whenever the sample has doubled, scale and clusters are reviewed over it; a
    cluster that continues one from before keeps its id, and an id is never given twice. One owner.
    The same calls give the same answers, also after ``load(dump())`` at any point. Vectors are as
    :func:`ml.segmenting.features.features` gives them.

    Raises:
        ConfigurationError: there is no such ``clusterer``.
    """

    name: ClassVar[str] = "segmenter/1"

    def __init__(self, clusterer: str = "kmeans") -> None:
        self._size = len(FEATURES)
        self._weights = np.array(WEIGHTS)
        self._scaler = Scaler(self._size)
        self._mean, self._factor = np.zeros(self._size), np.zeros(self._size)
        self._sample = Sample()
        self._clusters = clusters.create(clusterer)
        self._ids: list[str] = []
        self._since: list[int] = []
        self._lately: Array = np.zeros((0, self._size))
        self._named = 0
        self._reviewed = (0, 0)

    @property
    def is_ready(self) -> bool:
        """Whether there are segments yet."""
        return bool(self._ids)

    def learn(self, listener: str, vector: Sequence[float], at: int) -> bool:
        """Take in what is known of a listener at an epoch ms; whether anything was learned.

        Raises:
            ValueError: not a finite number for each feature.
        """
        values = as_vector(vector, self._size)
        if not self._sample.take(listener, values, at):
            return False
        self._scaler.learn(values)
        self._clusters.learn(self._scaled(values))
        day, size = self._reviewed
        enough = len(self._sample) >= clusters.WARM_UP
        if enough and (at // DAY > day or len(self._sample) >= 2 * size):
            self._review(at)
        return True

    def assign(self, vector: Sequence[float], present: str = "") -> Assignment | None:
        """The segment of a listener with these features; None while there are none.

        Who is in the ``present`` one stays unless another is clearly nearer.

        Raises:
            ValueError: not a finite number for each feature.
        """
        point = self._scaled(as_vector(vector, self._size))
        if not self._ids:
            return None
        off = self._clusters.centres - point
        apart = np.sqrt(np.einsum("ij,ij->i", off, off)).tolist()
        best = min(range(len(apart)), key=apart.__getitem__)
        if present in self._ids and apart[best] >= STAY * apart[held := self._ids.index(present)]:
            best = held
        return Assignment(self._ids[best], apart[best])

    def segments(self) -> list[Segment]:
        """The segments there are, in no particular order."""
        if not self._ids:
            return []
        centres, raw = self._clusters.centres, self._raw(self._clusters.centres)
        drifts = np.sqrt(((centres - self._scaled(self._lately)) ** 2).sum(axis=1)).tolist()
        return [
            Segment(
                name,
                self.describe(name),
                {f.name: f.shown(v) for f, v in zip(FEATURES, raw[i].tolist(), strict=True)},
                self._since[i],
                drifts[i],
            )
            for i, name in enumerate(self._ids)
        ]

    def describe(self, segment: str) -> str:
        """A segment in words.

        Raises:
            ValueError: there is no such segment.
        """
        centre = self._clusters.centres[self._ids.index(segment)]
        return describe((centre / self._weights).tolist())

    def _review(self, at: int) -> None:
        """Look at scale and clusters anew; segments that go on keep their ids."""
        self._sample.forget(at)
        if len(self._sample) < clusters.WARM_UP:  # most have left: what is known of the rest stays
            self._reviewed = (at // DAY, len(self._sample))
            return
        points = self._sample.points()
        before = self._raw(self._clusters.centres) if self._ids else np.zeros((0, self._size))
        self._mean, deviation = self._scaler.mean, self._scaler.deviation()
        self._factor = np.divide(1.0, deviation, out=np.zeros(self._size), where=deviation > 0)
        if self._ids:
            self._clusters.centres = self._scaled(before)
        if self._clusters.review(self._scaled(points)):
            self._rename(before, at)
        if at // DAY > self._reviewed[0]:
            self._lately = self._lately + SETTLING * (
                self._raw(self._clusters.centres) - self._lately
            )
        self._reviewed = (at // DAY, len(self._sample))

    def _rename(self, before: Array, at: int) -> None:
        """Give the centres the ids of those that they continue, the others new ones."""
        centres = self._clusters.centres
        raw = self._raw(centres)
        ids, since, lately = [], [], []
        for i, old in enumerate(matched(self._scaled(before), centres)):
            if old is None:
                self._named += 1
            ids.append(f"s{self._named}" if old is None else self._ids[old])
            since.append(at if old is None else self._since[old])
            lately.append(raw[i] if old is None else self._lately[old])
        self._ids, self._since, self._lately = ids, since, np.array(lately)

    def _scaled(self, values: Array) -> Array:
        """Vectors in weighted standard deviations from the mean, within ``REACH``."""
        off = (values - self._mean) * self._factor
        out: Array = np.minimum(np.maximum(off, -REACH), REACH) * self._weights
        return out

    def _raw(self, points: Array) -> Array:
        """The vectors of scaled ones."""
        deviation = np.divide(1.0, self._factor, out=np.zeros(self._size), where=self._factor > 0)
        out: Array = points / self._weights * deviation + self._mean
        return out

    def dump(self) -> bytes:
        """Explicit, versioned state (msgpack)."""
        return _encode([
            self.name, [feature.name for feature in FEATURES], self._scaler.dump(),
            self._mean.tobytes(), self._factor.tobytes(), self._sample.dump(), self._clusters.dump(),
            self._ids, self._since, self._lately.tobytes(), self._named, self._reviewed,
        ])  # fmt: skip

    @classmethod
    def load(cls, data: bytes) -> Segmenter:
        """The segmenter that was dumped; it continues identically.

        Raises:
            StateError: the bytes are damaged, or of another version or other features.
        """
        try:
            state = _decode(data)
            if state[:2] != [cls.name, [feature.name for feature in FEATURES]]:
                msg = f"segmenter state is of {state[:1]}; this program reads {cls.name}"
                raise StateError(msg)
            made = cls()
            made._restore(state[2:])
        except DAMAGE as exc:
            msg = f"segmenter state of {len(data)} bytes is damaged: {exc}"
            raise StateError(msg) from exc
        return made

    def _restore(self, state: list[Any]) -> None:
        scaler, mean, factor, sample, held, ids, since, lately, named, reviewed = state
        size = self._size
        self._scaler, self._sample = Scaler.load(scaler, size), Sample.load(sample, size)
        self._mean, self._factor = read_array(mean, (size,)), read_array(factor, (size,))
        self._clusters = clusters.load(held)
        self._ids, self._since = [str(name) for name in ids], [int(at) for at in since]
        self._lately = read_array(lately, (len(self._ids), size))
        if self._ids and self._clusters.centres.shape != (len(self._ids), size):
            raise ValueError("ids and centres do not agree")
        self._named, self._reviewed = int(named), (int(reviewed[0]), int(reviewed[1]))
