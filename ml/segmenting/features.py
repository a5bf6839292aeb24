"""What a listener's profile says in numbers of comparable meaning, each with its name and unit.

Shares of hours, sources and platforms are drawn towards an even split as if ``PRIOR`` more plays had
been seen, the other numbers towards a usual value by a few, so that who has played little is not
extreme in everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

PRIOR = 10.0
NIGHT, MORNING, DAYTIME, EVENING = (22, 5), (5, 10), (10, 16), (16, 22)


class Listening(NamedTuple):
    """What is known of one listener, as plain values.

    ``days``: from the first play to the last. ``recent``: plays as a decayed sum with a half-life of a
    day. ``tracks``: distinct ones of the day before the last. ``hours``: plays by hour of the day
    (UTC). ``gaps``: gaps between starts by length, the last cell is pauses of 1,024 s and more.
    ``sources``, ``platforms``: plays by name.
    """

    plays: int
    skips: int
    completes: int
    days: float
    recent: float
    tracks: int
    hours: Sequence[int]
    gaps: Sequence[int]
    sources: Mapping[str, int]
    platforms: Mapping[str, int]


class Feature(NamedTuple):
    """One number: ``high`` and ``low`` are words for segments that have much or little of it.

    ``topic``: a description says one thing about each. ``weight``: what a standard deviation of it
    counts in a distance. ``log``: the number is the logarithm of what the unit says, and ``plus``.
    """

    name: str
    unit: str
    topic: str
    high: str
    low: str = ""
    weight: float = 1.0
    log: bool = False
    plus: float = 0.0

    def shown(self, value: float) -> float:
        """A value in the unit, its logarithm undone."""
        return math.exp(min(value, 700.0)) - self.plus if self.log else value


FEATURES = (
    Feature("rate", "plays a day", "rate", "listen a lot", "listen little", 0.5, log=True, plus=1.0),
    Feature("session", "plays a session", "session", "long sessions", "short sessions", log=True),
    Feature("diversity", "distinct tracks a play", "diversity",
            "ever different tracks", "the same tracks again", 0.5),
    Feature("regularity", "0 (any hour) to 1 (one hour)", "regularity",
            "keep to their hours", "at any hour", 0.5),
    Feature("skip", "share of plays", "patience", "skip often", "hardly skip"),
    Feature("completion", "share of plays", "patience", "play to the end", "seldom play to the end"),
    Feature("night", "share of plays, 22-5 h UTC", "when", "night listeners"),
    Feature("morning", "share of plays, 5-10 h UTC", "when", "morning listeners"),
    Feature("daytime", "share of plays, 10-16 h UTC", "when", "daytime listeners"),
    Feature("evening", "share of plays, 16-22 h UTC", "when", "evening listeners"),
    Feature("playlist", "share of plays", "source", "playlists"),
    Feature("album", "share of plays", "source", "albums"),
    Feature("search", "share of plays", "source", "search"),
    Feature("radio", "share of plays", "source", "radio"),
    Feature("autoplay", "share of plays", "source", "autoplay"),
    Feature("mobile", "share of plays", "platform", "on phones"),
    Feature("computer", "share of plays", "platform", "on computers"),
    Feature("home", "share of plays", "platform", "on speakers, television and in the car"),
)  # fmt: skip

NAMES = tuple(feature.name for feature in FEATURES)
WEIGHTS = tuple(feature.weight for feature in FEATURES)

Vector = tuple[float, ...]
"""A value for each of :data:`FEATURES`, in their order."""


def features(known: Listening) -> Vector:
    """The 18 features, in the order of :data:`FEATURES`, of one who has played; all are finite."""
    plays = max(known.plays, 1)
    hours, all_gaps = known.hours, max(sum(known.gaps), 1)
    sessions = 1 + plays * known.gaps[-1] / all_gaps
    parts = [
        sum(hours[22:]) + sum(hours[:5]),
        sum(hours[5:10]),
        sum(hours[10:16]),
        sum(hours[16:22]),
    ]
    sources = _shares(known.sources, ("playlist", "album", "search", "radio", "autoplay"))
    devices, everything = known.platforms, sum(known.platforms.values())
    mobile = devices.get("ios", 0) + devices.get("android", 0)
    computer = devices.get("web", 0) + devices.get("desktop", 0)
    counted = sum(parts) + PRIOR
    return (
        math.log1p(plays / (known.days + 0.5)),
        math.log((plays + 5) / (sessions + 1)),
        (known.tracks + 2) / (max(known.recent, known.tracks) + 3),
        _regularity(hours),
        (known.skips + 1) / (plays + 5),
        (known.completes + 3) / (plays + 5),
        *((part + PRIOR * width / 24) / counted for part, width in zip(parts, (7, 5, 6, 6), strict=True)),
        *sources,
        (mobile + PRIOR / 3) / (everything + PRIOR),
        (computer + PRIOR / 3) / (everything + PRIOR),
        (everything - mobile - computer + PRIOR / 3) / (everything + PRIOR),
    )  # fmt: skip


def _shares(counts: Mapping[str, int], names: Sequence[str]) -> list[float]:
    """The share of each name; what is not named has a place in the even split, too."""
    total, even = sum(counts.values()) + PRIOR, PRIOR / (len(names) + 1)
    return [(counts.get(name, 0) + even) / total for name in names]


def _regularity(hours: Sequence[int]) -> float:
    """One less the entropy of the hours over that of an even day (Shannon 1948)."""
    total = sum(hours)
    if not total:
        return 0.0
    entropy = math.log(total) - sum(n * math.log(n) for n in hours if n) / total
    return max(0.0, 1.0 - entropy / math.log(len(hours)))
