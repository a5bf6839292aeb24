"""Half-space trees over a declared feature pipeline."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from ml.band import Band
from ml.features import Features, parse
from ml.protocol import finite
from ml.state import DAMAGE, number, whole
from ml.trees import HalfSpaceTreesDetector, masses_of, replant, scaled
from models.errors import ConfigurationError, StateError

_encode = msgspec.msgpack.Encoder().encode


class FeatureTreesDetector(HalfSpaceTreesDetector):
    """As :class:`ml.trees.HalfSpaceTreesDetector`, over the features that a spec names.

    Each feature is scaled by a robust band of its own, so ``; scaled`` adds nothing here. The band
    that is published is the value's. Bad where its parent is, and with many features: three trees of
    height three, to stay within 18 KB, look at few of them.
    """

    name: ClassVar[str] = "feature_trees/1"
    trees: ClassVar[int] = 3

    def __init__(self, features: str = "value, difference", min_n_samples: int = 500) -> None:
        super().__init__(min_n_samples)
        self.features = features
        self._pipeline = Features(features)
        self._bands = {str(term): Band(signed=True) for term in parse(features).terms}

    def dump(self) -> bytes:
        """The state, msgpack: the pipeline's own, a band a feature, and the trees' masses."""
        return _encode([
            self.name, self.min_n_samples, self._seen, self._usual, self._variance,
            self._values.dump(), [band.dump() for band in self._bands.values()],
            self._pipeline.dump(), self._trees.counter, masses_of(self._trees),
        ])  # fmt: skip

    @classmethod
    def load(cls, state: list[Any]) -> FeatureTreesDetector:
        """The detector that was dumped; StateError if it is not one."""
        try:
            _, least, seen, usual, variance, values, bands, pipeline, counter, masses = state
            features = Features.load(pipeline)
            detector = cls(features.spec, whole(least))
            detector._pipeline = features
            detector._seen, detector._usual = whole(seen), number(usual)
            detector._variance = number(variance, 0)
            detector._values = Band.load(values)
            detector._bands = {
                name: Band.load(held) for name, held in zip(detector._bands, bands, strict=True)
            }
            replant(detector._trees, detector._bands, masses, whole(counter), detector._seen)
        except (*DAMAGE, ConfigurationError) as exc:
            msg = f"state of {cls.name} is damaged: {exc}"
            raise StateError(msg) from exc
        return detector

    def _follow(self, value: float, at: int) -> None:
        self._values.learn(value)
        x = {"value": value, "at": at}
        for name, made in self._pipeline.transform_one(x).items():
            self._bands[name].learn(finite(made))
        self._pipeline.learn_one(x)

    def _features(self, value: float, at: int) -> dict[str, float]:
        made = self._pipeline.transform_one({"value": value, "at": at})
        return {name: scaled(number, self._bands[name]) for name, number in made.items()}
