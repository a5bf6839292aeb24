"""Plays by dimension group: the partials of a batch, made column by column.

Groups that are contained in no other are folded from the plays; every other is rolled up from the
smallest one that contains it. All parts merge exactly, so both ways come to the same. Nothing here
knows time beyond the pane that a play falls into.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache, partial, reduce
from hashlib import blake2b
from math import ldexp, prod
from operator import attrgetter, itemgetter, mul, or_
from typing import Any, NamedTuple

from models.config import SeriesConfig, group_name
from models.errors import StateError
from models.events import Play
from models.flow import StoreSpec
from models.series import format_key
from tables import parts, sketches

Tags = tuple[str, ...]
CellKey = tuple[Any, ...]
"""The slot (see :func:`slot`), then the values of the group's tags."""


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


class Cell(NamedTuple):
    """One group instance in one pane; ``first`` is the place of its first play in the batch."""

    first: int
    parts: dict[str, Any]


Cells = dict[Tags, dict[CellKey, Cell]]


class Plays(NamedTuple):
    """Plays of one tenant's stream, as columns of equal length in offset order.

    ``places``: where each stood in its batch; ``slots``: see :func:`slot`.
    """

    plays: list[Play]
    eligible: list[bool]
    places: list[int]
    slots: list[int]


class Plan(NamedTuple):
    """How a configuration's groups are made.

    ``order``: groups, those with most tags first. ``roots``: those that no other contains. ``names``:
    the parts of every partial.
    """

    order: tuple[Tags, ...]
    roots: tuple[Tags, ...]
    names: tuple[str, ...]


@lru_cache(maxsize=16)
def plan(config: SeriesConfig) -> Plan:
    """The order in which the groups of a configuration are made."""
    order = sorted(dict.fromkeys(config.groups), key=len, reverse=True)
    roots = [tags for tags in order if not any(set(other) > set(tags) for other in order)]
    return Plan(tuple(order), tuple(roots), parts.part_names(config.measures))


def hash64(text: str) -> int:
    """A 64-bit hash of an id for distinct counts; the same in every process."""
    hashing = _UNUSED.copy()
    hashing.update(text.encode())
    return int.from_bytes(hashing.digest(), "little")


_UNUSED = blake2b(digest_size=8)


# Listeners, tracks and start times come again; what is derived from them is remembered.
_hash = lru_cache(maxsize=1 << 17)(hash64)
_bucket = lru_cache(maxsize=1 << 14)(sketches.bucket)


def _completion(play: Play) -> float | None:
    return min(1.0, play.ms_played / play.track_ms) if play.track_ms else None


_PREDICATES: Mapping[str, Callable[[Plays], list[bool]]] = {
    "eligible": attrgetter("eligible"),
    "failed": lambda rows: [play.error is not None for play in rows.plays],
    "skipped": lambda rows: [play.skipped for play in rows.plays],
    "offline": lambda rows: [play.offline for play in rows.plays],
}
_PLACES = 80
"""Binary places of a completion: 53 of a double, and 27 for the smallest, 1 ms of a day."""

_FIELDS: Mapping[str, Callable[[Play], Any]] = {
    "startup_ms": attrgetter("startup_ms"),
    "completion": _completion,
    "ms_played": attrgetter("ms_played"),
    "listener_id": attrgetter("listener_id"),
    "track_id": attrgetter("track_id"),
}


PLAYS_A_CELL = 32
"""Roots are joined where each of their cells gets as many plays or more."""


class Column(NamedTuple):
    """What one part is made of: a value per play (None: the play does not count), and how."""

    name: str
    values: list[Any]
    sparse: bool
    build: Callable[[Sequence[Any]], Any]


def _columns(rows: Plays, names: Sequence[str]) -> list[Column]:
    columns = []
    for name in names:
        kind, field, where = parts.split_name(name)
        holds = _PREDICATES[where](rows) if where else None
        if field is None:
            if holds is not None:
                columns.append(Column(name, holds, sparse=False, build=sum))
            continue
        values = list(map(_FIELDS[field], rows.plays))
        if holds is not None:
            values = [v if h else None for v, h in zip(values, holds, strict=True)]
        convert, build = _maker(kind, field)
        sparse = None in values
        if convert is not None and sparse:
            values = [None if v is None else convert(v) for v in values]
        elif convert is not None:
            values = list(map(convert, values))
        columns.append(Column(name, values, sparse, build))
    return columns


