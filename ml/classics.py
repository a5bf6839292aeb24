"""Classical detectors by distance: Gaussian, robust z-score, residuals of Holt and Winters."""

from __future__ import annotations

import math
import statistics
from array import array
from typing import Any, ClassVar

from ml.deviation import DeviationDetector
from ml.state import number, numbers


class GaussianDetector(DeviationDetector):
    """-log10 of the two-sided tail of a normal distribution around an exponential mean.

    Source: NAB's windowed Gaussian, with exponential weights (West 1979) for a window and the
    logarithm for a probability, which would end at 1. Bad where values are not normal: counts,
    bursts and daily curves all look impossible to it; an outlier widens it for a thousand points.
    """

    name: ClassVar[str] = "gaussian/1"
    _rate = 0.002

    def __init__(self, min_n_samples: int = 50) -> None:
        super().__init__(min_n_samples)
        self._mean = self._variance = 0.0

    def _expected(self, at: int) -> tuple[float, float]:
        return self._mean, math.sqrt(self._variance)

    def _take(self, value: float, at: int) -> None:
        rate = max(self._rate, 1 / (self._seen + 1))
        off = value - self._mean
        self._mean += rate * off
        self._variance = (1 - rate) * (self._variance + rate * off * off)

    def _values(self) -> list[Any]:
        return [self._mean, self._variance]

    def _restore(self, values: list[Any]) -> None:
        mean, variance = values
        self._mean, self._variance = number(mean), number(variance, 0)

    def _weigh(self, deviations: float) -> float:
        x = min(deviations, 1e6) / math.sqrt(2)
        if x < 20:
            return -math.log10(math.erfc(x)) + 0.0
        # erfc(x) ~ exp(-x^2) / (x sqrt(pi)), which floats cannot hold here
        return (x * x + math.log(x * math.sqrt(math.pi))) / math.log(10)


class RobustZScore(DeviationDetector):
    """Distance from the median of the last 128 values, in deviations: 1.4826 median absolute ones.

    Source: Hampel 1974; Iglewicz and Hoaglin 1993, also for the mean absolute deviation where more
    than half of the values are the same. Bad at daily curves, which move faster than the window,
    and at changes of variation; a level shift is normal to it after 64 points.
    """

    name: ClassVar[str] = "robust_zscore/1"
    _kept = 128

    def __init__(self, min_n_samples: int = 50) -> None:
        super().__init__(min_n_samples)
        self._last = array("d")
        self._known: tuple[float, float] | None = None

    def _expected(self, at: int) -> tuple[float, float]:
        if self._known is None:
            centre = statistics.median(self._last)
            off = [abs(value - centre) for value in self._last]
            scale = 1.4826 * statistics.median(off)
            self._known = centre, scale if scale > 0 else 1.2533 * sum(off) / len(off)
        return self._known

    def _take(self, value: float, at: int) -> None:
        if len(self._last) < self._kept:
            self._last.append(value)
        else:
            self._last[self._seen % self._kept] = value
        self._known = None

    def _values(self) -> list[Any]:
        return [self._last.tobytes()]

    def _restore(self, values: list[Any]) -> None:
        (held,) = values
        self._last = numbers(held, "d", min(self._seen, self._kept))


class HoltWintersResidual(DeviationDetector):
    """Residual of a level, a damped trend and the hour of the day, in deviations: 1.2533 mean
    absolute residuals.

    Source: Holt 1957, Winters 1960, additive; residuals beyond four usual ones are clipped before
    they are learned (Gelper, Fried and Croux 2010). River's would raise before one full season and
    knows no clock; this one's season is the UTC day in hours, whatever the spacing. Bad at bursts
    and sparse counts, at weekly curves, and it follows a slow drift without a word.
    """

    name: ClassVar[str] = "holt_winters_residual/1"
    _hours = 24
    _hour_ms = 3_600_000
    _rates = (0.1, 0.01, 0.1, 0.02)  # level, trend, season, usual residual
    _damping = 0.9
    _clip = 4.0

    def __init__(self, min_n_samples: int = 50) -> None:
        super().__init__(min_n_samples)
        self._level = self._trend = self._usual = 0.0
        self._season = array("d", [0.0] * self._hours)

    def _expected(self, at: int) -> tuple[float, float]:
        # 1.2533 mean absolute residuals are a normal distribution's deviation
        return self._forecast(at), 1.2533 * self._usual

    def _forecast(self, at: int) -> float:
        slot = at // self._hour_ms % self._hours
        return self._level + self._damping * self._trend + self._season[slot]

    def _take(self, value: float, at: int) -> None:
        if self._seen == 0:
            self._level = value
        level_rate, trend_rate, season_rate, usual_rate = self._rates
        residual = value - self._forecast(at)
        usual_rate = max(usual_rate, 1 / (self._seen + 1))
        if self._seen >= self.min_n_samples and self._usual > 0:
            reach = self._clip * self._usual
            residual = min(max(residual, -reach), reach)
        slot = at // self._hour_ms % self._hours
        before = self._level
        self._level += self._damping * self._trend + level_rate * residual
        self._trend += trend_rate * (self._level - before - self._trend)
        self._season[slot] += season_rate * (1 - level_rate) * residual
        self._usual += usual_rate * (abs(residual) - self._usual)

    def _values(self) -> list[Any]:
        return [self._level, self._trend, self._usual, self._season.tobytes()]

    def _restore(self, values: list[Any]) -> None:
        level, trend, usual, season = values
        self._level, self._trend, self._usual = number(level), number(trend), number(usual, 0)
        self._season = numbers(season, "d", self._hours)
