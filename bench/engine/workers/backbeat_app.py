"""Our side: ``faust -A bench.engine.workers.backbeat_app worker``, on nothing but the engine's surface.

``BENCH_JOB`` is raw (parse, keep nothing) or windowed (count and sum per key and 10 s window in a
durable store, late records included); ``BENCH_PAYLOAD`` is plays or metrics. ``BACKBEAT_*`` does the rest.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
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
    """The windowed job: the batch's own cells first, then one change per key."""
    if not batch.records:
        return ()
    records = Records.of(batch.records)
    cells: dict[tuple[bytes | None, int], int] = {}
    known = cells.get
    for raw, (at, value) in zip(records.keys, times_and_values(records), strict=True):
        cell = raw, at // PANE
        cells[cell] = known(cell, 0) + ONE + value
    windows = state["windows"]
    changed: dict[str, bytes] = {}
    for (name, pane), added in cells.items():
        key = (name or b"").decode()
        held = changed.get(key) or windows.get(key)
        changed[key] = add(held, pane, added)
    windows.update(changed)
    return ()


def add(held: bytes | None, pane: int, added: int) -> bytes:
    """A key's panes, in order, with some events more; what is over is left out when a pane begins."""
    number, total = added >> 44, added & ONE - 1
    if held is None:
        return CELL.pack(pane, number, total)
    newest, count, sum_ = CELL.unpack_from(held, len(held) - CELL.size)
    if newest == pane:
        return held[: -CELL.size] + CELL.pack(pane, count + number, sum_ + total)
    if newest < pane:
        first = CELL.unpack_from(held)[0]
        kept = held if first >= pane - KEPT else held[-KEPT * CELL.size :]
        return kept + CELL.pack(pane, number, total)
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
