"""Quix Streams: a tumbling window with count and sum in RocksDB and on a changelog."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows.aggregations import Count, Sum

from bench.engine.workers.columns import ONE, VALUE
from bench.engine.workers.progress import Progress

PANE = 10_000


class ReadyHandler(logging.Handler):
    """Quix says only in its log when recovery is over."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        """Look for the line."""
        if "ecovery process complete" in record.getMessage():
            self._progress.ready()


def run() -> None:
    """Read until told to stop."""
    progress = Progress()
    windowed = os.environ["BENCH_JOB"] == "windowed"
    app = Application(
        os.environ["BENCH_BOOTSTRAP"],
        consumer_group=os.environ["BENCH_GROUP"],
        auto_offset_reset="earliest",
        commit_interval=1.0,
        consumer_poll_timeout=0.1,
        producer_extra_config={"compression.type": "lz4", "linger.ms": 20},
        state_dir=Path(os.environ["BENCH_FOLDER"]),
        processing_guarantee=os.environ.get("BENCH_GUARANTEE", "at-least-once"),
    )
    logging.getLogger("quixstreams").addHandler(ReadyHandler(progress))

    def value_of(raw: Any) -> Any:
        progress.events += 1
        return VALUE(ONE(raw))

    topic = app.topic(
        os.environ["BENCH_TOPIC"], key_deserializer="bytes", value_deserializer="bytes"
    )
    frame = app.dataframe(topic).apply(value_of)
    if windowed:
        window = frame.tumbling_window(PANE, grace_ms=PANE)
        frame = window.agg(count=Count(), sum=Sum()).final()
    app.run()


if __name__ == "__main__":
    run()
