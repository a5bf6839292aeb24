"""Columns of plays by the name of a field or a predicate, as measures and groups are configured.

Spelt out one by one: an attribute that is named in code costs a quarter of one that is looked up by
its name, and a batch asks for ten columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from models.events import Play
from models.releases import RELEASE, release_at

FIELDS: Mapping[str, Callable[[Sequence[Play]], list[Any]]] = {
    "artist_id": lambda plays: [play.artist_id for play in plays],
    "completion": lambda plays: [
        min(1.0, play.ms_played / play.track_ms) if play.track_ms else None for play in plays
    ],
    "country": lambda plays: [play.country for play in plays],
    "listener_id": lambda plays: [play.listener_id for play in plays],
    "ms_played": lambda plays: [play.ms_played for play in plays],
    "plan": lambda plays: [play.plan for play in plays],
    "platform": lambda plays: [play.platform for play in plays],
    RELEASE: lambda plays: [
        None if play.released_at is None else release_at(play.track_id, play.released_at, play.at)
        for play in plays
    ],
    "source": lambda plays: [play.source for play in plays],
    "startup_ms": lambda plays: [play.startup_ms for play in plays],
    "track_id": lambda plays: [play.track_id for play in plays],
}
"""The values of a field, or a tag; None where a play has none. ``models.config`` says which may be asked."""

PREDICATES: Mapping[str, Callable[[Sequence[Play]], list[bool]]] = {
    "failed": lambda plays: [play.error is not None for play in plays],
    "offline": lambda plays: [play.offline for play in plays],
    "skipped": lambda plays: [play.skipped for play in plays],
}
"""Of which plays a predicate holds that a play can answer itself; eligibility it cannot."""
