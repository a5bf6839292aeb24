"""Simulated days with incidents drawn from a seed, as the windows that the product would judge.

The windows hold what the shipped configuration's of a minute every ten seconds hold at their first
publication (on-time plays, by event time), counted with arrays: a day takes seconds. Quantiles are
exact here and within a percent in the product; the rest is equal to the last digit.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulate.config import SimulationConfig
from simulate.draw import PLAY
from simulate.generator import Simulation
from simulate.incidents import DAY, HOUR, MINUTE, RISING, Incident, expected, release
from simulate.markets import COUNTRY_NAMES, PLATFORM_NAMES

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

PANE, SIZE = 10_000, MINUTE
RATE = 16.0
"""Plays a second, the demo's: a slice watched has 50 to 250 a minute by day."""

SLICES = (("ios", "FR"), ("android", "FR"), ("ios", "DE"), ("android", "DE"))
"""Where releases break playback: the slices that most plays are on."""

MIN_WEIGHT = {"error_rate": 20, "startup_p95": 30}
"""Plays under which a window says nothing, as in the shipped rules."""

SPACING = 2 * HOUR
"""One incident in each, so that the quiet time after one (at most 50 minutes) ends before the next."""

KINDS = ("release", "release, a third", "breakout", "breakout, a third", "silence")

_RELEASE_TIMES, _BREAKOUT_TIMES = 3.0, 1.5


class Track(NamedTuple):
    """One series: its value in each window (NaN: none), and whether it has the weight to alert."""

    measure: str
    tags: dict[str, str]
    values: Floats
    is_heavy: NDArray[np.bool_]

    @property
    def name(self) -> str:
        return self.measure + "{" + ",".join(self.tags.values()) + "}"


class Ground(NamedTuple):
    """What a seed gives: windows from ``start`` on, one each :data:`PANE`, and what went wrong.

    The first ``first`` windows are there to be learned from and do not count.
    """

    seed: int
    start: int
    first: int
    incidents: tuple[Incident, ...]
    tracks: list[Track]

    def ends(self) -> Counts:
        """When each window ends, in epoch ms."""
        return self.start + SIZE + PANE * np.arange(len(self.tracks[0].values))


def kind_of(incident: Incident) -> str:
    """Under which of :data:`KINDS` an incident is counted; it is in its id."""
    return incident.id.partition("/")[0]


def watched() -> list[tuple[str, dict[str, str]]]:
    """Measure and tags of every series on which one of the incidents can be seen."""
    possible = [_incident(kind, 0, n) for kind in KINDS for n in range(len(PLATFORM_NAMES))]
    each = {(e.measure, *e.tags.items()): e for i in possible for e in expected(i)}
    return [(e.measure, e.tags) for e in each.values()]


def seen_on(kind: str) -> set[str]:
    """The measures that incidents of a kind move."""
    return {e.measure for e in expected(_incident(kind, 0, 0))}


def schedule(seed: int, start: int, end: int) -> tuple[Incident, ...]:
    """Incidents between two times: all kinds equally often, in an order and at times of the seed."""
    rng = np.random.default_rng([seed, 99])
    slots = (end - start) // SPACING
    kinds = [KINDS[n % len(KINDS)] for n in range(slots)]
    rng.shuffle(kinds)
    return tuple(
        _incident(
            kind,
            start + n * SPACING + int(rng.integers(5 * MINUTE, 65 * MINUTE)) // 1000 * 1000,
            int(rng.integers(1000)),
        )
        for n, kind in enumerate(kinds)
    )


def _incident(kind: str, at: int, turn: int) -> Incident:
    """An incident as long as the demo's past ones and as strong, or a third as strong."""
    third = 1 / 3 if kind.endswith("a third") else 1.0
    name = f"{kind}/{at}"
    if kind.startswith("release"):
        full = release(name, at, 4 * MINUTE, *SLICES[turn % len(SLICES)])
        times = 1 + third * (_RELEASE_TIMES - 1)
        return full._replace(failing=third * full.failing, times=times)
    if kind.startswith("breakout"):
        times = third * _BREAKOUT_TIMES
        return Incident(name, "breakout", at, at + 4 * MINUTE, track=RISING + turn, times=times)
    platform = PLATFORM_NAMES[turn % len(PLATFORM_NAMES)]
    return Incident(name, "silence", at, at + 3 * MINUTE, platform)


def simulate(
    seed: int, days: float, *, is_calm: bool, learned: float = 1.0, rate: float = RATE
) -> Ground:
    """``learned`` days without incidents, then ``days`` with them; which days, the seed decides.

    ``is_calm``: none at all.
    """
    start = (20_000 + seed % 365) * DAY
    first = int(learned * DAY) // PANE
    counted = start + first * PANE
    end = counted + int(days * DAY) // PANE * PANE
    incidents = () if is_calm else schedule(seed, counted, end)
    config = SimulationConfig(rate=rate, incidents=incidents, slice_ms=10 * MINUTE)
    simulation = Simulation(seed, config)
    parts = []
    for rows in simulation.rows(start, end + SIZE):
        played = rows[(rows["kind"] == PLAY) & (rows["at"] >= start) & (rows["at"] < end)]
        country = simulation.world.country[played["listener"]]
        parts.append((played[["at", "platform", "error", "startup"]], country))
    plays = np.concatenate([p for p, _ in parts])
    countries = np.concatenate([c for _, c in parts])
    tracks = []
    for measure, tags in watched():
        mine = np.ones(len(plays), dtype=bool)
        if "platform" in tags:
            mine &= plays["platform"] == PLATFORM_NAMES.index(tags["platform"])
        if "country" in tags:
            mine &= countries == COUNTRY_NAMES.index(tags["country"])
        tracks.append(_track(measure, tags, plays[mine], start, (end - start) // PANE))
    return Ground(seed, start, first, incidents, tracks)


def _track(
    measure: str, tags: dict[str, str], plays: NDArray[np.void], start: int, panes: int
) -> Track:
    pane = (plays["at"] - start) // PANE
    count = _sliding(np.bincount(pane, minlength=panes))
    if measure == "plays":
        return Track(measure, tags, count.astype(float), np.ones(len(count), dtype=bool))
    if measure == "error_rate":
        failed = _sliding(np.bincount(pane[plays["error"] >= 0], minlength=panes))
        values = np.where(count > 0, failed / np.maximum(count, 1), np.nan)
        return Track(measure, tags, values, count >= MIN_WEIGHT[measure])
    order = np.argsort(pane, kind="stable")
    edges = np.searchsorted(pane[order], np.arange(panes + 1))
    times, wide = plays["startup"][order], SIZE // PANE
    values = np.full(len(count), np.nan)
    for i in range(len(count)):
        started = times[edges[i] : edges[i + wide]]
        started = started[started >= 0]
        if len(started):
            rank = int(0.95 * (len(started) - 1))
            values[i] = np.partition(started, rank)[rank]
    return Track(measure, tags, values, count >= MIN_WEIGHT[measure])


def _sliding(panes: Counts) -> Counts:
    """Sums over each minute, one for every pane that begins one."""
    out: Counts = np.convolve(panes, np.ones(SIZE // PANE, dtype=np.int64), "valid")
    return out
