"""``faust -A bench.engine.workers.arrivals worker``: how old plays are when an agent has them; for ``bench.latency --to agent``.

Nothing is decoded or kept. Ages are whole ms since the producer's timestamp; how many plays had which is written
to the file ``BENCH_AGES`` when the worker leaves.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine import EngineApp
from models.flow import Batch, Output, Records, State
from models.settings import Settings
from models.topics import TOPICS

AGES: Counter[int] = Counter()


def note(batch: Batch, _state: State, _now: int) -> Sequence[Output]:
    """Count a batch's plays by age."""
    now = time.time_ns() // 1_000_000
    AGES.update(now - at for at in Records.of(batch.records).timestamps)
    return ()


@atexit.register
def write() -> None:
    """Leave the ages behind."""
    if AGES:
        Path(os.environ["BENCH_AGES"]).write_text(json.dumps(sorted(AGES.items())))


def create_app() -> EngineApp:
    """The app, from the environment."""
    app = EngineApp(Settings(), topics=[TOPICS["plays"]])
    step = app.step("arrivals", "plays", [])

    @app.agent(app.source_of(step), name="arrivals")
    async def note_ages(stream: Any) -> None:
        async for work in step.batches(stream):
            work.apply(note)

    return app


app = create_app()
