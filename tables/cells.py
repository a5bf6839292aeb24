"""The parts of every group of plays, column by column: one sort by cell, then sums over its runs.

Makes what ``tables.parts`` and ``tables.sketches`` define, to the bit, for thousands of plays at once.
Kept apart from ``tables.groups``, which knows what the cells are for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events import Play
from models.releases import RELEASE
from tables import parts, sketches
from tables.fields import FIELDS, PREDICATES

Array = NDArray[Any]
Tags = tuple[str, ...]
CellKey = tuple[Any, ...]
"""The slot (see ``tables.groups.slot``), then the values of the group's tags."""


class Cell(NamedTuple):
    """One group instance in one pane; ``first`` is the place of its first play in the batch."""

    first: int
    parts: dict[str, Any]


class Plays(NamedTuple):
    """Plays of one tenant's stream, as columns of equal length in offset order.

    ``places``: where each stood in its batch; ``slots``: see ``tables.groups.slot``.
    """

    plays: Sequence[Play]
    eligible: Sequence[bool]
    places: Sequence[int]
    slots: Sequence[int]


def hash64(text: str) -> int:
    """A 64-bit hash of an id for distinct counts; the same in every process."""
    return int(_hashes([text])[0])


def _hashes(texts: Sequence[str]) -> Array:
    """:func:`hash64` of each. Not remembered: where many listeners come by, hashing is cheaper."""
    begin = _UNUSED.copy
    digests = []
    for text in texts:
        hashing = begin()
        hashing.update(text.encode())
        digests.append(hashing.digest())
    return np.frombuffer(b"".join(digests), "<u8")


_UNUSED = blake2b(digest_size=8)

# Start times come again; what is derived from them is remembered.
_bucket = lru_cache(maxsize=1 << 14)(sketches.bucket)


# -- runs of equal cells ----------------------------------------------------------------------------


class Runs(NamedTuple):
    """Rows sorted by cell: ``order`` of the rows, where each run ``starts``, and its cell.

    ``sorting`` sorts the lines of cells, one after the other; ``order`` is its rows.
    """

    order: Array
    starts: Array
    cells: Array
    sorting: Array

    @property
    def counts(self) -> Array:
        """How many rows each run has."""
        return np.diff(self.starts, append=len(self.order))

    def sums(self, columns: Sequence[Array]) -> list[list[int]]:
        """The sums of columns of whole numbers over each run: below 2**53, all are exact."""
        number = np.empty(len(self.sorting), np.intp)
        number[self.sorting] = np.repeat(np.arange(len(self.starts)), self.counts)
        lines = len(self.sorting) // len(columns[0])
        summed = [np.bincount(number, np.tile(column, lines)) for column in columns]
        rows: list[list[int]] = np.array(summed).astype(np.int64).T.tolist()
        return rows


def _runs(cells: Array) -> Runs:
    """Rows of equal cells together, each run in the order it had. Not of nothing.

    ``cells`` has a line for each group, whose cells are in no other line.
    """
    flat = cells.ravel()
    order = np.argsort(flat, kind="stable")  # a radix sort for 16 bits
    found = flat[order]
    starts = np.flatnonzero(np.concatenate(([True], found[1:] != found[:-1])))
    return Runs(order % cells.shape[1], starts, found[starts], order)


def _numbered(values: Sequence[Any]) -> tuple[Array, int]:
    """Each value's number, in the order of their first coming, and how many there are."""
    numbers = {value: i for i, value in enumerate(dict.fromkeys(values))}
    return np.fromiter(map(numbers.__getitem__, values), np.int64, len(values)), len(numbers)


_NARROW = 1 << 16
_COUNTABLE = 1 << 62
"""Combinations of tags may be more than 64 bits can count, the plays of a batch are not."""


def _beside(lines: Sequence[tuple[Array, int]]) -> Array:
    """Each group's cells in a line, with numbers of their own; small ones, which sort fast."""
    if sum(size for _, size in lines) > _NARROW:
        lines = [_dense(cells) for cells, _ in lines]
    begin, beside = 0, []
    for cells, size in lines:
        beside.append(cells + begin)
        begin += size
    return np.array(beside, np.uint16 if begin <= _NARROW else np.int64)


def _dense(cells: Array) -> tuple[Array, int]:
    found, numbers = np.unique(cells, return_inverse=True)
    return numbers, len(found)


# -- columns ----------------------------------------------------------------------------------------


class Column(ABC):
    """What one part is made of: values of the plays in ``rows``; None: of every play."""

    rows: Array | None = None

    @abstractmethod
    def parts(self, runs: Runs) -> Sequence[Any]:
        """The part of each run of its values."""


