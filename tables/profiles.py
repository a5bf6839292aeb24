"""What is known of each listener: a packed record of fixed size, kept up play by play.

Bounded in every direction: histograms halve when a cell is full (and so follow
the last few hundred plays), rates decay, distinct tracks are a bitmap of the UTC day. A listener
costs ``SIZE`` bytes however long they listen, and is forgotten 35 days after their last play (plays
made offline may arrive 30 days late).

Values stay packed in memory, too: a third of the size of objects, one copy to change, nothing to
encode at the flush. :func:`read` unpacks one for those who look at it. ``tables.listeners`` updates
many at once; :func:`update` says what each of its updates means.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any

from models.errors import StateError
from models.events import ELIGIBLE_MS, Play
from models.flow import StoreSpec
from tables.routes import listener_key, of_stream

HOUR = 3_600_000
DAY = 86_400_000
KEPT_MS = 35 * DAY
BRIEF_MS = 35_000
"""Plays of 30 to 35 s are long enough to be paid for and hardly longer: artificial ones are."""

SOURCES = ("playlist", "search", "radio", "album", "autoplay", "artist", "offline", "other")
PLATFORMS = ("ios", "android", "web", "desktop", "tv", "speaker", "car", "other")
"""The cells of the two histograms; what is not named falls into the last."""

GAP_CELLS = 16
"""Gaps between starts in half octaves of seconds: under 8, 8-11, 11-16, ... 1024 and more."""

VERSION = 1
HEAD = Struct("<qqqddddIIIIIIIIHBx")
"""first and last seen, ms played; rate per hour and day, mean gap and its mean deviation; plays,
eligible, skips, completes, errors, offline, brief; UTC day of the bitmap, tracks the day before;
version."""

HOURS = HEAD.size
_SOURCES = HOURS + 24
_PLATFORMS = _SOURCES + len(SOURCES)
GAPS = _PLATFORMS + len(PLATFORMS)
COUNTRIES = GAPS + GAP_CELLS
TRACKS = COUNTRIES + 8
TRACK_BITS = 256
SIZE = TRACKS + TRACK_BITS // 8

OTHER_SOURCE, OTHER_PLATFORM = _PLATFORMS - 1, GAPS - 1
SOURCE_CELL = {name: _SOURCES + i for i, name in enumerate(SOURCES)}
PLATFORM_CELL = {name: _PLATFORMS + i for i, name in enumerate(PLATFORMS)}
SPANS = ((HOURS, _SOURCES), (_SOURCES, _PLATFORMS), (_PLATFORMS, GAPS), (GAPS, COUNTRIES))
"""Where each histogram begins and ends."""

NO_TRACKS = bytes(TRACK_BITS // 8)
GAP_EDGES = tuple(8 * 2 ** (i / 2) for i in range(GAP_CELLS - 1))
GAP_WEIGHT = 1 / 16
FADES = tuple(2 ** (-i / 1024) for i in range(1024))
FINE_FADES = tuple(2 ** (-i / (1 << 20)) for i in range(1024))
"""What is left after 1/1024 parts of a half-life, and after 1/1024 parts of those. Looked up and
multiplied, a fade comes to the same bits wherever and however it is computed."""

TRACKS_OF_BITS = tuple(
    round(TRACK_BITS * math.log(TRACK_BITS / max(TRACK_BITS - bits, 1)))
    for bits in range(TRACK_BITS + 1)
)
"""How many tracks set so many bits, by linear counting."""

PROFILES = "profiles"


def _read_packed(data: bytes) -> bytes:
    if len(data) != SIZE or data[HOURS - 2] != VERSION:
        raise StateError(
            f"listener profile of {len(data)} bytes; one of version {VERSION} has {SIZE} bytes"
        )
    return data


STORE = StoreSpec(PROFILES, bytes, _read_packed)


@dataclass(frozen=True, slots=True)
class Profile:
    """A listener's profile, unpacked. Times in epoch ms, gaps in s.

    ``plays_per_hour`` and ``plays_per_day`` are exponentially decayed sums (half-lives an hour and a
    day) as of ``last_seen``; ``tracks_today`` is estimated from a bitmap (saturating near 1,400);
    ``countries`` are those of the last four moves from one to another, the latest first.
    """

    first_seen: int
    last_seen: int
    plays: int
    eligible: int
    skips: int
    completes: int
    errors: int
    offline: int
    brief: int
    ms_played: int
    plays_per_hour: float
    plays_per_day: float
    gap_mean: float
    gap_deviation: float
    day: int
    tracks_yesterday: int
    tracks_today: int
    hours: tuple[int, ...]
    sources: dict[str, int]
    platforms: dict[str, int]
    gaps: tuple[int, ...]
    countries: tuple[str, ...]


def update(packed: bytes | None, plays: Iterable[tuple[Play, int, bool, int]]) -> bytes:
    """The profile after these plays of one listener, in offset order; None: their first.

    With each play: a 32-bit hash of its track, whether it is eligible, and the stream's clock. Who was
    not seen for 35 days by that clock begins anew, swept away by then or not. Cutting the plays into
    several calls gives the same bytes.
    """
    buffer = bytearray(packed or SIZE)
    (first, last, ms, hourly, daily, gap_mean, gap_deviation, count, counted, skips, completes,
     errors, offline, brief, day, yesterday, _) = HEAD.unpack_from(buffer)  # fmt: skip
    for play, track, is_eligible, top in plays:
        at, played = play.started_at, play.ms_played
        if not count or last < top - KEPT_MS:
            buffer = bytearray(SIZE) if count else buffer
            first = last = at
            count = counted = skips = completes = errors = offline = brief = ms = 0
            hourly = daily = gap_mean = gap_deviation = 0.0
            day = yesterday = 0
        gap = at - last
        if gap > 0:
            seconds = gap / 1000
            _bump(buffer, GAPS + bisect_right(GAP_EDGES, seconds))
            gap_mean = gap_mean or seconds
            gap_deviation += (abs(seconds - gap_mean) - gap_deviation) * GAP_WEIGHT
            gap_mean += (seconds - gap_mean) * GAP_WEIGHT
            hourly, daily = hourly * faded(gap, HOUR) + 1, daily * faded(gap, DAY) + 1
            last = at
        else:  # it adds what is left of it by the time of the last
            hourly, daily = hourly + faded(-gap, HOUR), daily + faded(-gap, DAY)
            first = min(first, at)
        count += 1
        counted += is_eligible
        skips += play.skipped
        completes += played >= play.track_ms * 0.9 > 0
        errors += play.error is not None
        offline += play.offline
        brief += ELIGIBLE_MS <= played < BRIEF_MS
        ms += played
        if (today := at // DAY) > day:
            yesterday = _distinct(buffer[TRACKS:]) if today == day + 1 else 0
            day, buffer[TRACKS:] = today, NO_TRACKS
        _mark(buffer, play, track if today == day else None)
    HEAD.pack_into(
        buffer, 0, first, last, ms, hourly, daily, gap_mean, gap_deviation, count, counted, skips,
        completes, errors, offline, brief, day, yesterday, VERSION,
    )  # fmt: skip
    return bytes(buffer)


def faded(elapsed: int, half_life: int) -> float:
    """What is left of 1 after some time (both ms, not negative)."""
    steps = (min(elapsed, 1000 * half_life) << 20) // half_life
    return math.ldexp(FADES[steps >> 10 & 1023] * FINE_FADES[steps & 1023], -(steps >> 20))


def _bump(buffer: bytearray, cell: int) -> None:
    """Count one in a histogram's cell; a full cell halves its histogram."""
    if buffer[cell] == 255:
        begin, end = next(span for span in SPANS if span[0] <= cell < span[1])
        buffer[begin:end] = bytes(n >> 1 for n in buffer[begin:end])
    buffer[cell] += 1


