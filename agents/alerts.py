"""Step 3: findings of one tenant meet and become alerts and notifications."""

from __future__ import annotations

from functools import partial
from typing import Any

from agents.journal import Journal
from alerts.incidents import INCIDENT_STORES, IncidentConfig, fold_findings
from engine import EngineApp


def declare(app: EngineApp, config: IncidentConfig, journal: Journal) -> None:
    """Declare the alerts agent."""
    step = app.step("alerts", "findings", INCIDENT_STORES)
    fold = journal.around(partial(fold_findings, config=config))

    @app.agent(app.source_of(step), name="alerts")
    async def keep_incidents(stream: Any) -> None:
        async for work in step.batches(stream):
            work.apply(fold)
