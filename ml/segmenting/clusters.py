"""Online clusterers of standardised vectors, as estimators of River's with explicit state."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from river import base, cluster
from river.cluster.dbstream import DBSTREAMMicroCluster

from ml.segmenting import choice
from ml.segmenting.scaling import Array, read_array
from models.errors import ConfigurationError, StateError

WARM_UP = 100
"""Vectors that the first centres are chosen from."""

SLOWEST = 0.005
"""A centre goes at least so much of the way to each vector that it takes: it follows the last few
hundred, as MacQueen's mean of all (1967) would not."""


CHEAPER = 0.99
"""New centres of the same number must cost less than this share of what the present ones do."""


class Clusterer(Protocol):
    """Clusters of vectors of one length d. One owner; bounded memory; vectors are finite.

    ``centres`` (k, d): a row a cluster; none before the first review. Between reviews a row stays
    the same cluster's.
    """

    name: str
    centres: Array

    def learn(self, vector: Array) -> None:
        """Take a vector (d,) in."""
        ...

    def review(self, points: Array) -> bool:
        """Look at a sample (n, d) and choose the centres; whether rows may be others' than before."""
        ...

    def dump(self) -> list[Any]:
        """The state as plain values, the name first."""
        ...


class _Estimator(base.Clusterer):
    """River's form of a clusterer of ours: names of features are learned from the first dict."""

    centres: Array

    def __init__(self) -> None:
        self.centres = np.zeros((0, 0))
        self._features: list[Any] = []
        self._waiting: list[Array] = []

    def learn_one(self, x: dict[Any, Any]) -> None:
        """Take in the features that the first vector had; one that is missing counts as 0."""
        if not self._features:
            self._features = sorted(x, key=str)
        vector = self._vector(x)
        if len(self.centres):
            self.learn(vector)
            return
        self._waiting.append(vector)
        if len(self._waiting) == WARM_UP:
            self.review(np.array(self._waiting))
            self._waiting.clear()

    def predict_one(self, x: dict[Any, Any]) -> int:
        """The row of the nearest centre; 0 before there is one."""
        if not len(self.centres):
            return 0
        return int(choice.distances(self._vector(x)[None, :], self.centres).argmin())

    @abc.abstractmethod
    def learn(self, vector: Array) -> None:
        """See :class:`Clusterer`."""

    @abc.abstractmethod
    def review(self, points: Array) -> bool:
        """See :class:`Clusterer`."""

    def _vector(self, x: Mapping[Any, Any]) -> Array:
        return np.array([float(x.get(name, 0.0)) for name in self._features])


class OnlineKMeans(_Estimator):
    """K-Means seeded from data, moved by each vector, re-seeded where a review finds better.

    River's own draws its first centres around 0 and keeps to a given number. This one chooses
    centres by k-means++ and Lloyd's algorithm over a sample, and their number ``k`` (0: by
    :func:`ml.segmenting.choice.worth`, with hysteresis) at each review. Between reviews the nearest
    centre goes towards each vector. Bad at clusters that are not round.
    """

    name: ClassVar[str] = "kmeans/1"

    def __init__(self, k: int = 0, seed: int = 1) -> None:
        super().__init__()
        self.k = k
        self.seed = seed
        self._counts = np.zeros(0)
        self._reviews = 0
        self._unwanted = 0

    def learn(self, vector: Array) -> None:
        """Move the nearest centre towards a vector (d,); nothing before the first review."""
        if len(self.centres):
            off = vector - self.centres
            i = int(np.einsum("ij,ij->i", off, off).argmin())
            self._counts[i] += 1
            self.centres[i] += max(1.0 / self._counts[i], SLOWEST) * off[i]

    def review(self, points: Array) -> bool:
        """Choose number and centres anew from a sample (n, d), if that is worth it; whether it was."""
        rng = np.random.default_rng([self.seed, self._reviews])
        self._reviews += 1
        present = len(self.centres)
        k = self._number(points, rng)
        centres, cost = choice.fit(points, k, rng, 5)
        if k == present and cost >= CHEAPER * choice.cost(points, self.centres):
            return False
        self.centres = centres
        nearest = choice.distances(points, centres).argmin(axis=1)
        self._counts = np.bincount(nearest, minlength=k).astype(np.float64)
        return True

    def _number(self, points: Array, rng: np.random.Generator) -> int:
        """How many clusters there are to be: another number when two reviews in a row want one."""
        if self.k:
            return min(self.k, len(points))
        worths, present = choice.worths(points, rng), len(self.centres)
        if present not in worths:
            return choice.fewest(worths)
        self._unwanted = 0 if choice.is_enough(worths, present) else self._unwanted + 1
        if self._unwanted < 2:
            return present
        self._unwanted = 0
        return choice.fewest(worths)

    def dump(self) -> list[Any]:
        """The state as plain values."""
        return [
            self.name, self.k, self.seed, self._reviews, self._unwanted, list(self.centres.shape),
            self.centres.tobytes(), self._counts.tobytes(),
        ]  # fmt: skip

    @classmethod
    def load(cls, state: list[Any]) -> OnlineKMeans:
        """The clusterer that was dumped.

        Raises:
            one of :data:`ml.state.DAMAGE`: the state is damaged.
        """
        _, k, seed, reviews, unwanted, shape, centres, counts = state
        made = cls(int(k), int(seed))
        made._reviews, made._unwanted = int(reviews), min(int(unwanted), 1)
        made.centres = read_array(centres, (int(shape[0]), int(shape[1])))
        made._counts = read_array(counts, (int(shape[0]),))
        return made