def _count_buckets(keys: Sequence[int]) -> dict[int, int]:
    counts = dict(Counter(keys)) if len(keys) > 1 else dict.fromkeys(keys, 1)
    return counts if len(counts) <= sketches.MAX_BUCKETS else sketches.collapse(counts)


def _fixed(share: float) -> int:
    return int(share * 2.0**_PLACES)


def _moments(places: int, integers: Sequence[int]) -> list[Any]:
    """What ``parts.moments`` makes of these integers over ``2**places``, in half the time.

    A column is made of integers once, while its plays are summed in several groups.
    """
    bits = reduce(or_, integers)
    spare = min(places, (bits & -bits).bit_length() - 1) if bits else places
    total, squares = sum(integers) >> spare, sum(map(mul, integers, integers)) >> 2 * spare
    low, high = (ldexp(end(integers), -places) for end in (min, max))
    wire = sketches.wire_int
    return [len(integers), wire(total), wire(squares), spare - places, low, high]


_Maker = tuple[Callable[[Any], Any] | None, Callable[[Sequence[Any]], Any]]


def _maker(kind: str, field: str) -> _Maker:
    """How a field's values are prepared, once a play, and then summed, once a group."""
    if kind == "q":
        return _bucket, _count_buckets
    if kind == "d":
        return _hash, parts.registers
    return (_fixed, _exact_shares) if field == "completion" else (None, _exact_wholes)


_exact_shares = partial(_moments, _PLACES)
_exact_wholes = partial(_moments, 0)


def fold(rows: Plays, config: SeriesConfig) -> Cells:
    """The cells of every group, of the plays of one tenant's stream."""
    order, roots, names = plan(config)
    columns = _columns(rows, names)
    made = {tags: _from_plays(rows, tags, columns) for tags in _joined(rows, roots)}
    for tags in order:
        if tags not in made:
            larger = [other for other in made if set(other) > set(tags)]
            source = min(larger, key=lambda other: len(made[other]))
            made[tags] = _roll_up(made[source], source, tags)
    return made


def _joined(rows: Plays, roots: Sequence[Tags]) -> list[Tags]:
    """The groups to fold from the plays: roots, two of them together where that saves a pass.

    It does while each cell of the two together gets many plays, for then rolling up costs little.
    """
    kinds = {
        tag: len(set(map(attrgetter(tag), rows.plays)))
        for tag in {t for tags in roots for t in tags}
    }
    out: list[Tags] = []
    for tags in sorted(roots, key=lambda tags: prod(kinds[tag] for tag in tags)):
        both = tuple(sorted({*out[-1], *tags})) if out else tags
        if out and prod(kinds[tag] for tag in both) * PLAYS_A_CELL <= len(rows.plays):
            out[-1] = both
        else:
            out.append(tags)
    return out


def _from_plays(rows: Plays, tags: Tags, columns: Sequence[Column]) -> dict[CellKey, Cell]:
    where: defaultdict[CellKey, list[int]] = defaultdict(list)
    of_tags = (map(attrgetter(tag), rows.plays) for tag in tags)
    for row, key in enumerate(zip(rows.slots, *of_tags, strict=True)):
        where[key].append(row)
    return {
        key: Cell(rows.places[found[0]], _parts(found, columns)) for key, found in where.items()
    }


def _parts(rows: list[int], columns: Sequence[Column]) -> dict[str, Any]:
    """All parts of the plays in these rows; empty ones are left out."""
    out: dict[str, Any] = {parts.EVENTS: len(rows)}
    take = itemgetter(*rows) if len(rows) > 1 else None
    for name, column, sparse, build in columns:
        values = take(column) if take else (column[rows[0]],)
        if sparse:
            values = [v for v in values if v is not None]
        if values and (part := build(values)):
            out[name] = part
    return out


def _roll_up(cells: Mapping[CellKey, Cell], source: Tags, tags: Tags) -> dict[CellKey, Cell]:
    keep = [0, *(1 + source.index(tag) for tag in tags)]
    together: defaultdict[CellKey, list[Cell]] = defaultdict(list)
    for key, cell in cells.items():
        together[tuple([key[i] for i in keep])].append(cell)
    return {key: _union(same) for key, same in together.items()}


def _union(cells: list[Cell]) -> Cell:
    if len(cells) == 1:
        return cells[0]
    merged: dict[str, Any] = {}
    for cell in cells:
        parts.merge_parts(merged, cell.parts)
    return Cell(min(cell.first for cell in cells), merged)


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
