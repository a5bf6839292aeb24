"""The detectors there are, by the name they are configured by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ml.baselines import Metronome, ZScore
from ml.classics import GaussianDetector, HoltWintersResidual, RobustZScore
from ml.directed import DirectedDetector
from ml.ensemble import EnsembleDetector
from ml.feature_trees import FeatureTreesDetector
from ml.lite import LiteDetector
from ml.novelty import NoveltyDetector
from ml.protocol import Detector
from ml.served import ServedDetector
from ml.trees import HalfSpaceTreesDetector
from models.errors import ConfigurationError, StateError

DEFAULT = "novelty"

_KINDS: dict[str, type[Any]] = {
    kind.name.partition("/")[0]: kind
    for kind in (
        NoveltyDetector, LiteDetector, HalfSpaceTreesDetector, FeatureTreesDetector, RobustZScore,
        HoltWintersResidual, GaussianDetector, EnsembleDetector, ZScore, Metronome,
    )
}  # fmt: skip
_LOAD: dict[str, Callable[[list[Any]], Detector]] = {
    kind.name: kind.load for kind in _KINDS.values()
}
_decode = msgspec.msgpack.Decoder(list).decode


def names() -> list[str]:
    """The names that :func:`create` takes, sorted."""
    return sorted(_KINDS)


def create(
    name: str = DEFAULT, direction: str = "any", minimum: float = 0.0, features: str = ""
) -> Detector:
    """A new detector, by its name with or without its state's version.

    ``features`` is what :func:`ml.features.parse` takes; only ``feature_trees`` has any.
    ``direction`` and ``minimum`` limit what it speaks of: see :class:`ml.directed.DirectedDetector`.

    Raises:
        ConfigurationError: there is none of that name, no such direction or feature, or features
            for a detector that has none.
    """
    kind = _KINDS.get(name) or (_KINDS[name.partition("/")[0]] if name in _LOAD else None)
    if kind is None:
        msg = f"there is no detector {name!r}; there are {', '.join(names())}"
        raise ConfigurationError(msg)
    if features and kind is not FeatureTreesDetector:
        msg = f"detector {name} takes no features; feature_trees does"
        raise ConfigurationError(msg)
    detector: Detector = kind(features) if features else kind()
    if direction == "any" and not minimum:
        return detector
    return DirectedDetector(detector, direction, minimum)


def load(state: bytes) -> Detector:
    """The detector that :meth:`Detector.dump` gave these bytes; it continues identically.

    Raises:
        StateError: the bytes are damaged, or of a detector or version this program does not know.
    """
    try:
        values = _decode(state)
    except ValueError as exc:  # of msgspec, or of text within that is none
        msg = f"detector state of {len(state)} bytes is not msgpack: {exc}"
        raise StateError(msg) from exc
    name = values[0] if values else None
    if name == DirectedDetector.name:
        return DirectedDetector.load(values, load)
    if name == ServedDetector.name:
        return ServedDetector.load(values, load, create)
    maker = _LOAD.get(name) if isinstance(name, str) else None
    if maker is None:
        msg = f"detector state is of {name!r}; this program reads {', '.join(sorted(_LOAD))}"
        raise StateError(msg)
    return maker(values)
