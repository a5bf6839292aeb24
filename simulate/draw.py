"""One slice of time, drawn: who starts to play what, how it goes, and when the record arrives.

Pure: a generator for the slice's random numbers goes in, a structured array comes out.

A play's record arrives a network delay after the play *started*. A real client that reports at the
end of a play would send the same fields minutes later; here only offline plays come late, so that
what is late is known exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulate.config import SimulationConfig
from simulate.incidents import Incident
from simulate.markets import COUNTRY_NAMES, PLATFORM_NAMES, STARTUP_SIGMA
from simulate.personas import OFFLINE
from simulate.world import Ints, World

ROW = np.dtype(
    [
        ("arrival", "i8"),
        ("at", "i8"),
        ("slice", "i8"),
        ("number", "i4"),
        ("listener", "i4"),
        ("track", "i4"),
        ("ms", "i4"),
        ("startup", "i4"),
        ("platform", "i1"),
        ("source", "i1"),
        ("error", "i1"),
        ("skipped", "?"),
        ("kind", "i1"),
        ("garbage", "i1"),
        ("incident", "i2"),
    ]
)
Rows = NDArray[np.void]
"""One row a record. ``slice`` and ``number`` make the event id; a duplicate repeats them.

``startup`` -1: none. ``error`` -1: none, else an index of ``ERRORS``. ``incident`` -1: none.
"""

PLAY, DUPLICATE, GARBAGE, LATE, SUPPRESSED = range(5)
"""Values of ``kind``. Suppressed rows fall into a silence: counted, never sent."""

ERRORS = ("network", "timeout", "unavailable", "decoder")
_DECODER = ERRORS.index("decoder")

LONGEST_SESSION = 45 * 60_000
"""Plays that would start later in their session than this are not drawn."""

LONGEST_DELAY = 6_000
_LONGEST_RESEND = 30_000

GARBAGE_KINDS = (
    "not_json",
    "truncated",
    "wrong_type",
    "missing_field",
    "not_utf8",
    "unknown_tenant",
    "future",
    "empty",
    "negative",
)


def reach(config: SimulationConfig) -> int:
    """A slice's rows arrive no later than this many ms after its end."""
    session = LONGEST_SESSION if config.sessions else 0
    return session + LONGEST_DELAY + (_LONGEST_RESEND if config.duplicates else 0)


def draw_slice(
    rng: np.random.Generator, world: World, start: int, incidents: list[tuple[int, Incident]]
) -> Rows:
    """Every record whose session (or batch) belongs to the slice from ``start`` on.

    ``incidents`` are those near the slice, with their numbers. The rows are in no order.
    """
    length = world.config.slice_ms
    plays = _sessions(rng, world, start, length)
    parts = [plays]
    for number, incident in incidents:
        if incident.kind == "breakout":
            parts.append(_breakout(rng, world, start, incident, number))
        elif incident.kind == "late_batch":
            parts.append(_late_batch(rng, world, start, incident, number))
    rows = np.concatenate(parts)
    rows["slice"] = start // length
    rows["number"] = np.arange(len(rows))
    _outcome(rng, world, rows)
    for number, incident in incidents:
        if incident.kind == "release":
            _release(rng, rows, _affected(world, rows, incident), incident, number)
        elif incident.kind == "silence":
            hit = _affected(world, rows, incident)
            rows["kind"][hit] = SUPPRESSED
            rows["incident"][hit] = number
    return _dirt(rng, world, rows)


def _rows(listeners: Ints, at: Ints) -> Rows:
    rows = np.zeros(len(listeners), dtype=ROW)
    rows["listener"] = listeners
    rows["at"] = at
    rows["incident"] = -1
    return rows


