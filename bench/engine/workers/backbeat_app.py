"""Our side: ``faust -A bench.engine.workers.backbeat_app worker``, on nothing but the engine's surface.

``BENCH_JOB`` is raw (parse, keep nothing) or windowed (count and sum per key and 10 s window in a
durable store, late records included); ``BENCH_PAYLOAD`` is plays or metrics. ``BACKBEAT_*`` does the rest.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.engine.workers.columns import FIELDS, MANY
from engine import EngineApp
from models.flow import Batch, Output, Records, State, StoreSpec
from models.settings import Settings
from models.topics import TOPICS

PANE = 10_000
KEPT = 2
"""Panes that are kept behind a key's newest: as many as the grace and the disorder reach back."""


WINDOWS = StoreSpec("windows", bytes, bytes)


CELL = struct.Struct("<IIq")
"""One pane of a key as it is kept, in memory and on the changelog: number, count, sum."""

ONE = 1 << 44
"""While a batch is folded, a cell is one integer: the sum below this bit, the count from it on."""


def times_and_values(records: Records) -> Iterator[tuple[int, int]]:
    """Event time and value of every record, decoded together."""
    return map(FIELDS, MANY(joined(records)))


def joined(records: Records) -> bytes:
    """All values as one JSON array."""
    return b"[" + b",".join(records.values) + b"]"  # type: ignore[arg-type]


def parse(batch: Batch, _state: State, _now: int) -> Sequence[Output]:
    """The raw job."""
    if batch.records:
        MANY(joined(Records.of(batch.records)))
    return ()


def count(batch: Batch, state: State, _now: int) -> Sequence[Output]:
    """The windowed job: the batch's own cells first, pane by pane, then one change per key."""
    if not batch.records:
        return ()
    records = Records.of(batch.records)
    panes: dict[int, dict[bytes | None, int]] = {}
    current = -1
    cells: dict[bytes | None, int] = {}
    for raw, (at, value) in zip(records.keys, times_and_values(records), strict=True):
        pane = at // PANE
        if pane != current:
            current, cells = pane, panes.setdefault(pane, {})
        cells[raw] = cells.get(raw, 0) + ONE + value
    windows = state["windows"]
    changed: dict[str, bytes] = {}
    for pane in sorted(panes):
        add_pane(windows, changed, pane, panes[pane])
    windows.update(changed)
    return ()


def add_pane(
    windows: Mapping[str, bytes],
    changed: dict[str, bytes],
    pane: int,
    cells: Mapping[bytes | None, int],
) -> None:
    """Add a batch's events of one pane to the panes that keys have, in order.

    What is over is left out when a key's newest pane begins. Panes come in rising order.
    """
    pack, unpack_from, size = CELL.pack, CELL.unpack_from, CELL.size
    kept = -KEPT * size
    held: bytes | None
    # Names are decoded together: no key of the bench holds a line's end, and all have one.
    names = b"\n".join(cells).decode().split("\n")  # type: ignore[arg-type]
    for name, added in zip(names, cells.values(), strict=True):
        number, total = added >> 44, added & ONE - 1
        held = changed.get(name) or windows.get(name)
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


def create_app() -> EngineApp:
    """The app, from the environment."""
    source = os.environ["BENCH_PAYLOAD"]
    windowed = os.environ["BENCH_JOB"] == "windowed"
    app = EngineApp(Settings(), topics=[TOPICS[source]])
    step = app.step("count", source, [WINDOWS] if windowed else [])
    fold = count if windowed else parse

    @app.agent(app.source_of(step), name="count")
    async def count_windows(stream: Any) -> None:
        async for work in step.batches(stream):
            work.apply(fold)

    return app


app = create_app()
