"""What restoring the product's ingest state takes, without a broker: listeners' profiles, eligibility, duplicates.

    python -m bench.restores [--plays N] [--batch B] [--rounds N] [--json OUT]

N plays of the simulator's firehose (seed 1), folded B records a batch by the shipped ingest; what each flush wrote is
read back as a restore reads it, whole and compacted to the last record of each key (as the broker does in time). CPU
of this thread, the median of the rounds. Baseline in the same run: the same records' keys and values without decoding
(a store of bytes).
"""

from __future__ import annotations

import argparse
import gc
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from bench.machine import about, tell
from bench.parts import RESTORE_BYTES, Laps, fetches, written
from bench.steps import PARTITIONS, Pipeline, dealt
from engine.app import GC_THRESHOLDS
from engine.batches import compress_fast, read_values
from engine.store import Changes, PartitionState, last_values
from models.flow import Batch, Records, StoreSpec
from simulate.config import firehose
from simulate.generator import Simulation
from tables.ingest import PLAY_STORES, fold_plays

RATE = 100.0
"""Plays a second of event time."""


def flushes(plays: int, size: int) -> list[list[Changes]]:
    """What ingest writes to its changelog, by partition and flush."""
    now = time.time_ns() // 1_000_000
    begin = now - int(plays / RATE * 1000) - 60_000
    events = islice(Simulation(1, firehose(RATE, begin)).events(begin, now), plays)
    parts = [Records.of(part) for part in dealt([(e.key, e.value, e.headers) for e in events], now)]
    config = Pipeline().ingest
    states = [PartitionState(PLAY_STORES) for _ in range(PARTITIONS)]
    found: list[list[Changes]] = [[] for _ in range(PARTITIONS)]
    for at in range(0, max(map(len, parts)), size):
        for number, (part, state) in enumerate(zip(parts, states, strict=True)):
            batch = Batch("plays", number, part[at : at + size], at_end=False)
            fold_plays(batch, state.stores, now, config)
            found[number].append(state.freeze(at, now))
    return found


def compacted(log: list[Changes]) -> Changes:
    """The last record of each key."""
    made = Changes()
    last = last_values(record for changes in log for record in changes)
    made.names, made.values = list(last), list(last.values())
    return made


def restored(logs: list[list[Changes]], stores: tuple[StoreSpec, ...]) -> dict[str, Any]:
    """µs of a restore of these flushes."""
    laps, records, keys = Laps(), 0, 0
    for log in logs:
        batches = [batch for changes in log for batch in written(changes, Laps())]
        values: dict[bytes, Any] = {}
        for part in fetches(batches, RESTORE_BYTES):
            laps.start()
            records += read_values(part, 1 << 60, values)[0]
            laps.end("read")
        values = {key: value for key, value in values.items() if value is not None}
        laps.start()
        keys += len(PartitionState.restored(stores, values))
        laps.end("state")
    return {
        "records": records, "keys": keys,
        "read_us_per_record": laps.spent["read"] / records * 1e6,
        "state_us_per_key": laps.spent["state"] / keys * 1e6,
        "seconds": laps.spent["read"] + laps.spent["state"],
        "records_per_s": records / (laps.spent["read"] + laps.spent["state"]),
    }  # fmt: skip


def middle(rounds: list[dict[str, Any]]) -> dict[str, float]:
    """The median of each figure."""
    return {name: float(f"{median(r[name] for r in rounds):.4g}") for name in rounds[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--plays", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    compress_fast()
    log = flushes(args.plays, args.batch)
    once = [[compacted(changes)] for changes in log]
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    plain = tuple(StoreSpec(spec.name, bytes, bytes) for spec in PLAY_STORES)
    held = [name.partition(b"\0")[0].decode() for part in once for name in part[0].names]
    kinds = {
        "every flush's records": (log, tuple(PLAY_STORES)),
        "compacted": (once, tuple(PLAY_STORES)),
        "compacted, values left as they are (baseline)": (once, plain),
    }
    found = {name: [restored(*kind) for _ in range(args.rounds)] for name, kind in kinds.items()}
    result = {
        **about(), "plays": args.plays, "batch": args.batch,
        "keys": {name: held.count(name) for name in sorted({*held} - {""})},
        **{name: middle(rounds) for name, rounds in found.items()},
    }  # fmt: skip
    tell(result, args.json)


if __name__ == "__main__":
    main()
