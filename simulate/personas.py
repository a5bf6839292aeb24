"""The kinds of listeners: when they listen, for how long, what, and how patiently.

Kept apart from the generator because these tables are the truth that labels name and tests
measure. Shares and habits are plausible, not estimated from any service.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCES = ("playlist", "album", "search", "radio", "autoplay", "library", "offline")
OFFLINE = SOURCES.index("offline")

PLANS = ("premium", "free", "family", "student", "trial")

_LEISURE = (
    *(0.35, 0.2, 0.12, 0.1, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 0.9, 0.95),
    *(0.95, 0.95, 1.0, 1.0, 1.0, 1.0, 1.0, 0.95, 0.9, 0.85, 0.7, 0.5),
)


class Persona(NamedTuple):
    """One kind of listener.

    ``hours`` and ``weekend`` weigh the 24 local hours. ``plays`` is the mean length of a session in
    plays. ``own`` is the share of plays from the listener's own ``repertoire`` of that many
    tracks; the rest comes from the whole catalogue, flatter where ``curious``. ``loyal`` is the
    share of plays of the one favourite artist. ``sources``, ``plans`` and ``platforms`` are weights
    in the order of their tables.
    """

    name: str
    share: float
    activity: float
    hours: tuple[float, ...]
    weekend: tuple[float, ...]
    plays: float
    skip: float
    own: float
    repertoire: int
    loyal: float
    curious: bool
    sources: tuple[float, ...]
    plans: tuple[float, ...]
    platforms: dict[str, float]


PERSONAS = (
    Persona(
        name="commuter",
        share=0.30,
        activity=1.0,
        hours=(
            *(0.1, 0.05, 0.03, 0.03, 0.05, 0.3, 1.0, 2.4, 2.6, 1.1, 0.6, 0.6),
            *(0.8, 0.8, 0.7, 0.8, 1.4, 2.2, 2.3, 1.4, 0.8, 0.6, 0.4, 0.2),
        ),
        weekend=_LEISURE,
        plays=6,
        skip=0.24,
        own=0.45,
        repertoire=60,
        loyal=0.04,
        curious=False,
        sources=(45, 12, 8, 8, 17, 10, 0),
        plans=(55, 28, 5, 8, 4),
        platforms={"ios": 1.4, "android": 1.4, "web": 0.2, "desktop": 0.2, "smart_speaker": 0.1},
    ),
    Persona(
        name="night",
        share=0.08,
        activity=1.1,
        hours=(
            *(2.2, 1.9, 1.6, 1.3, 1.1, 0.8, 0.4, 0.2, 0.1, 0.1, 0.1, 0.1),
            *(0.15, 0.2, 0.2, 0.2, 0.2, 0.25, 0.3, 0.5, 0.8, 1.3, 2.0, 2.4),
        ),
        weekend=(
            *(2.4, 2.2, 1.9, 1.6, 1.3, 0.9, 0.5, 0.3, 0.2, 0.15, 0.15, 0.15),
            *(0.15, 0.2, 0.2, 0.2, 0.2, 0.25, 0.3, 0.5, 0.8, 1.3, 1.9, 2.3),
        ),
        plays=9,
        skip=0.02,
        own=0.9,
        repertoire=15,
        loyal=0.0,
        curious=False,
        sources=(60, 5, 1, 4, 20, 10, 0),
        plans=(70, 14, 8, 6, 2),
        platforms={"ios": 1.0, "android": 1.0, "web": 0.2, "desktop": 0.3, "smart_speaker": 2.5},
    ),
    Persona(
        name="focus",
        share=0.17,
        activity=1.2,
        hours=(
            *(0.1, 0.05, 0.03, 0.03, 0.03, 0.05, 0.2, 0.6, 1.5, 2.2, 2.3, 2.1),
            *(1.5, 1.9, 2.3, 2.2, 2.0, 1.5, 0.7, 0.5, 0.4, 0.4, 0.3, 0.2),
        ),
        weekend=_LEISURE,
        plays=9,
        skip=0.06,
        own=0.5,
        repertoire=80,
        loyal=0.02,
        curious=False,
        sources=(70, 6, 3, 8, 8, 5, 0),
        plans=(62, 16, 6, 14, 2),
        platforms={"ios": 0.8, "android": 0.7, "web": 2.4, "desktop": 2.6, "smart_speaker": 0.2},
    ),
    Persona(
        name="explorer",
        share=0.14,
        activity=0.9,
        hours=(
            *(0.4, 0.2, 0.1, 0.05, 0.05, 0.1, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9),
            *(1.0, 1.0, 1.0, 1.1, 1.2, 1.4, 1.7, 2.0, 2.2, 2.0, 1.4, 0.8),
        ),
        weekend=_LEISURE,
        plays=5,
        skip=0.46,
        own=0.05,
        repertoire=200,
        loyal=0.0,
        curious=True,
        sources=(20, 14, 38, 8, 14, 6, 0),
        plans=(50, 30, 4, 12, 4),
        platforms={"ios": 1.0, "android": 1.0, "web": 1.2, "desktop": 1.2, "smart_speaker": 0.1},
    ),
    Persona(
        name="super-fan",
        share=0.06,
        activity=1.8,
        hours=(
            *(0.5, 0.3, 0.2, 0.1, 0.1, 0.2, 0.4, 0.8, 0.9, 0.9, 0.9, 1.0),
            *(1.1, 1.1, 1.1, 1.2, 1.4, 1.5, 1.6, 1.7, 1.7, 1.6, 1.3, 0.9),
        ),
        weekend=_LEISURE,
        plays=8,
        skip=0.03,
        own=0.1,
        repertoire=30,
        loyal=0.85,
        curious=False,
        sources=(12, 62, 8, 1, 4, 13, 0),
        plans=(68, 14, 6, 10, 2),
        platforms={"ios": 1.2, "android": 1.0, "web": 0.6, "desktop": 0.8, "smart_speaker": 0.4},
    ),
    Persona(
        name="radio",
        share=0.12,
        activity=1.1,
        hours=(
            *(0.2, 0.15, 0.1, 0.1, 0.2, 0.5, 1.0, 1.4, 1.4, 1.3, 1.3, 1.3),
            *(1.3, 1.2, 1.2, 1.2, 1.2, 1.2, 1.1, 0.9, 0.8, 0.7, 0.5, 0.3),
        ),
        weekend=_LEISURE,
        plays=8,
        skip=0.10,
        own=0.0,
        repertoire=1,
        loyal=0.0,
        curious=False,
        sources=(4, 1, 2, 80, 12, 1, 0),
        plans=(34, 56, 5, 3, 2),
        platforms={"ios": 0.9, "android": 0.9, "web": 0.8, "desktop": 0.6, "smart_speaker": 2.2},
    ),
    Persona(
        name="family",
        share=0.13,
        activity=1.3,
        hours=(
            *(0.1, 0.05, 0.02, 0.02, 0.03, 0.2, 0.9, 1.5, 0.9, 0.6, 0.6, 0.7),
            *(0.9, 0.9, 0.9, 1.3, 1.8, 2.0, 2.1, 1.9, 1.2, 0.7, 0.4, 0.2),
        ),
        weekend=_LEISURE,
        plays=5,
        skip=0.30,
        own=0.6,
        repertoire=250,
        loyal=0.02,
        curious=False,
        sources=(42, 14, 14, 6, 14, 10, 0),
        plans=(2, 2, 95, 0, 1),
        platforms={"ios": 1.1, "android": 1.1, "web": 0.5, "desktop": 0.5, "smart_speaker": 1.8},
    ),
)

PERSONA_NAMES = tuple(p.name for p in PERSONAS)
