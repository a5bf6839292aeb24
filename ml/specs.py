"""What a model's ``spec`` may say of a detector, and what is made of it.

name       one of registry.names(); "novelty" if it is not given
direction  any, up, down, zero: what it speaks of
minimum    volume below which it says nothing, in the series' unit; at least 0
features   what feature_trees looks at, as ml.features.parse takes it; others have none
threshold  score from which a window counts when models are compared; at least 0, 2 if not given
drift      adwin or page_hinkley: watch for drift
retrain    with drift: "shadow" has a drift start a new version as a shadow

and of a forecaster:

within     how far it looks ahead, as the rules that it is for say it: "6h"; "1d" if it is not given
"""

from __future__ import annotations

from collections.abc import Mapping

from ml import registry
from ml.drift import KINDS as DRIFT_TESTS
from ml.drift import DriftWatch
from ml.features import version
from ml.protocol import Detector
from ml.served import THRESHOLD
from models.config import parse_ahead
from models.errors import ConfigurationError, StateError

Spec = Mapping[str, str | float | int | bool]

KEYS = ("name", "direction", "minimum", "features", "threshold", "drift", "retrain")
RETRAIN = "shadow"
FORECASTER_KEYS = ("within",)
WITHIN = "1d"
LARGEST = 1e15
"""What a number may be at most: up to there every reader of the topic keeps it exactly."""


def check(spec: Spec) -> None:
    """Raise ConfigurationError, naming key and value, if a spec says what nothing can be made of."""
    _know(spec, "detector", KEYS)
    if spec.get("retrain", RETRAIN) != RETRAIN:
        msg = f"retrain is {spec['retrain']!r}; it can only be {RETRAIN!r}"
        raise ConfigurationError(msg)
    if "retrain" in spec and "drift" not in spec:
        msg = f"retrain needs a drift test; drift can be {' or '.join(DRIFT_TESTS)}"
        raise ConfigurationError(msg)
    threshold_of(spec)
    detector_of(spec)
    drift_of(spec)


def check_forecaster(spec: Spec) -> None:
    """As :func:`check`, of a forecaster's spec."""
    _know(spec, "forecaster", FORECASTER_KEYS)
    within_of(spec)


def within_of(spec: Spec) -> int:
    """How far a forecaster looks ahead, ms. Raises ConfigurationError."""
    return parse_ahead(str(spec.get("within", WITHIN)))


def _know(spec: Spec, kind: str, keys: tuple[str, ...]) -> None:
    unknown = sorted(spec.keys() - set(keys))
    if unknown:
        msg = f"spec has {', '.join(unknown)}; a {kind}'s may have {', '.join(keys)}"
        raise ConfigurationError(msg)


def detector_of(spec: Spec) -> Detector:
    """A new detector as a spec has it. Raises ConfigurationError."""
    return registry.create(
        str(spec.get("name", registry.DEFAULT)),
        str(spec.get("direction", "any")),
        _number(spec, "minimum", 0.0),
        str(spec.get("features", "")),
    )


def check_features(spec: Spec, trained_with: str) -> None:
    """Raise StateError if this program's pipeline is not the one a model was trained with."""
    made = features_of(spec)
    if made != trained_with:
        msg = (
            f"features {spec.get('features', '')!r} are version {made or 'none'} here; "
            f"the model was trained with {trained_with or 'none'}"
        )
        raise StateError(msg)


def features_of(spec: Spec) -> str:
    """The version of the pipeline that a spec names, "" for none. Raises ConfigurationError."""
    named = str(spec.get("features", ""))
    return version(named) if named else ""


def threshold_of(spec: Spec) -> float:
    """The score from which a window counts. Raises ConfigurationError."""
    return _number(spec, "threshold", THRESHOLD)


def drift_of(spec: Spec) -> DriftWatch | None:
    """A new watch for drift; None where the spec asks for none. Raises ConfigurationError."""
    kind = spec.get("drift")
    return None if kind is None else DriftWatch(str(kind))


def _number(spec: Spec, key: str, otherwise: float) -> float:
    value = spec.get(key, otherwise)
    if isinstance(value, str | bool) or not 0 <= value <= LARGEST:
        msg = f"{key} is {value!r}; it must be a number from 0 to {LARGEST:g}"
        raise ConfigurationError(msg)
    return float(value)