class Dbstream(_Estimator):
    """River's DBSTREAM (Hahsler, Bolaños 2016); centres are those of its largest clusters.

    Density has no number of clusters to choose, but a radius. In as many dimensions as a listener has
    features, nearly all points are about equally far from each other, so it finds one large cluster
    and strays. At most ``MICRO`` micro-clusters are kept, the heaviest.
    """

    name: ClassVar[str] = "dbstream/1"
    MICRO: ClassVar[int] = 128

    def __init__(self, radius: float = 3.0) -> None:
        super().__init__()
        self.radius = radius
        self._stream = self._new()

    def learn(self, vector: Array) -> None:
        """Take a vector (d,) into the micro-clusters near it."""
        stream = self._stream
        stream.learn_one(dict(enumerate(vector.tolist())))
        micro = stream.micro_clusters
        if len(micro) > self.MICRO:
            lightest = min(micro, key=lambda i: micro[i].weight)
            del micro[lightest]
            for table in (stream.s, stream.s_t):
                table.pop(lightest, None)
                for row in table.values():
                    row.pop(lightest, None)

    def review(self, points: Array) -> bool:
        """Take the centres from the clusters; learns the sample (n, d) if nothing was. Always true."""
        if not self._stream.micro_clusters:
            for point in points:
                self.learn(point)
        clusters = sorted(self._stream.clusters.values(), key=lambda c: -c.weight)[: choice.MOST]
        size = points.shape[1]
        found = [[c.center[i] for i in range(size)] for c in clusters]
        self.centres = np.array(found) if found else points.mean(axis=0)[None, :]
        return True

    def dump(self) -> list[Any]:
        """The state as plain values."""
        stream = self._stream
        micro = [
            [i, list(c.center.values()), c.last_update, c.weight]
            for i, c in stream.micro_clusters.items()
        ]
        shared = [
            [i, list(row.items()), list(stream.s_t[i].items())] for i, row in stream.s.items()
        ]
        time = stream._time_stamp  # noqa: SLF001 - River keeps it private and is pinned
        shape = list(self.centres.shape)
        return [self.name, self.radius, time, micro, shared, shape, self.centres.tobytes()]

    @classmethod
    def load(cls, state: list[Any]) -> Dbstream:
        """The clusterer that was dumped.

        Raises:
            one of :data:`ml.state.DAMAGE`: the state is damaged.
        """
        _, radius, time, micro, shared, shape, centres = state
        made = cls(float(radius))
        stream = made._stream
        stream._time_stamp = int(time)  # noqa: SLF001
        # Numbers stay what they are: a weight of 1 and one of 1.0 are the same and packed otherwise.
        for i, centre, updated, weight in micro:
            point = dict(enumerate(map(float, centre)))
            stream._micro_clusters[int(i)] = DBSTREAMMicroCluster(point, updated, 0 + weight)  # noqa: SLF001
        for i, shares, times in shared:
            stream.s[int(i)], stream.s_t[int(i)] = dict(shares), dict(times)
        made.centres = read_array(centres, (int(shape[0]), int(shape[1])))
        return made

    def _new(self) -> Any:
        return cluster.DBSTREAM(
            clustering_threshold=self.radius, fading_factor=0.001, cleanup_interval=100,
            intersection_factor=0.3, minimum_weight=2.0,
        )  # fmt: skip


_KINDS: dict[str, Any] = {"kmeans": OnlineKMeans, "dbstream": Dbstream}


def create(name: str) -> Clusterer:
    """A new clusterer.

    Raises:
        ConfigurationError: there is none of that name.
    """
    if name not in _KINDS:
        msg = f"there is no clusterer {name!r}; there are {', '.join(sorted(_KINDS))}"
        raise ConfigurationError(msg)
    made: Clusterer = _KINDS[name]()
    return made


def load(state: list[Any]) -> Clusterer:
    """The clusterer whose ``dump`` this is; it continues identically.

    Raises:
        StateError: a clusterer or version that this program does not know.
        one of :data:`ml.state.DAMAGE`: the state is damaged.
    """
    for kind in _KINDS.values():
        if state and state[0] == kind.name:
            made: Clusterer = kind.load(state)
            return made
    known = ", ".join(kind.name for kind in _KINDS.values())
    msg = f"clusterer state is of {state[0] if state else None!r}; this program reads {known}"
    raise StateError(msg)