def _mark(buffer: bytearray, play: Play, track: int | None) -> None:
    """Count hour, source, platform, a change of country and (of the newest day) the track."""
    _bump(buffer, HOURS + play.started_at // HOUR % 24)
    _bump(buffer, SOURCE_CELL.get(play.source, OTHER_SOURCE))
    _bump(buffer, PLATFORM_CELL.get(play.platform, OTHER_PLATFORM))
    country = play.country.encode()
    if not buffer.startswith(country, COUNTRIES):
        buffer[COUNTRIES + 2 : TRACKS] = buffer[COUNTRIES : TRACKS - 2]
        buffer[COUNTRIES : COUNTRIES + 2] = country
    if track is not None:
        bit = track_bit(track)
        buffer[TRACKS + (bit >> 3)] |= 1 << (bit & 7)


def track_bit(track: Any) -> Any:
    """The bit of a track's CRC-32 (or an array of them), from its product with a large odd number.

    CRC is linear: of ids that differ in a digit, its own low bits would often be the same.
    """
    return track * 0x9E3779B1 >> 24 & 0xFF


def _distinct(bitmap: bytes | bytearray) -> int:
    return TRACKS_OF_BITS[int.from_bytes(bitmap, "little").bit_count()]


def read(packed: bytes) -> Profile:
    """The profile that these bytes hold.

    Raises:
        StateError: they are not a profile of this version.
    """
    first, last, ms, hourly, daily, gap_mean, gap_deviation, *counters, day, yesterday, _ = (
        HEAD.unpack_from(_read_packed(packed))
    )
    countries = packed[COUNTRIES:TRACKS].rstrip(b"\x00").decode()
    values = (
        first, last, *counters, ms, hourly, daily, gap_mean, gap_deviation, day, yesterday,
        _distinct(packed[TRACKS:]),
        tuple(packed[HOURS:_SOURCES]),
        dict(zip(SOURCES, packed[_SOURCES:_PLATFORMS], strict=True)),
        dict(zip(PLATFORMS, packed[_PLATFORMS:GAPS], strict=True)),
        tuple(packed[GAPS:COUNTRIES]),
        tuple(countries[i : i + 2] for i in range(0, len(countries), 2)),
    )  # fmt: skip
    return Profile(*values)


def expired(store: Mapping[str, Any], tenant: str, stream: str, top: int | None) -> list[str]:
    """The keys of one tenant's stream that were last seen 35 days before ``top``; None: all."""
    prefix = listener_key(tenant, "")
    found = []
    for key in of_stream(store, stream):
        if key.startswith(prefix):
            last: int = HEAD.unpack_from(store[key])[1]
            if top is None or last < top - KEPT_MS:
                found.append(key)
    return found
