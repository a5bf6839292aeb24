"""The events that producers publish: a *play* and a *metric* sample.

Types only; ``models.decoding`` turns bytes into them. Times are epoch milliseconds, UTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

MAX_TEXT = 256
MAX_SPAN_MS = 86_400_000
"""No play lasts, and no start takes, longer than a day."""

YEAR_2000 = 946_684_800_000
YEAR_10000 = 253_402_300_800_000

Text = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]
Span = Annotated[int, Meta(ge=0, le=MAX_SPAN_MS)]
Time = Annotated[int, Meta(ge=YEAR_2000, lt=YEAR_10000)]

ELIGIBLE_MS = 30_000
"""A play counts as eligible from this many milliseconds played."""

MAX_PLAYS_PER_DAY = 10
"""At most this many plays of one track by one listener on one UTC day are eligible."""


class Play(msgspec.Struct, frozen=True, gc=False):
    """One play of one track by one listener.

    ``ended_at`` is set by producers that send a play when it is over, ``released_at`` by those who
    know when the track came out. The types' bounds let most plays be decoded straight into this;
    see ``models.decoding`` for what is asked besides.
    """

    tenant_id: Text
    listener_id: Text
    track_id: Text
    artist_id: Text
    started_at: Time
    ms_played: Span
    track_ms: Span
    platform: Text
    country: str
    source: Text
    plan: Text
    event_id: Text | None = None
    skipped: bool = False
    offline: bool = False
    error: Text | None = None
    startup_ms: Span | None = None
    ended_at: Time | None = None
    released_at: Time | None = None

    @property
    def at(self) -> int:
        """The event time, which decides its windows and whether it is late: its end if it has one."""
        return self.started_at if self.ended_at is None else self.ended_at


class Metric(msgspec.Struct, frozen=True, gc=False):
    """One sample of any series of numbers."""

    tenant_id: str
    name: str
    value: float
    at: int
    tags: dict[str, str] = {}
    event_id: str | None = None


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """Why a record is not an event. ``reason`` is from a closed set: it labels a counter."""

    reason: str
    detail: str


Event = Play | Metric


def times(events: Sequence[Event]) -> list[int]:
    """The event time of each of many events of one kind: what ``at`` says, without asking each one."""
    if events and isinstance(events[0], Play):
        return [
            play.started_at if play.ended_at is None else play.ended_at  # type: ignore[union-attr]
            for play in events
        ]
    return [event.at for event in events]
