"""What a detector or forecaster says of values that it need not keep: asked for, not of the stream.

Pure. A detector that is given does learn on the way, so callers give one of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ml.forecasting import Forecast, Forecaster
from ml.protocol import Detector, Verdict

_SILENT = Verdict(None, None, None)


class Judged(NamedTuple):
    """A value, what was thought of it before it was learned, and whether it was learned."""

    at: int
    value: float | None
    verdict: Verdict
    learned: bool


def detect(
    detector: Detector, points: Sequence[tuple[int, float | None]], learned_until: int | None = None
) -> list[Judged]:
    """Judge points (epoch ms, value), oldest first, and learn those that come after what is known.

    A gap (None) is neither judged nor learned. Up to ``learned_until``, the last time that the
    detector has learned already, points are judged by what it knows and not learned again.
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


def forecast(
    points: Sequence[tuple[int, float | None]],
    step_ms: int,
    horizon: int,
    levels: tuple[float, ...],
) -> Forecast:
    """What follows points (epoch ms, value), oldest first, in slots of ``step_ms``.

    Of several points in a slot the first counts; a gap (None) is left to the forecaster.

    Raises:
        ConfigurationError: a step, horizon or level that there is not.
    """
    forecaster = Forecaster(step_ms, horizon)
    for at, value in points:
        if value is not None:
            forecaster.learn(value, at)
    return forecaster.forecast(horizon, levels)
