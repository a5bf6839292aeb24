"""What a simulation is made from, beside its seed."""

from __future__ import annotations

from dataclasses import dataclass

from simulate.incidents import Incident, check, live, past

HOUR = 3_600_000


@dataclass(frozen=True, slots=True)
class SimulationConfig:
    """Size, pace, incidents and dirt of the simulated service.

    ``rate``: delivered plays a second at the instant ``anchor``, where daily habits are taken as they
    are then; with ``anchor`` None it is the mean over a weekday.
    ``clock_shift`` ms are added to event time before local hours are looked up, so that a demo finds
    the same time of day whenever it runs.
    ``duplicates`` and ``garbage`` are shares of the plays: delivered twice; replaced by rubbish.
    ``sessions`` False draws every play by itself: cheaper, and no plays need to be known beforehand.
    ``slice_ms`` is how much is drawn at once; it is part of what determines the bytes.
    """

    tenant: str = "demo"
    listeners: int = 2_000
    tracks: int = 20_000
    artists: int = 2_000
    rate: float = 10.0
    anchor: int | None = None
    clock_shift: int = 0
    incidents: tuple[Incident, ...] = ()
    duplicates: float = 0.002
    garbage: float = 0.001
    sessions: bool = True
    slice_ms: int = 60_000

    def __post_init__(self) -> None:
        for name in ("listeners", "tracks", "artists", "rate", "slice_ms"):
            if getattr(self, name) <= 0:
                msg = f"simulation {name} is {getattr(self, name)}; it must be more than 0"
                raise ValueError(msg)
        if self.artists > self.tracks:
            msg = f"{self.artists} artists cannot each have one of only {self.tracks} tracks"
            raise ValueError(msg)
        for name in ("duplicates", "garbage"):
            if not 0 <= getattr(self, name) < 1:
                msg = (
                    f"simulation {name} is {getattr(self, name)}; it is a share, from 0 to below 1"
                )
                raise ValueError(msg)
        check(self.incidents)


_WEDNESDAY_AFTERNOON = 6 * 24 * HOUR + 15 * HOUR + HOUR // 2
"""A Wednesday, 15:30 UTC (16:30 in the home market): steady traffic on every platform."""

_WEEK = 7 * 24 * HOUR


def demo(
    now: int, *, rate: float = 16.0, history: int = HOUR, cycles: int = 48
) -> SimulationConfig:
    """The configuration of the demo that goes live ``now``: see ``incidents.past`` and ``live``."""
    return SimulationConfig(
        rate=rate,
        anchor=now,
        clock_shift=(_WEDNESDAY_AFTERNOON - now) % _WEEK,
        incidents=(*past(now, history), *live(now, cycles)),
    )


def firehose(rate: float, anchor: int) -> SimulationConfig:
    """The configuration of benchmarks: many listeners, no incidents, no dirt, no sessions.

    The rate holds at ``anchor`` and follows the hours of the day from there.
    """
    return SimulationConfig(
        anchor=anchor,
        listeners=100_000,
        tracks=200_000,
        artists=20_000,
        rate=rate,
        duplicates=0.0,
        garbage=0.0,
        sessions=False,
        slice_ms=1_000,
    )
