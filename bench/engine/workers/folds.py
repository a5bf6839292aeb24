"""The folds of our side's jobs: count and sum per key and 10 s window, or parse and keep nothing."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from bench.engine.workers.columns import decoded
from models.flow import Batch, Output, Records, State, StoreSpec

PANE = 10_000
KEPT = 2
"""Panes that are kept behind a key's newest: as many as the grace and the disorder reach back."""


WINDOWS = StoreSpec("windows", bytes, bytes)

CELL = struct.Struct("<IIq")
"""One pane of a key as it is kept, in memory and on the changelog: number, count, sum."""

ONE = 1 << 44
"""While a batch is folded, a cell is one integer: the sum below this bit, the count from it on."""


def parse(batch: Batch, _state: State, _now: int) -> Sequence[Output]:
    """The raw job."""
    for _ in decoded(Records.of(batch.records).values):
        pass
    return ()


def count(batch: Batch, state: State, _now: int) -> Sequence[Output]:
    """The windowed job: the batch's own cells first, pane by pane, then one change per key."""
    if not batch.records:
        return ()
    panes = cells_of(Records.of(batch.records))
    windows = state["windows"]
    changed: dict[str, bytes] = {}
    for pane in sorted(panes):
        add_pane(windows, changed, pane, panes[pane])
    windows.update(changed)
    return ()


def cells_of(records: Records) -> dict[int, dict[bytes | None, int]]:
    """A batch's events by pane and key."""
    panes: dict[int, dict[bytes | None, int]] = {}
    current = -1
    cells: dict[bytes | None, int] = {}
    keys = iter(records.keys)
    for events in decoded(records.values):
        for event, raw in zip(events, keys, strict=False):
            pane = event.at // PANE
            if pane != current:
                current, cells = pane, panes.setdefault(pane, {})
            cells[raw] = cells.get(raw, 0) + ONE + event.value
    return panes


def add_pane(
    windows: Mapping[str, bytes],
    changed: dict[str, bytes],
    pane: int,
    cells: Mapping[bytes | None, int],
) -> None:
    """Add a batch's events of one pane to the panes that keys have, in order.

    What is over is left out when a key's newest pane begins: a batch must not span more panes than are
    kept, or one would begin and end in it unseen. Panes come in rising order.
    """
    pack, unpack_from, size = CELL.pack, CELL.unpack_from, CELL.size
    kept = -KEPT * size
    # Names are decoded together: no key of the bench holds a line's end, and all have one.
    names = b"\n".join(cells).decode().split("\n")  # type: ignore[arg-type]
    holds: Iterable[bytes | None] = map(windows.get, names)
    if changed:
        holds = [changed.get(name) or held for name, held in zip(names, holds, strict=True)]
    for name, held, added in zip(names, holds, cells.values(), strict=True):
        number, total = added >> 44, added & ONE - 1
        if held is None:
            changed[name] = pack(pane, number, total)
            continue
        newest, count, sum_ = unpack_from(held, len(held) - size)
        if newest < pane:
            changed[name] = held[kept:] + pack(pane, number, total)
        elif newest == pane:
            changed[name] = held[:-size] + pack(pane, count + number, sum_ + total)
        else:
            changed[name] = add_late(held, pane, number, total)


def add_late(held: bytes, pane: int, number: int, total: int) -> bytes:
    """A key's panes with some events more in one that is not its newest."""
    cells = {at: (count, sum_) for at, count, sum_ in CELL.iter_unpack(held)}
    count, sum_ = cells.get(pane, (0, 0))
    cells[pane] = count + number, sum_ + total
    return b"".join(CELL.pack(at, *cells[at]) for at in sorted(cells))
