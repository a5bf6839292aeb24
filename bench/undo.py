"""What guarding costs: a fold over live values with the undo log off and on, and undoing against restoring.

    python -m bench.undo [--keys N] [--touched N] [--json OUT]

The fold looks up a list of six numbers per touched key, changes it in place and assigns it again. ``plain`` is the
same loop over a dict; ``roll back`` undoes a batch, ``restore`` decodes the whole state from changelog values
(reading the topic comes on top). Best of seven, interleaved.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import msgspec

from bench.machine import about
from engine.store import PartitionState, last_values
from models.flow import StoreSpec

SPEC = StoreSpec("panes", msgspec.msgpack.encode, msgspec.msgpack.Decoder(list[int]).decode)
RUNS = 7


def fold(store: MutableMapping[str, Any], keys: list[str]) -> None:
    """Change a value in place, per key."""
    for key in keys:
        panes = store[key]
        panes[0] += 1
        store[key] = panes


def timed(work: Callable[[], object]) -> float:
    """Seconds of CPU."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(keys: int, touched: int) -> dict[str, float]:
    """µs per touched key; for ``restore`` per key of the state."""
    names = [f"listener-{n:07d}" for n in range(keys)]
    state = PartitionState([SPEC])
    store = state.stores["panes"]
    for name in names:
        store[name] = [0] * 6
    log = last_values(state.freeze(0, 0))
    plain = {name: [0] * 6 for name in names}
    some = names[:: max(1, keys // touched)][:touched]
    best: dict[str, float] = {}

    def note(name: str, seconds: float, per: int) -> None:
        best[name] = min(best.get(name, 1e9), seconds / per * 1e6)

    for _ in range(RUNS):
        note("plain dict", timed(lambda: fold(plain, some)), len(some))
        note("store", timed(lambda: fold(store, some)), len(some))
        state.freeze(0, 0)
        state.guard(1)
        note("guarded store", timed(lambda: fold(store, some)), len(some))
        note("roll back", timed(state.roll_back), len(some))
        state.flushed()
        note("restore", timed(lambda: PartitionState.restored([SPEC], log)), keys)
    return {name: round(value, 3) for name, value in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--touched", type=int, default=5_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    result = {**about(), "keys": args.keys, "touched": args.touched,
              "us_per_key": measure(args.keys, args.touched)}  # fmt: skip
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
