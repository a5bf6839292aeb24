"""Forecasts with prediction intervals, learned online: members, their selection, calibration."""

from __future__ import annotations

import math
from collections.abc import Iterable

from ml.forecasting.forecaster import LEVELS, Crossing, Forecast, Forecaster
from ml.forecasting.members import DEFAULT, names

__all__ = ["DEFAULT", "LEVELS", "Crossing", "Forecast", "Forecaster", "forecast", "names"]


def forecast(
    values: Iterable[float | None],
    horizon: int,
    levels: tuple[float, ...] = (0.9,),
    *,
    step_ms: int = 3_600_000,
    start: int = 0,
    members: tuple[str, ...] = DEFAULT,
) -> Forecast:
    """What follows evenly spaced values, the first of which stands at ``start`` (epoch ms).

    None and NaN are missing values. ``step_ms`` says what the seasons are; an hour unless said.

    Raises:
        ConfigurationError: a horizon, level or member that there is not.
        ValueError: a value is infinite.
    """
    forecaster = Forecaster(step_ms, horizon, members)
    for place, value in enumerate(values):
        if value is not None and not math.isnan(value):
            forecaster.learn(value, start + place * step_ms)
    return forecaster.forecast(horizon, levels)
