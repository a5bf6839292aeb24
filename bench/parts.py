"""What an event of the windowed job costs, part by part, and a restored changelog record, without a broker.

    python -m bench.parts [--keys N] [--events N] [--rounds N] [--json OUT]

Record batches as the engine's bench keeps them (``bench.engine.preload``), folded by its own worker's fold, 20,000
records a flush, four partitions in turns; the changelog is written to the last byte, and read back. CPU of this thread,
the first tenth left out; the median of the rounds. A worker pays for its client, its threads and the network besides.
"""

from __future__ import annotations

import argparse
import gc
import struct
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from bench.engine import preload
from bench.engine.dataset import PARTITIONS, START, Dataset
from bench.engine.workers.folds import WINDOWS, count
from bench.machine import about, tell
from engine.app import GC_THRESHOLDS
from engine.batches import compress_fast, fill, read_batches, read_values
from engine.flush import MAX_BATCH_BYTES
from engine.store import Changes, PartitionState
from models.flow import Batch, Records

FLUSH = 20_000
FETCH_BYTES = 256 * 1024
RESTORE_BYTES = 8 * 1024 * 1024
CHUNK = 5_000
LAST_OFFSET = struct.Struct(">i")
BASE_OFFSET = struct.Struct(">q")


class Laps:
    """CPU seconds of this thread, by part."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._since = time.thread_time()

    def start(self) -> None:
        """What is done until here counts for nothing."""
        self._since = time.thread_time()

    def end(self, part: str) -> None:
        """What was done since the last call was this."""
        now = time.thread_time()
        self.spent[part] += now - self._since  # type: ignore[assignment]
        self._since = now

    def each(self, n: int) -> dict[str, float]:
        """µs a piece."""
        return {part: seconds / n * 1e6 for part, seconds in self.spent.items()}


def fetches(batches: Sequence[bytes], size: int) -> Iterator[PartitionRecords]:
    """Record batches as fetches of about so many bytes bring them, at the offsets that a broker gives."""
    raw, offset = bytearray(), 0
    for batch in batches:
        at = len(raw)
        raw += batch
        BASE_OFFSET.pack_into(raw, at, offset)
        offset += LAST_OFFSET.unpack_from(batch, 23)[0] + 1
        if len(raw) >= size or batch is batches[-1]:
            tp = TopicPartition("plays", 0)
            records = MemoryRecords(bytes(raw))
            part = PartitionRecords(tp, records, [], 0, None, None, True, READ_COMMITTED)
            part._records_iterator = None  # noqa: SLF001 - as the engine does
            yield part
            raw.clear()


def gathered(batches: Sequence[bytes], laps: Laps) -> Iterator[Records]:
    """A partition's records, by flush."""
    records = Records()
    for part in fetches(batches, FETCH_BYTES):
        more = True
        while more:
            laps.start()
            found, more = read_batches(part, CHUNK)
            records.extend(found)
            laps.end("read: unpack, check, columns")
            if len(records) >= FLUSH:
                yield records
                records = Records()
    if records:
        yield records


def written(changes: Changes, laps: Laps) -> list[bytes]:
    """The changelog's record batches of a flush."""
    builders, at = [], 0
    while at < len(changes):
        builder = BatchBuilder(MAX_BATCH_BYTES, preload.LZ4, is_transactional=1)
        at = fill(builder, changes, at, START)
        builders.append(builder)
    laps.end("records into batches")
    made = [bytes(builder._build()) for builder in builders]  # noqa: SLF001 - as the producer does
    laps.end("batches: lz4, checksum")
    return made


def folded(logs: list[list[bytes]], events: int) -> tuple[dict[str, float], list[list[bytes]]]:
    """µs an event by part, and the changelogs."""
    laps, done, counted = Laps(), 0, 0
    states = [PartitionState([WINDOWS]) for _ in logs]
    out: list[list[bytes]] = [[] for _ in logs]
    turns: list[Iterator[Records]] = [gathered(log, laps) for log in logs]
    while done < events and turns:
        for number, turn in enumerate(turns):
            records = next(turn, None)
            if records is None:
                return laps.each(counted), out
            state, size = states[number], len(records)
            batch = Batch("plays", number, records, at_end=False)
            laps.start()
            count(batch, state.stores, 0)
            laps.end("fold")
            changes = state.freeze(0, 0)
            laps.end("freeze: keys and values encoded")
            out[number] += written(changes, laps)
            if done < events // 10:
                laps.spent.clear()
            else:
                counted += size
            done += size
    return laps.each(counted), out


def restored(logs: list[list[bytes]]) -> tuple[dict[str, float], int, int]:
    """µs a changelog record by part; how many records, how many keys."""
    laps, records, keys = Laps(), 0, 0
    for log in logs:
        values: dict[bytes, Any] = {}
        for part in fetches(log, RESTORE_BYTES):
            laps.start()
            records += read_values(part, 1 << 60, values)[0]
            laps.end("read: unpack, check, last values")
        laps.start()
        keys += len(PartitionState.restored([WINDOWS], values))
        laps.end("state of the last values")
    return laps.each(records), records, keys


def measure(keys: int, events: int) -> dict[str, Any]:
    """One round."""
    logs: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    for number, batch in preload.read_batches(preload.batch_file(Dataset("plays", keys, events))):
        logs[number].append(batch)
    fold, changelogs = folded(logs, events)
    restore, records, held = restored(changelogs)
    return {
        "event": fold,
        "restored_record": restore,
        "changelog_records": records,
        "keys_held": held,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    compress_fast()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    rounds = [measure(args.keys, args.events) for _ in range(args.rounds)]
    result: dict[str, Any] = {**about(), "keys": args.keys, "events": args.events}
    for what in ("event", "restored_record"):
        parts = {p: round(median(r[what][p] for r in rounds), 3) for p in rounds[0][what]}
        result[f"us_per_{what}"] = {**parts, "together": round(sum(parts.values()), 3)}
    result |= {name: rounds[0][name] for name in ("changelog_records", "keys_held")}
    tell(result, args.json)


if __name__ == "__main__":
    main()
