"""The floor for Python: aiokafka and msgspec, many records decoded together, nothing kept."""

from __future__ import annotations

import asyncio
import os

from aiokafka import AIOKafkaConsumer

from bench.engine.workers.columns import decoded
from bench.engine.workers.progress import Progress


async def run() -> None:
    """Read until killed."""
    progress = Progress()
    consumer = AIOKafkaConsumer(
        os.environ["BENCH_TOPIC"],
        bootstrap_servers=os.environ["BENCH_BOOTSTRAP"],
        group_id=os.environ["BENCH_GROUP"],
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    await consumer.start()
    progress.ready()
    while True:
        for records in (await consumer.getmany(timeout_ms=100)).values():
            for _ in decoded([record.value for record in records]):
                pass
            progress.events += len(records)


if __name__ == "__main__":
    asyncio.run(run())
