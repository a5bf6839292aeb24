"""The detectors there are, by the name they are configured by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from ml.baselines import Metronome, ZScore
from ml.lite import LiteDetector
from ml.novelty import NoveltyDetector
from ml.protocol import Detector
from models.errors import ConfigurationError, StateError

DEFAULT = "novelty"

_CREATE: dict[str, Callable[[], Detector]] = {
    "novelty": NoveltyDetector,
    "lite": LiteDetector,
    "zscore": ZScore,
    "metronome": Metronome,
}
_LOAD: dict[str, Callable[[list[Any]], Detector]] = {
    NoveltyDetector.name: NoveltyDetector.load,
    LiteDetector.name: LiteDetector.load,
    ZScore.name: ZScore.load,
    Metronome.name: Metronome.load,
}
_decode = msgspec.msgpack.Decoder(list).decode


def names() -> list[str]:
    """The names that :func:`create` takes, sorted."""
    return sorted(_CREATE)


def create(name: str = DEFAULT) -> Detector:
    """A new detector, by its name with or without its state's version.

    Raises:
        ConfigurationError: there is none of that name.
    """
    maker = _CREATE.get(name) or (_CREATE[name.partition("/")[0]] if name in _LOAD else None)
    if maker is None:
        msg = f"there is no detector {name!r}; there are {', '.join(names())}"
        raise ConfigurationError(msg)
    return maker()


def load(state: bytes) -> Detector:
    """The detector that :meth:`Detector.dump` gave these bytes; it continues identically.

    Raises:
        StateError: the bytes are damaged, or of a detector or version this program does not know.
    """
    try:
        values = _decode(state)
    except msgspec.DecodeError as exc:
        msg = f"detector state of {len(state)} bytes is not msgpack: {exc}"
        raise StateError(msg) from exc
    name = values[0] if values else None
    maker = _LOAD.get(name) if isinstance(name, str) else None
    if maker is None:
        msg = f"detector state is of {name!r}; this program reads {', '.join(sorted(_LOAD))}"
        raise StateError(msg)
    return maker(values)
