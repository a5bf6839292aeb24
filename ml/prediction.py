"""What a model says of what it need not keep: asked for, not of the stream.

Pure. A detector that is given does learn on the way, so callers give one of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ml.forecasting import Forecast, Forecaster
from ml.protocol import Detector, Verdict
from ml.segmenting.features import Listening, features
from ml.segmenting.segmenter import Assignment, Segment, Segmenter

_SILENT = Verdict(None, None, None)


class Judged(NamedTuple):
    """A value, what was thought of it before it was learned, and whether it was learned."""

    at: int
    value: float | None
    verdict: Verdict
    learned: bool


class Segmented(NamedTuple):
    """Segments of some listeners, and whose segment is which; both empty where they are too few."""

    segments: list[Segment]
    assigned: list[tuple[str, Assignment]]


def detect(
    detector: Detector, points: Sequence[tuple[int, float | None]], learned_until: int | None = None
) -> list[Judged]:
    """Judge points (epoch ms, value), oldest first, and learn those that come after what is known.

    A gap (None) is neither judged nor learned. Up to ``learned_until``, the last time that the
    detector has learned already, points are judged by what it knows and not learned again.

    Raises:
        ValueError: a value is not finite.
    """
    found = []
    for at, value in points:
        if value is None:
            found.append(Judged(at, None, _SILENT, learned=False))
            continue
        verdict = detector.score(value, at)
        learns = learned_until is None or at > learned_until
        if learns:
            detector.learn(value, at)
        found.append(Judged(at, value, verdict, learns))
    return found


def continued(
    forecaster: Forecaster,
    points: Sequence[tuple[int, float | None]],
    horizon: int | None,
    levels: tuple[float, ...],
) -> Forecast:
    """What follows points (epoch ms, value), oldest first, after what the forecaster has learned before.

    ``horizon`` None: as far as it looks. It passes over what it knows; of several points in a slot
    the first counts, and a gap (None) is left to it.

    Raises:
        ConfigurationError: a horizon or level that there is not.
        ValueError: a value is not finite.
    """
    for at, value in points:
        if value is not None:
            forecaster.learn(value, at)
    return forecaster.forecast(horizon, levels)


def segment(listeners: Sequence[tuple[str, Listening]], now: int) -> Segmented:
    """The kinds of listeners there are among these (name, habits), each name once.

    They are learned as those of one day, that of ``now`` (epoch ms). Of those beyond the segmenter's
    sample is only said where they belong.
    """
    segmenter = Segmenter()
    vectors = [(name, features(habits)) for name, habits in listeners]
    for name, vector in vectors:
        segmenter.learn(name, vector, now)
    placed = [(name, segmenter.assign(vector)) for name, vector in vectors]
    return Segmented(
        segmenter.segments(), [(name, place) for name, place in placed if place is not None]
    )
