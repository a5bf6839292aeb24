"""What a release is called: a track and the minute it came out, as groups, rules and words name it."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

HOUR = 3_600_000
HOURS = 168
"""The first week, in which a track is held against other releases."""

WEEK = HOURS * HOUR
RELEASE = "release"
"""The tag of plays that names their release; also the group that has no other."""

_MINUTE = 60_000


@lru_cache(maxsize=1 << 14)
def release_name(track: str, minute: int) -> str:
    """``t42@2026-11-27T00:00Z``: the track and the minute (epoch ms) of its release."""
    at = dt.datetime.fromtimestamp(minute / 1000, dt.UTC)
    return f"{track}@{at:%Y-%m-%dT%H:%MZ}"


def release_at(track: str, released_at: int, at: int) -> str | None:
    """The name of the release that a play at this time is of; None outside of its first week.

    The week begins with the minute of the release. Times are epoch ms.
    """
    minute = released_at - released_at % _MINUTE
    return release_name(track, minute) if 0 <= at - minute < WEEK else None


@lru_cache(maxsize=1 << 14)
def parse_release(name: str) -> tuple[str, int] | None:
    """The track and the minute that :func:`release_name` put into a name; None if it did not."""
    track, _, written = name.rpartition("@")
    try:
        at = dt.datetime.strptime(written, "%Y-%m-%dT%H:%MZ").replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    return track, int(at.timestamp()) * 1000
