"""Between windows and alerts: slices of one tenant meet, and one finding speaks for those it explains.

Metrics of one thing that are judged together meet here too, and tracks in their first week.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from agents.attributing import EVIDENCE_STORES, AttributionConfig, fold_evidence
from agents.journal import Journal
from engine import EngineApp


def declare(app: EngineApp, config: AttributionConfig, journal: Journal) -> None:
    """Declare the attribution agent."""
    step = app.step("attribution", "evidence", EVIDENCE_STORES)
    fold = journal.around(partial(fold_evidence, config=config))

    @app.agent(app.source_of(step), name="attribution")
    async def find_causes(stream: Any) -> None:
        async for work in step.batches(stream):
            work.apply(fold)
