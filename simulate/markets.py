"""Where and on what people listen: countries and platforms, with what is normal on each."""

from __future__ import annotations

from typing import NamedTuple


class Platform(NamedTuple):
    """``startup_ms`` is the median time to first sound, ``errors`` the share of failed plays."""

    name: str
    share: float
    startup_ms: float
    errors: float


class Country(NamedTuple):
    """``utc_offset`` in hours, without daylight saving. ``network`` multiplies start-up times.

    ``tilt`` multiplies the share of the platforms it names.
    """

    name: str
    share: float
    utc_offset: float
    network: float
    tilt: dict[str, float]


PLATFORMS = (
    Platform("ios", 0.40, 420, 0.0025),
    Platform("android", 0.33, 520, 0.004),
    Platform("desktop", 0.10, 380, 0.007),
    Platform("web", 0.09, 650, 0.015),
    Platform("smart_speaker", 0.08, 700, 0.013),
)

COUNTRIES = (
    # The home market is big enough on its first platform for ten seconds to say something.
    Country("FR", 0.50, 1, 1.0, {"ios": 1.4}),
    Country("DE", 0.16, 1, 1.0, {"android": 1.3, "desktop": 1.2}),
    Country("GB", 0.13, 0, 0.95, {"ios": 1.1, "smart_speaker": 1.5}),
    Country("US", 0.12, -5, 1.1, {"ios": 1.3, "smart_speaker": 1.6}),
    Country("BR", 0.09, -3, 1.45, {"android": 1.9, "ios": 0.4}),
)

PLATFORM_NAMES = tuple(p.name for p in PLATFORMS)
COUNTRY_NAMES = tuple(c.name for c in COUNTRIES)

STARTUP_SIGMA = 0.45
"""Spread of the log-normal start-up times: p95 is about twice the median."""