def _sessions(rng: np.random.Generator, world: World, start: int, length: int) -> Rows:
    cells = world.rates(start + length // 2)
    starting = cells / np.tile(world.session_plays, len(COUNTRY_NAMES))
    n = int(rng.poisson(starting.sum() * length / 1000))
    who = world.draw_listeners(rng, starting, n)
    begins = start + (rng.random(n) * length).astype(np.int64)
    plays = world.session_lengths(rng, who)
    session = np.repeat(np.arange(n), plays)
    rows = _rows(who[session], begins[session])
    usual = rng.random(n) < 0.85
    rows["platform"] = np.where(usual, *world.platform[:, who])[session]
    kinds = world.sources[world.persona[who]]
    rows["source"] = (rng.random(n)[:, None] > kinds).sum(axis=1)[session]
    rows["track"] = world.draw_tracks(rng, rows["listener"])
    _listen(rng, world, rows)
    if len(rows) == n:  # every session is one play
        return rows
    took = rows["ms"] + (1_500 + rng.exponential(2_500, len(rows))).astype(np.int64)
    ends = np.cumsum(took)
    first = np.searchsorted(session, np.arange(n))
    before = ends - took
    rows["at"] += before - before[first][session]
    return rows[rows["at"] <= begins[session] + LONGEST_SESSION]


def _breakout(
    rng: np.random.Generator, world: World, start: int, incident: Incident, number: int
) -> Rows:
    """Extra plays of one track, one a listener and session, with a short rise."""
    begin = max(start, incident.start)
    end = min(start + world.config.slice_ms, incident.end)
    n = int(rng.poisson(world.rates(begin).sum() * incident.times * max(0, end - begin) / 1000))
    at = begin + (rng.random(n) * (end - begin)).astype(np.int64)
    rise = (incident.end - incident.start) / 5
    at = at[rng.random(n) < (at - incident.start) / rise]
    who = rng.integers(0, len(world.cell), len(at))
    rows = _rows(who, at)
    rows["platform"] = world.platform[0, who]
    rows["source"] = rng.choice([0, 2, 4], len(at), p=[0.5, 0.3, 0.2])
    rows["track"] = incident.track % len(world.popularity)
    rows["incident"] = number
    _listen(rng, world, rows)
    return rows


def _late_batch(
    rng: np.random.Generator, world: World, start: int, incident: Incident, number: int
) -> Rows:
    """The part of an offline batch that arrives within the slice."""
    length = world.config.slice_ms
    lasts = incident.end - incident.start
    # Cut the batch's count along the slices without drawing: the parts always add up.
    cuts = [min(max(t - incident.start, 0), lasts) for t in (start, start + length)]
    done, until = (incident.plays * c // lasts for c in cuts)
    arrival = max(start, incident.start) + (rng.random(until - done) * (cuts[1] - cuts[0])).astype(
        np.int64
    )
    age = rng.integers(incident.youngest, incident.oldest, len(arrival))
    who = rng.integers(0, len(world.cell), len(arrival))
    rows = _rows(who, arrival - age)
    rows["arrival"] = arrival
    rows["platform"] = rng.integers(0, 2, len(arrival))  # phones
    rows["source"] = OFFLINE
    rows["track"] = world.draw_tracks(rng, rows["listener"])
    rows["kind"] = LATE
    rows["incident"] = number
    _listen(rng, world, rows)
    return rows


def _listen(rng: np.random.Generator, world: World, rows: Rows) -> None:
    """How long each play lasts: skipped early, left midway, or heard to the end."""
    n = len(rows)
    u, v, w = rng.random((3, n))
    skipped = u < world.skip[world.persona[rows["listener"]]]
    share = np.where(skipped, 0.01 + 0.5 * v * v, np.where(w < 0.07, v, 1.0))
    rows["skipped"] = skipped
    rows["ms"] = (world.track_ms[rows["track"]] * share).astype(np.int64)


def _outcome(rng: np.random.Generator, world: World, rows: Rows) -> None:
    """Start-up time, failures and arrival of every row, as they are without incidents."""
    n = len(rows)
    platform = rows["platform"]
    median = world.startup[world.country[rows["listener"]], platform]
    startup = median * np.exp(STARTUP_SIGMA * rng.standard_normal(n))
    rows["startup"] = np.minimum(startup, 60_000).astype(np.int64)
    _fail(rows, rng.random(n) < world.errors[platform], rng.integers(0, _DECODER, n))
    delay = np.minimum(np.exp(rng.normal(np.log(300), 0.8, n)), LONGEST_DELAY)
    late = rows["kind"] == LATE
    rows["startup"][late] = -1
    rows["arrival"] = np.where(late, rows["arrival"], rows["at"] + delay.astype(np.int64))


def _fail(rows: Rows, failed: NDArray[np.bool_], code: Ints | int) -> None:
    failed &= rows["kind"] != LATE  # played offline
    rows["error"] = np.where(failed, code, -1)
    rows["ms"][failed] = 0
    rows["startup"][failed] = -1
    rows["skipped"][failed] = False


def _affected(world: World, rows: Rows, incident: Incident) -> NDArray[np.bool_]:
    hit: NDArray[np.bool_] = (rows["at"] >= incident.start) & (rows["at"] < incident.end)
    hit &= rows["kind"] == PLAY
    if incident.platform is not None:
        hit &= rows["platform"] == PLATFORM_NAMES.index(incident.platform)
    if incident.country is not None:
        hit &= world.country[rows["listener"]] == COUNTRY_NAMES.index(incident.country)
    return hit


def _release(
    rng: np.random.Generator,
    rows: Rows,
    hit: NDArray[np.bool_],
    incident: Incident,
    number: int,
) -> None:
    rows["incident"][hit] = number
    part = rows[hit]
    slow = np.minimum(part["startup"] * incident.times, 60_000).astype(np.int64)
    part["startup"] = np.where(part["startup"] < 0, -1, slow)
    breaks = rng.random(len(part)) < incident.failing
    kept = part["error"].copy()
    _fail(part, breaks | (kept >= 0), np.where(breaks, _DECODER, kept))
    rows[hit] = part


def _dirt(rng: np.random.Generator, world: World, rows: Rows) -> Rows:
    """Turn some plays into garbage, and deliver some others twice."""
    u, v = rng.random((2, len(rows)))
    plain = rows["kind"] == PLAY
    bad = plain & (u < world.config.garbage)
    rows["kind"][bad] = GARBAGE
    rows["garbage"][bad] = (v[bad] * len(GARBAGE_KINDS)).astype(np.int64)
    again = rows[plain & ~bad & (u > 1.0 - world.config.duplicates)]
    again["kind"] = DUPLICATE
    pause = 1_000 + (rng.random(len(again)) * (_LONGEST_RESEND - 1_000)).astype(np.int64)
    again["arrival"] += pause
    return np.concatenate([rows, again])
