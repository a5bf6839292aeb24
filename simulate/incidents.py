"""What goes wrong (or right) in the simulated service, with its exact truth.

An incident is plain data: the generator applies it, the labels state it, tests check both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from models.config import format_duration

Kind = Literal["release", "silence", "breakout", "late_batch"]

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Incident(NamedTuple):
    """One labelled stretch of ``[start, end)`` in epoch ms.

    * ``release``: plays of ``platform`` × ``country`` that start then fail with the probability
      ``failing``, and the others take ``times`` as long to start.
    * ``silence``: plays of ``platform`` (in ``country``) that start then are never sent.
    * ``breakout``: plays of one ``track`` by all kinds of listeners, everywhere: ``times`` the
      service's whole normal rate on top, rising over the first fifth.
    * ``late_batch``: ``plays`` plays made offline *arrive* then; each started between ``youngest``
      and ``oldest`` ms before it arrives.
    """

    id: str
    kind: Kind
    start: int
    end: int
    platform: str | None = None
    country: str | None = None
    track: int = 0
    failing: float = 0.0
    times: float = 1.0
    plays: int = 0
    youngest: int = 0
    oldest: int = 0

    def about(self) -> str:
        """The incident in words."""
        where = " in ".join(x for x in (self.platform, self.country) if x)
        match self.kind:
            case "release":
                return f"a release breaks playback on {where}"
            case "silence":
                return f"{where} falls silent"
            case "breakout":
                return "one track breaks out, everywhere at once"
            case "late_batch":
                ages = f"{format_duration(self.youngest)} to {format_duration(self.oldest)}"
                return f"{self.plays} plays made offline arrive, {ages} late"


class Expected(NamedTuple):
    """What a detector should see: which measure, of which group, moves which way and how far.

    ``level`` is the measure's expected value during the incident; None: only the direction is sure.
    """

    measure: str
    tags: dict[str, str]
    direction: Literal["up", "down"]
    level: float | None = None


def expected(incident: Incident) -> list[Expected]:
    """The series on which an incident is visible."""
    tags = {k: v for k, v in (("platform", incident.platform), ("country", incident.country)) if v}
    match incident.kind:
        case "release":
            return [
                Expected("error_rate", tags, "up", incident.failing),
                Expected("startup_p95", tags, "up"),
            ]
        case "silence":
            return [Expected("plays", tags, "down", 0.0)]
        case "breakout":
            return [Expected("plays", {}, "up")]
        case "late_batch":
            return []


def check(incidents: Iterable[Incident]) -> None:
    """Refuse incidents that cannot be applied.

    Raises:
        ValueError: which one, and what would be right.
    """
    for i in incidents:
        if i.end <= i.start:
            msg = f"incident {i.id!r} ends at {i.end}, which is not after its start {i.start}"
            raise ValueError(msg)
        if i.kind == "late_batch" and not 0 < i.youngest < i.oldest:
            msg = f"incident {i.id!r} needs 0 < youngest < oldest, not {i.youngest} and {i.oldest}"
            raise ValueError(msg)
        if i.kind in {"release", "silence"} and i.platform is None:
            msg = f"incident {i.id!r} of kind {i.kind} names no platform"
            raise ValueError(msg)


def release(name: str, start: int, lasts: int, platform: str, country: str) -> Incident:
    """A release that lets a third of the plays fail and makes the rest slow to start."""
    end = start + lasts
    return Incident(name, "release", start, end, platform, country, failing=0.35, times=3.0)


def late_batch(name: str, start: int, plays: int, youngest: int, oldest: int) -> Incident:
    """Plays made offline that all arrive within 15 s."""
    end = start + 15_000
    return Incident(name, "late_batch", start, end, plays=plays, youngest=youngest, oldest=oldest)


RISING = 7_001
"""The first track to break out: deep in the tail of the catalogue until then."""


def past(now: int, history: int) -> list[Incident]:
    """The incidents inside a history that ends ``now``; none where it is under half an hour."""
    if history < 30 * MINUTE:
        return []

    def ago(share: float) -> int:
        return (now - int(history * share)) // 1000 * 1000

    up, silent = ago(1 / 3), ago(1 / 4)
    return [
        release("past-release", ago(1 / 2), 4 * MINUTE, "ios", "FR"),
        Incident("past-breakout", "breakout", up, up + 4 * MINUTE, track=RISING, times=1.5),
        Incident("past-silence", "silence", silent, silent + 3 * MINUTE, "web"),
        late_batch("past-late", ago(1 / 10), 200, 2 * DAY, 5 * DAY),
    ]


_SILENT = ("desktop", "web", "smart_speaker")
CYCLE = 15 * MINUTE
"""The live incidents repeat after this."""


def live(now: int, cycles: int) -> list[Incident]:
    """The demo's incidents from ``now`` on, repeated every quarter of an hour.

    The first begins 15 s in, so that a true alert is there within the first minute. Of the two late
    batches one is young enough to correct its windows, the other too old for that.
    """
    out = []
    for n in range(cycles):
        t = now + n * CYCLE
        silent, up = t + 3 * MINUTE, t + 5 * MINUTE
        quiet = _SILENT[n % len(_SILENT)]
        out += [
            release(f"release-{n}", t + 15_000, 90_000, "ios", "FR"),
            late_batch(f"late-{n}", t + 2 * MINUTE, 120, 3 * MINUTE, 40 * MINUTE),
            late_batch(f"old-{n}", t + 2 * MINUTE + 15_000, 120, 2 * DAY, 6 * DAY),
            Incident(f"silence-{n}", "silence", silent, silent + 2 * MINUTE, quiet),
            Incident(
                f"breakout-{n}", "breakout", up, up + 4 * MINUTE, track=RISING + 1 + n, times=1.5
            ),
        ]
    return out