class _Holds(Column):
    """Counts of the plays where a predicate holds."""

    def __init__(self, holds: Array) -> None:
        self._holds = holds.astype(np.int64)

    def parts(self, runs: Runs) -> list[int]:
        counts: list[int] = np.add.reduceat(self._holds[runs.order], runs.starts).tolist()
        return counts


_LIMB = 16
"""Bits of a limb: a float holds the sum of 200,000 plays' products of limbs exactly."""


class _Moments(Column):
    """Exact moments: values are integers over ``2**places``, in limbs, and so are their squares."""

    def __init__(self, values: Array, rows: Array | None, limbs: int, places: int) -> None:
        self.rows = rows
        self._places = places
        self._values = values
        self._limbs = limbs
        digits = _digits(values, limbs, places)
        squares = [np.zeros(len(values)) for _ in range(2 * limbs - 1)]
        for i, a in enumerate(digits):
            squares[2 * i] += a * a
            for j in range(i):
                squares[i + j] += 2 * a * digits[j]
        self._columns = [*digits, *squares]
        self._spare = _spare(values, places)

    def parts(self, runs: Runs) -> list[list[Any]]:
        values, spare = self._values[runs.order], self._spare[runs.order]
        low, high, spare = (
            reduced.reduceat(column, runs.starts).tolist()
            for reduced, column in ((np.minimum, values), (np.maximum, values), (np.minimum, spare))
        )
        rows = zip(runs.counts.tolist(), runs.sums(self._columns), spare, low, high, strict=True)
        return [self._part(*row) for row in rows]

    def _part(self, n: int, sums: Sequence[int], spare: int, low: float, high: float) -> list[Any]:
        total = _joined(sums[: self._limbs])
        squares = _joined(sums[self._limbs :])
        wire = sketches.wire_int
        return [
            n,
            wire(total >> spare),
            wire(squares >> 2 * spare),
            spare - self._places,
            low,
            high,
        ]


def _digits(values: Array, limbs: int, places: int) -> list[Array]:
    """The integers ``values * 2**places`` in limbs, the lowest first; every step is exact."""
    digits = []
    left = np.ldexp(values, places - (limbs - 1) * _LIMB)
    for _ in range(limbs):
        digit = np.floor(left)
        digits.append(digit)
        left = np.ldexp(left - digit, _LIMB)
    return digits[::-1]


def _spare(values: Array, places: int) -> Array:
    """How many of its binary places each value does not need."""
    if not places:
        return np.zeros(len(values), np.int64)
    mantissa, exponent = np.frexp(values)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    zeros = np.frexp((whole & -whole).astype(np.float64))[1].astype(np.int64) - 1
    found: Array = np.where(whole == 0, places, places - 53 + exponent + zeros)
    return np.minimum(found, places)


def _joined(limbs: Sequence[int]) -> int:
    total = 0
    for limb in reversed(limbs):
        total = (total << _LIMB) + limb
    return total


class _Pairs(Column):
    """A dict a cell: made of values that were sorted by key (then by what the key maps to)."""

    def __init__(self, keys: Array, values: Array, rows: Array) -> None:
        self.rows = rows
        self._keys = keys
        self._values = values

    def _dicts(self, runs: Runs, ends: Array, values: Array) -> list[dict[int, int]]:
        """``ends`` are the places, among the sorted rows, of the last of each key."""
        keys = self._keys[runs.order[ends]].tolist()
        held = values.tolist()
        edges = [*np.searchsorted(ends, runs.starts).tolist(), len(keys)]
        return [dict(zip(keys[a:b], held[a:b], strict=True)) for a, b in pairwise(edges)]

    def _ends(self, runs: Runs) -> Array:
        keys = self._keys[runs.order]
        last = np.concatenate((keys[1:] != keys[:-1], [True]))
        last[runs.starts[1:] - 1] = True
        return np.flatnonzero(last)


class _Registers(_Pairs):
    """Distinct registers: of each the highest rank, which comes last."""

    def parts(self, runs: Runs) -> list[dict[int, int]]:
        ends = self._ends(runs)
        return self._dicts(runs, ends, self._values[runs.order[ends]])


class _Buckets(_Pairs):
    """Quantile buckets: of each how often it comes."""

    def parts(self, runs: Runs) -> list[dict[int, int]]:
        ends = self._ends(runs)
        counts = self._dicts(runs, ends, np.diff(ends, prepend=-1))
        most = sketches.MAX_BUCKETS
        return [c if len(c) <= most else sketches.collapse(c) for c in counts]


