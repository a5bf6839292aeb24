"""Forecasts with prediction intervals, learned online: members, their ranking, calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ml.forecasting.bands import LEVELS
from ml.forecasting.blocks import BlockForecaster
from ml.forecasting.forecaster import HORIZON, Crossing, Forecast, Forecaster
from ml.forecasting.learners import MemberForecaster
from ml.forecasting.members import DEFAULT, names
from models.errors import ConfigurationError

__all__ = [
    "DEFAULT", "LEVELS", "BlockForecaster", "Crossing", "Forecast", "Forecaster",
    "MemberForecaster", "create", "forecast", "names",
]  # fmt: skip


def create(
    step_ms: int,
    horizon: int = HORIZON,
    members: tuple[str, ...] | None = None,
    pace: int = 1,
) -> Forecaster:
    """A new forecaster for slots of ``step_ms``, up to ``horizon`` of them ahead.

    The one that ships, at this :class:`pace <BlockForecaster>`, unless members that learn value by value
    (:func:`names`) are asked for.

    Raises:
        ConfigurationError: a step, horizon, pace or member that there is not.
    """
    if members is None:
        return BlockForecaster(step_ms, horizon, pace)
    if pace != 1:
        raise ConfigurationError("members that learn value by value have no pace")
    return MemberForecaster(step_ms, horizon, members)


def forecast(
    values: Iterable[float | None],
    horizon: int,
    levels: tuple[float, ...] = (0.9,),
    *,
    step_ms: int = 3_600_000,
    start: int = 0,
    members: tuple[str, ...] | None = None,
) -> Forecast:
    """What follows evenly spaced values, the first of which stands at ``start`` (epoch ms).

    None and NaN are missing values. ``step_ms`` says what the seasons are; an hour unless said.
    ``members`` as in :func:`create`.

    Raises:
        ConfigurationError: a horizon, level or member that there is not.
        ValueError: a value is infinite.
    """
    forecaster = create(step_ms, horizon, members)
    for place, value in enumerate(values):
        if value is not None and not math.isnan(value):
            forecaster.learn(value, start + place * step_ms)
    return forecaster.forecast(horizon, levels)
