"""The members there are by name, made for the seasons of a spacing."""

from __future__ import annotations

from collections.abc import Callable

from ml.forecasting.forest import Forest
from ml.forecasting.naive import SeasonalNaive
from ml.forecasting.protocol import Member, Seasons
from ml.forecasting.smoothing import Smoothing
from ml.forecasting.snarimax import Snarimax
from models.errors import ConfigurationError

DEFAULT = (
    "last", "slow_level", "fast_level", "trend", "day", "week", "holt_winters", "snarimax",
)  # fmt: skip
"""What a forecaster has unless told otherwise: all but the forest, which costs thirty times as much."""

_MAKERS: dict[str, Callable[[Seasons], Member | None]] = {
    "last": lambda _: SeasonalNaive(1),
    "slow_level": lambda _: Smoothing(0.03),
    "fast_level": lambda _: Smoothing(0.3),
    "trend": lambda _: Smoothing(0.3, 0.03),
    "day": lambda s: SeasonalNaive(s.shortest) if s.shortest else None,
    "week": lambda s: SeasonalNaive(s.week) if s.day and s.week else None,
    "holt_winters": lambda s: Smoothing(0.1, 0.01, s.shortest) if s.shortest else None,
    "snarimax": lambda s: Snarimax(s.shortest or 0),
    "forest": lambda _: Forest(),
}


def names() -> list[str]:
    """The names that :func:`create` takes."""
    return list(_MAKERS)


def create(wanted: tuple[str, ...], seasons: Seasons) -> dict[str, Member]:
    """New members by name; one whose season the spacing has not is left out.

    Raises:
        ConfigurationError: there is none of that name, or none is left.
    """
    if unknown := [name for name in wanted if name not in _MAKERS]:
        msg = f"there is no member {unknown[0]!r}; there are {', '.join(_MAKERS)}"
        raise ConfigurationError(msg)
    made = {name: member for name in wanted if (member := _MAKERS[name](seasons)) is not None}
    if not made:
        msg = f"of the members {', '.join(wanted) or '(none)'} none fits a spacing without seasons"
        raise ConfigurationError(msg)
    return made
