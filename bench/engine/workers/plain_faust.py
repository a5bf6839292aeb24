"""Faust as it comes: ``faust -A bench.engine.workers.plain_faust worker``.

Raw: an agent that decodes each value with msgspec. Windowed: a tumbling table relative to the stream's
time, its value a pair (one table is quicker than one for the count and one for the sum), in memory with
a changelog: quicker than RocksDB, as durable.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

import faust

from bench.engine.workers.columns import ONE, VALUE
from bench.engine.workers.progress import Progress

WINDOWED = os.environ["BENCH_JOB"] == "windowed"

progress = Progress()
app = faust.App(
    os.environ["BENCH_GROUP"],
    broker=f"kafka://{os.environ['BENCH_BOOTSTRAP']}",
    store="memory://",
    topic_partitions=4,
    topic_disable_leader=True,
    datadir=os.environ["BENCH_FOLDER"],
    producer_linger=0.02,
    stream_wait_empty=False,
)
source = app.topic(
    os.environ["BENCH_TOPIC"],
    key_type=bytes,
    key_serializer="raw",
    value_type=bytes,
    value_serializer="raw",
)

if WINDOWED:
    table: Any = app.Table("windows", default=lambda: (0, 0), partitions=4).tumbling(
        10.0, expires=timedelta(hours=1)
    )
    windows = table.relative_to_stream()


async def parse(stream: Any) -> None:
    """The raw job."""
    async for value in stream:
        ONE(value)
        progress.events += 1


async def count(stream: Any) -> None:
    """The windowed job."""
    async for raw, value in stream.items():
        key = raw.decode()
        number, total = windows[key].value()
        windows[key] = (number + 1, total + VALUE(ONE(value)))
        progress.events += 1


app.agent(source, name="count")(count if WINDOWED else parse)


@app.task()
async def tell_when_ready() -> None:
    """Say when the tables are recovered."""
    await app.tables.recovery.completed.wait()
    progress.ready()
