"""Which plays are eligible: long enough, and among the first ten of a listener and track a day.

The day is the UTC day of event time; the order is that of offsets, after duplicates are dropped.
Only plays that are long enough use up the ten. Counts are kept for today and the two days before it,
by the stream's clock; what is older is counted apart, its eligibility left to batch work.

One store value holds a listener's day: a 4-byte hash of the track for each eligible play, so that a
usual day of 30 plays takes 120 bytes and a new play is appended, not looked up. Two tracks of one
listener and day share a hash with odds of about n**2 / 2**33, which matters only where the two
together pass ten.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any, Literal

from models.errors import StateError
from models.events import ELIGIBLE_MS, MAX_PLAYS_PER_DAY, Play
from models.flow import StoreSpec
from tables.routes import listener_key, of_stream

Store = MutableMapping[str, Any]

Reason = Literal["eligible", "too_short", "over_daily_limit", "unknown_too_old", "unknown_too_many"]

DAY = 86_400_000
KEPT_DAYS = 2
MAX_DAY_BYTES = 16_384
"""A listener's day ends counting at 4,096 eligible plays. One device cannot play 2,881 of 30 s; an id
that stands for everyone who is not signed in can, and must not grow a record without bound."""

COUNTS = "eligibility"


def _read_counts(data: bytes) -> bytes:
    if len(data) % 4:
        raise StateError(f"eligibility counts of {len(data)} bytes; a play takes 4")
    return data


STORE = StoreSpec(COUNTS, bytes, _read_counts)


def judge(
    plays: Sequence[Play],
    times: Sequence[int],
    listeners: Sequence[str],
    tracks: Sequence[int],
    tops: Sequence[int],
    store: Store,
) -> list[Reason]:
    """The verdict on each play of one stream, in offset order; counts the eligible ones.

    ``times`` are the plays' event times, ``listeners`` their listener keys within the stream,
    ``tracks`` their tracks' 32-bit hashes, ``tops`` the stream's clock (running maximum of event time) at each of
    them. ``unknown_too_old``: the play's day is not kept any more; ``unknown_too_many``: its
    listener's day is full.
    """
    changed: dict[str, bytes] = {}
    reasons: list[Reason] = []
    add, again, before = reasons.append, changed.get, store.get
    midnight, prefix = -DAY, ""
    for play, at, listener, hashed, top in zip(plays, times, listeners, tracks, tops, strict=True):
        if play.ms_played < ELIGIBLE_MS:
            add("too_short")
            continue
        if not midnight <= at < midnight + DAY:  # most plays are of the same day as the one before
            midnight = at - at % DAY
            prefix = f"{at // DAY}/"
        if top - midnight >= DAY and midnight < (top // DAY - KEPT_DAYS) * DAY:
            add("unknown_too_old")
            continue
        key = prefix + listener
        seen = again(key) or before(key, b"")
        track = hashed.to_bytes(4, "little")
        if track in seen and _count(track, seen) >= MAX_PLAYS_PER_DAY:
            add("over_daily_limit")
        elif len(seen) >= MAX_DAY_BYTES:
            add("unknown_too_many")
        else:
            changed[key] = seen + track
            add("eligible")
    store.update(changed)
    return reasons


def _count(track: bytes, seen: bytes) -> int:
    """How many plays of the track are in a day: whole entries, not bytes that straddle two."""
    return sum(seen[i : i + 4] == track for i in range(0, len(seen), 4))


def expired(keys: Iterable[str], tenant: str, stream: str, day: int | None) -> list[str]:
    """The keys of one tenant's stream whose day is not kept at UTC day ``day``; None: all of it."""
    found = []
    prefix = listener_key(tenant, "")
    for key in of_stream(keys, stream):
        its_day, _, listener = key.partition("/")
        is_old = day is None or int(its_day) < day - KEPT_DAYS
        if is_old and listener.startswith(prefix):
            found.append(key)
    return found
