"""Step 2: partials become windows, windows are judged, changes of rules' states become findings."""

from __future__ import annotations

from functools import partial
from typing import Any

from agents.journal import Journal
from agents.judging import JUDGE_STORES, RuleJudge
from engine import EngineApp
from models.flow import State
from tables.watermarks import WATERMARKS, live_watermark
from tables.windowing import WINDOW_STORES, WindowsConfig, fold_windows


def declare(app: EngineApp, config: WindowsConfig, judge: RuleJudge, journal: Journal) -> None:
    """Declare the windows agent."""
    step = app.step("windows", "partials", (*WINDOW_STORES, *JUDGE_STORES), watermark=_watermark)
    fold = journal.around(partial(fold_windows, config=config, judge=judge))

    @app.agent(app.source_of(step), name="windows")
    async def close_windows(stream: Any) -> None:
        async for work in step.batches(stream):
            work.apply(fold)


def _watermark(state: State) -> int | None:
    return live_watermark(state[WATERMARKS.name])
