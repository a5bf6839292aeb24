"""What is known of each listener: a packed record of fixed size, kept up play by play.

Bounded in every direction: histograms halve when a cell is full (and so follow
the last few hundred plays), rates decay, distinct tracks are a bitmap of the UTC day. A listener
costs ``SIZE`` bytes however long they listen, and is forgotten 35 days after their last play (plays
made offline may arrive 30 days late).

Values stay packed in memory, too: a third of the size of objects, one copy to change, nothing to
encode at the flush. :func:`read` unpacks one for those who look at it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any
from zlib import crc32

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

_VERSION = 1
# version, first, last, counters (plays eligible skips completes errors offline brief), ms played,
# rate per hour and day, mean gap and its mean deviation, UTC day of the bitmap, tracks the day before
_HEAD = Struct("<BqqIIIIIIIQddddIH")
_HOURS = _HEAD.size
_SOURCES = _HOURS + 24
_PLATFORMS = _SOURCES + len(SOURCES)
_GAPS = _PLATFORMS + len(PLATFORMS)
_COUNTRIES = _GAPS + GAP_CELLS
_TRACKS = _COUNTRIES + 8
_TRACK_BITS = 256
SIZE = _TRACKS + _TRACK_BITS // 8

_SOURCE_CELL = {name: _SOURCES + i for i, name in enumerate(SOURCES)}
_PLATFORM_CELL = {name: _PLATFORMS + i for i, name in enumerate(PLATFORMS)}
_OTHER_SOURCE = _PLATFORMS - 1
_OTHER_PLATFORM = _GAPS - 1
_SPANS = ((_HOURS, _SOURCES), (_SOURCES, _PLATFORMS), (_PLATFORMS, _GAPS), (_GAPS, _COUNTRIES))
_NO_TRACKS = bytes(_TRACK_BITS // 8)
_GAP_EDGES = tuple(8 * 2 ** (i / 2) for i in range(GAP_CELLS - 1))
_GAP_WEIGHT = 1 / 16

PROFILES = "profiles"


def _read_packed(data: bytes) -> bytes:
    if len(data) != SIZE or data[0] != _VERSION:
        raise StateError(
            f"listener profile of {len(data)} bytes, version {data[:1].hex()}; "
            f"version {_VERSION} has {SIZE} bytes"
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


def update(packed: bytes | None, plays: Iterable[tuple[Play, bool, int]]) -> bytes:
    """The profile after these plays of one listener, in offset order; None: their first.

    With each play: whether it is eligible, and the stream's clock. Who was not seen for 35 days by
    that clock begins anew, swept away by then or not. Cutting the plays into several calls gives the
    same bytes.
    """
    buffer = bytearray(packed or SIZE)
    (_, first, last, count, counted, skips, completes, errors, offline, brief, ms,
     hourly, daily, gap_mean, gap_deviation, day, yesterday) = _HEAD.unpack_from(buffer)  # fmt: skip
    for play, is_eligible, top in plays:
        at, played = play.started_at, play.ms_played
        if not count or last < top - KEPT_MS:
            buffer = bytearray(SIZE) if count else buffer
            first = last = at
            count = counted = skips = completes = errors = offline = brief = ms = 0
            hourly = daily = gap_mean = gap_deviation = 0.0
            day = yesterday = 0
        hourly, daily = _decayed(hourly, daily, at - last)
        if at > last:
            gap = (at - last) / 1000
            _bump(buffer, _GAPS + bisect_right(_GAP_EDGES, gap))
            gap_mean = gap_mean or gap
            gap_deviation += (abs(gap - gap_mean) - gap_deviation) * _GAP_WEIGHT
            gap_mean += (gap - gap_mean) * _GAP_WEIGHT
            last = at
        elif at < first:
            first = at
        count += 1
        counted += is_eligible
        skips += play.skipped
        completes += played >= play.track_ms * 0.9 > 0
        errors += play.error is not None
        offline += play.offline
        brief += ELIGIBLE_MS <= played < BRIEF_MS
        ms += played
        if (today := at // DAY) > day:
            yesterday = _distinct(buffer[_TRACKS:]) if today == day + 1 else 0
            day, buffer[_TRACKS:] = today, _NO_TRACKS
        _mark(buffer, play, is_today=today == day)
    _HEAD.pack_into(
        buffer, 0, _VERSION, first, last, count, counted, skips, completes, errors, offline, brief,
        ms, hourly, daily, gap_mean, gap_deviation, day, yesterday,
    )  # fmt: skip
    return bytes(buffer)


def _decayed(hourly: float, daily: float, elapsed: int) -> tuple[float, float]:
    """Both rates one play later. A play older than the last adds what is left of it by now."""
    in_hours = elapsed / HOUR
    if elapsed >= 0:
        return hourly * 0.5**in_hours + 1.0, daily * 0.5 ** (in_hours / 24) + 1.0
    return hourly + 2.0**in_hours, daily + 2.0 ** (in_hours / 24)


def _bump(buffer: bytearray, cell: int) -> None:
    """Count one in a histogram's cell; a full cell halves its histogram."""
    try:
        buffer[cell] += 1
    except ValueError:  # a byte holds no 256
        begin, end = next(span for span in _SPANS if span[0] <= cell < span[1])
        buffer[begin:end] = bytes(n >> 1 for n in buffer[begin:end])
        buffer[cell] += 1


