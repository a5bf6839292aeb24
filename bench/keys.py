"""What a key costs in memory: count and sum of six panes under a key of twelve bytes, and the flush of all.

    python -m bench.keys [--keys N] [--json OUT]

The store as the engine keeps it, packed panes as the bench's windowed job has them. ``flush`` is the peak while every
key is in one flush, the worst case: names and values as the changelog gets them, before they are packed into batches.
Baseline in the same run: a plain dict of lists of numbers. Bytes by tracemalloc; the process itself is left out.
"""

from __future__ import annotations

import argparse
import struct
import tracemalloc
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from bench.machine import about, tell
from engine.store import PartitionState
from models.flow import StoreSpec

CELL = struct.Struct("<IIq")
PANES = 6


def packed(n: int) -> bytes:
    """Six panes of number, count and sum."""
    return b"".join(CELL.pack(pane, 1, n) for pane in range(PANES))


def plain(n: int) -> list[tuple[int, int, int]]:
    """The same as Python's own numbers."""
    return [(1_000_000 + pane, 1_000 + n, 1_000_000 + n + pane) for pane in range(PANES)]


def fill(store: MutableMapping[str, Any], make: Any, keys: int) -> float:
    """Bytes a key of a store that is filled here."""
    before = tracemalloc.get_traced_memory()[0]
    for n in range(keys):
        store[f"key-{n:08d}"] = make(n)
    return (tracemalloc.get_traced_memory()[0] - before) / keys


def measure(keys: int) -> dict[str, float]:
    """Bytes a key, by what is looked at."""
    tracemalloc.start()
    state = PartitionState([StoreSpec("windows", bytes, bytes)])
    changed = fill(state.stores["windows"], packed, keys)
    tracemalloc.reset_peak()
    flush = state.freeze(0, 0)
    peak = tracemalloc.get_traced_memory()[1] / keys
    del flush
    kept = tracemalloc.get_traced_memory()[0] / keys
    baseline = fill({}, plain, keys)
    tracemalloc.stop()
    return {"kept": kept, "all changed": changed, "flush": peak, "plain dict": baseline}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    found = {name: round(size) for name, size in measure(args.keys).items()}
    result = {**about(), "keys": args.keys, "bytes_per_key": found}
    tell(result, args.json)


if __name__ == "__main__":
    main()
