"""Bytewax: a tumbling window with count and sum; recovery snapshots to SQLite; it ends with its input.

The clock's "now" stands still, so that the watermark follows the events alone: by default it also moves
with the time of day, and input from the past would come late on a slow machine.
"""

from __future__ import annotations

import os
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.engine.workers.columns import FIELDS, ONE
from bench.engine.workers.progress import Progress

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2100, 1, 1, tzinfo=UTC)
WINDOW = timedelta(seconds=10)
RESULT = struct.Struct("<16sqqq")
"""Key, number of the window since the epoch, count, sum."""

progress = Progress()


class Results(StatelessSinkPartition[Any]):
    """Closed windows into a file, for the bench to check."""

    def __init__(self) -> None:
        self._file = Path(os.environ["BENCH_RESULTS"]).open("ab")  # noqa: SIM115 - as long as the flow

    def write_batch(self, items: list[Any]) -> None:
        """Append."""
        packed = [RESULT.pack(k.encode(), pane, *pair) for k, (pane, pair) in items]
        self._file.write(b"".join(packed))

    def close(self) -> None:
        """Flush the last."""
        self._file.close()


class ResultSink(DynamicSink[Any]):
    """One file, as there is one worker."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Results:
        """Open it."""
        return Results()


class Nothing(StatelessSinkPartition[Any]):
    """Where the raw job ends."""

    def write_batch(self, items: list[Any]) -> None:
        """Drop."""


class NothingSink(DynamicSink[Any]):
    """Where the raw job ends."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> Nothing:
        """Make one."""
        return Nothing()


def values(messages: list[Any]) -> list[tuple[str, tuple[int, int]]]:
    """Key, event time and value of a batch."""
    progress.events += len(messages)
    return [(m.key.decode(), FIELDS(ONE(m.value))) for m in messages]


def add(pair: tuple[int, int], item: tuple[int, int]) -> tuple[int, int]:
    """One event more."""
    return pair[0] + 1, pair[1] + item[1]


def flow() -> Dataflow:
    """The job."""
    graph = Dataflow("bench")
    brokers = [os.environ["BENCH_BOOTSTRAP"]]
    source = KafkaSource(brokers, [os.environ["BENCH_TOPIC"]], tail=False, batch_size=1000)
    messages = op.input("in", graph, source)
    keyed: Any = op.flat_map_batch("parse", messages, values)
    if os.environ["BENCH_JOB"] != "windowed":
        op.output("out", keyed, NothingSink())
        return graph
    clock: Any = EventClock(
        ts_getter=lambda item: datetime.fromtimestamp(item[0] / 1000, UTC),
        wait_for_system_duration=WINDOW,
        now_getter=lambda: NOW,
        to_system_utc=lambda _at: None,
    )
    out = fold_window(
        "count", keyed, clock, TumblingWindower(length=WINDOW, align_to=EPOCH),
        builder=lambda: (0, 0), folder=add, merger=lambda a, b: (a[0] + b[0], a[1] + b[1]),
        ordered=False,
    )  # fmt: skip
    op.output("out", out.down, ResultSink())
    return graph


if __name__ == "__main__":
    folder = Path(os.environ["BENCH_FOLDER"])
    folder.mkdir(parents=True, exist_ok=True)
    recovery = None
    if os.environ["BENCH_JOB"] == "windowed":
        init_db_dir(folder, 1)
        recovery = RecoveryConfig(folder)
    cli_main(flow(), epoch_interval=timedelta(seconds=1), recovery_config=recovery)
    progress.write()