def _mark(buffer: bytearray, play: Play, *, is_today: bool) -> None:
    """Count hour, source, platform, a change of country and (of the newest day) the track."""
    _bump(buffer, _HOURS + play.started_at // HOUR % 24)
    _bump(buffer, _SOURCE_CELL.get(play.source, _OTHER_SOURCE))
    _bump(buffer, _PLATFORM_CELL.get(play.platform, _OTHER_PLATFORM))
    country = play.country.encode()
    if not buffer.startswith(country, _COUNTRIES):
        buffer[_COUNTRIES + 2 : _TRACKS] = buffer[_COUNTRIES : _TRACKS - 2]
        buffer[_COUNTRIES : _COUNTRIES + 2] = country
    if is_today:
        # The product mixes what CRC leaves linear: ids that differ in a digit would share bits.
        bit = (crc32(play.track_id.encode()) * 0x9E3779B1 & 0xFFFFFFFF) >> 24
        buffer[_TRACKS + (bit >> 3)] |= 1 << (bit & 7)


def _distinct(bitmap: bytes | bytearray) -> int:
    """How many tracks set these bits, by linear counting."""
    empty = _TRACK_BITS - int.from_bytes(bitmap, "little").bit_count()
    return round(_TRACK_BITS * math.log(_TRACK_BITS / max(empty, 1)))


def read(packed: bytes) -> Profile:
    """The profile that these bytes hold.

    Raises:
        StateError: they are not a profile of this version.
    """
    _, *head, day, yesterday = _HEAD.unpack_from(_read_packed(packed))
    countries = packed[_COUNTRIES:_TRACKS].rstrip(b"\x00").decode()
    values = (
        *head,
        day,
        yesterday,
        _distinct(packed[_TRACKS:]),
        tuple(packed[_HOURS:_SOURCES]),
        dict(zip(SOURCES, packed[_SOURCES:_PLATFORMS], strict=True)),
        dict(zip(PLATFORMS, packed[_PLATFORMS:_GAPS], strict=True)),
        tuple(packed[_GAPS:_COUNTRIES]),
        tuple(countries[i : i + 2] for i in range(0, len(countries), 2)),
    )
    return Profile(*values)


def expired(store: Mapping[str, Any], tenant: str, stream: str, top: int | None) -> list[str]:
    """The keys of one tenant's stream that were last seen 35 days before ``top``; None: all."""
    prefix = listener_key(tenant, "")
    found = []
    for key in of_stream(store, stream):
        if key.startswith(prefix):
            last: int = _HEAD.unpack_from(store[key])[2]
            if top is None or last < top - KEPT_MS:
                found.append(key)
    return found
