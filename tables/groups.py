"""Plays by dimension group: which cells there are, what they are called, and which are kept.

Their parts are made in ``tables.cells``. Nothing here knows time beyond the pane that a play falls into.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from typing import Any

from models.config import SeriesConfig, group_name
from models.errors import StateError
from models.flow import StoreSpec
from models.series import format_key
from tables import cells, parts
from tables.cells import Cell, CellKey, Plays, Tags

_PANE_BITS = 48
"""Enough for every time up to the year 9999, in ms."""


def slot(pane: int, noticed: int = 0) -> int:
    """A pane's start and, of late events, the edge they were noticed by (ms), as one number.

    It is hashed once an event; see ``models.records.Partial`` for ``noticed``.
    """
    return noticed << _PANE_BITS | pane


def pane_of(slot: int) -> tuple[int, int | None]:
    """What :func:`slot` made one number of; None: on time."""
    return slot & (1 << _PANE_BITS) - 1, slot >> _PANE_BITS or None


Cells = dict[Tags, dict[CellKey, Cell]]


def fold(rows: Plays, config: SeriesConfig) -> Cells:
    """The cells of every group, of the plays of one tenant's stream."""
    if not rows.plays:
        return {tags: {} for tags in config.groups}
    return cells.fold(rows, *_plan(config))


@lru_cache(maxsize=16)
def _plan(config: SeriesConfig) -> tuple[tuple[Tags, ...], tuple[str, ...]]:
    """The groups of a configuration, each once, and the parts of every partial."""
    return tuple(dict.fromkeys(config.groups)), parts.part_names(config.measures)


# -- which instances are kept ----------------------------------------------------------------------

GROUPS = "groups"


def _decode(data: bytes) -> int:
    try:
        return int(data)
    except ValueError as exc:
        raise StateError(f"group entry {data[:40]!r} is not a number") from exc


STORE = StoreSpec(GROUPS, lambda number: b"%d" % number, _decode)
"""Group key -> 1, and tenant -> how many it has. A tenant's name has no bar, a group key has one."""


def admit(
    candidates: Sequence[tuple[int, int, str]],
    tenant: str,
    limit: int,
    store: MutableMapping[str, Any],
) -> set[str]:
    """Which of these group instances of one tenant are refused, for it has ``limit`` already.

    ``candidates`` are (place of the first play, place of the group, group key); in that order they
    are let in, so that it does not depend on batches which of them are. Instances that were let in
    stay in.
    """
    new = sorted({c for c in candidates if c[2] not in store})
    refused = set()
    count = store.get(tenant, 0)
    for _, _, key in new:
        if key in store:
            continue
        if count >= limit:
            refused.add(key)
            continue
        count += 1
        store[key] = 1
    if count != store.get(tenant, 0):
        store[tenant] = count
    return refused


@lru_cache(maxsize=1 << 15)
def group_key(tenant: str, tags: Tags, values: Tags) -> str:
    """The key of a group instance of plays."""
    return format_key(tenant, group_name(tags), dict(zip(tags, values, strict=True)))
