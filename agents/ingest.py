"""Step 1: plays and metrics become partials; what cannot be used becomes dead letters."""

from __future__ import annotations

from functools import partial
from typing import Any

from agents.journal import Journal
from engine import EngineApp
from models.flow import State
from tables.clocks import CLOCKS, live_watermark
from tables.ingest import METRIC_STORES, PLAY_STORES, IngestConfig, fold_metrics, fold_plays


def declare(app: EngineApp, config: IngestConfig, journal: Journal) -> None:
    """Declare the two ingest agents."""
    plays = app.step("plays", "plays", PLAY_STORES, watermark=_watermark)
    metrics = app.step("metrics", "metrics", METRIC_STORES, watermark=_watermark)
    fold_play_batch = journal.around(partial(fold_plays, config=config))
    fold_metric_batch = journal.around(partial(fold_metrics, config=config))

    @app.agent(app.source_of(plays), name="ingest-plays")
    async def ingest_plays(stream: Any) -> None:
        async for work in plays.batches(stream):
            work.apply(fold_play_batch)

    @app.agent(app.source_of(metrics), name="ingest-metrics")
    async def ingest_metrics(stream: Any) -> None:
        async for work in metrics.batches(stream):
            work.apply(fold_metric_batch)


def _watermark(state: State) -> int | None:
    return live_watermark(state[CLOCKS])