_SHARE_LIMBS, _SHARE_PLACES = 6, 80
"""Binary places of a completion: 53 of a double, and 27 for the smallest, 1 ms of a day."""

_WHOLE_LIMBS = 2
"""No span of time is longer than a day, 27 bits of ms."""


def _where(rows: Plays, predicate: str | None) -> Array:
    """Of which plays a predicate holds; None: of all."""
    if predicate is None:
        return np.ones(len(rows.plays), bool)
    holds = rows.eligible if predicate == "eligible" else PREDICATES[predicate](rows.plays)
    return np.frombuffer(bytes(holds), bool)


def _column(rows: Plays, name: str) -> Column:
    kind, field, where = parts.split_name(name)
    if field is None:
        return _Holds(_where(rows, where))
    values = FIELDS[field](rows.plays)
    chosen = None
    if where or None in values:
        there = np.array([value is not None for value in values])
        chosen = np.flatnonzero(there & _where(rows, where))
        values = [values[i] for i in chosen.tolist()]
    if kind == "s":
        shape = (_SHARE_LIMBS, _SHARE_PLACES) if field == "completion" else (_WHOLE_LIMBS, 0)
        return _Moments(np.fromiter(values, np.float64, len(values)), chosen, *shape)
    rows_of = np.arange(len(values)) if chosen is None else chosen
    if kind == "q":
        keys = np.fromiter(map(_bucket, values), np.int64, len(values))
        order = np.argsort(keys, kind="stable")
        return _Buckets(keys[order], keys[order], rows_of[order])
    numbers, ranks = _registers(_hashes(values))
    order = np.argsort(numbers << 6 | ranks, kind="stable")
    return _Registers(numbers[order], ranks[order], rows_of[order])


def _registers(hashes: Array) -> tuple[Array, Array]:
    """What ``sketches.registers`` makes of each hash: its register and its rank."""
    rest = 64 - sketches.PRECISION
    numbers = (hashes >> np.uint64(rest)).astype(np.int64)
    suffix = (hashes & np.uint64((1 << rest) - 1)).astype(np.float64)  # 52 bits: exact
    return numbers, sketches.MAX_RANK - np.frexp(suffix)[1].astype(np.int64)


# -- cells ------------------------------------------------------------------------------------------


def fold(
    rows: Plays, groups: Sequence[Tags], names: Sequence[str]
) -> dict[Tags, dict[CellKey, Cell]]:
    """The cells of each group with these parts; cells come by their first play. Not of nothing.

    Parts without anything in them are left out, as are cells of plays that are of no release in
    groups of releases.
    """
    columns = [(name, _column(rows, name)) for name in names if name != parts.EVENTS]
    tags = {tag: FIELDS[tag](rows.plays) for tag in {t for g in groups for t in g}}
    numbers = {tag: _numbered(values) for tag, values in tags.items()}
    lines, slots = [], _numbered(rows.slots)
    for group in groups:
        line, size = slots
        for number, kinds in (numbers[tag] for tag in group):
            if size * kinds >= _COUNTABLE:
                line, size = _dense(line)
            line, size = line * kinds + number, size * kinds
        lines.append((line, size))
    cells = _beside(lines)
    runs = _runs(cells)
    made = _made(cells, runs, columns)
    firsts = runs.order[runs.starts].tolist()
    edges = np.searchsorted(runs.cells, cells.min(axis=1)).tolist()
    folded = {}
    for group, (begin, end) in zip(groups, pairwise([*edges, len(made)]), strict=True):
        by_tag = [rows.slots, *(tags[tag] for tag in group)]
        folded[group] = {
            tuple([values[row] for values in by_tag]): Cell(rows.places[row], its)
            for row, its in sorted(zip(firsts[begin:end], made[begin:end], strict=True), key=_first)
        }
        if RELEASE in group:
            folded[group] = {key: cell for key, cell in folded[group].items() if None not in key}
    return folded


def _made(cells: Array, runs: Runs, columns: Sequence[tuple[str, Column]]) -> list[dict[str, Any]]:
    """All parts of each run."""
    counts = runs.counts.tolist()
    made: list[dict[str, Any]] = [{parts.EVENTS: n} for n in counts]
    for name, column in columns:
        places: Sequence[int] = range(len(made))
        its = runs
        if column.rows is not None:
            if not len(column.rows):
                continue
            its = _runs(cells[:, column.rows])
            places = np.searchsorted(runs.cells, its.cells).tolist()
        for place, part in zip(places, column.parts(its), strict=True):
            if part:
                made[place][name] = part
    return made


def _first(item: tuple[int, dict[str, Any]]) -> int:
    return item[0]
