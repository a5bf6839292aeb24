"""Our side: ``faust -A bench.engine.workers.backbeat_app worker``, on nothing but the engine's surface.

``BENCH_JOB`` is raw (parse, keep nothing) or windowed (count and sum per key and 10 s window in a
durable store, late records included); ``BENCH_PAYLOAD`` is plays or metrics. ``BACKBEAT_*`` does the rest.
"""

from __future__ import annotations

import os
from typing import Any

from bench.engine.workers.folds import WINDOWS, count, parse
from engine import EngineApp
from models.settings import Settings
from models.topics import TOPICS


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
