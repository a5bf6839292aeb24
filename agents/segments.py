"""Beside the steps: listeners' habits become segments, and the segments' sizes become metrics."""

from __future__ import annotations

from functools import partial
from typing import Any

from agents.journal import Journal
from agents.segmenting import SEGMENT_STORES, fold_habits
from engine import EngineApp
from models.flow import Counters


def declare(app: EngineApp, counters: Counters, journal: Journal) -> None:
    """Declare the segments agent."""
    step = app.step("segments", "features", SEGMENT_STORES)
    fold = journal.around(partial(fold_habits, counters=counters))

    @app.agent(app.source_of(step), name="segments")
    async def keep_segments(stream: Any) -> None:
        async for work in step.batches(stream):
            work.apply(fold)
