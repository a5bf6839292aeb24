"""A worker that knows only the engine: counts values per key, and says each count it reaches.

Run as ``faust -A tests.support.counting_app worker``; configured by ``BACKBEAT_*``. A value ``boom``
raises in the fold.
"""

from __future__ import annotations

import msgspec

from engine import EngineApp
from models.flow import Batch, Output, State, StoreSpec
from models.settings import Settings
from models.topics import TOPICS

COUNTS = StoreSpec("counts", msgspec.msgpack.encode, msgspec.msgpack.Decoder(int).decode)


def count(batch: Batch, state: State, now: int) -> list[Output]:
    """One count per key; outputs the key's new count once a batch."""
    counts = state["counts"]
    touched = {}
    for record in batch.records:
        if record.value == b"boom":
            msg = "this record breaks the fold"
            raise RuntimeError(msg)
        key = (record.key or b"").decode()
        counts[key] = touched[key] = counts.get(key, 0) + 1
    return [Output("windows", k.encode(), b"%d" % n) for k, n in touched.items()]


def create_app() -> EngineApp:
    """The app, from the environment."""
    topics = [TOPICS[name] for name in ("plays", "windows", "dead-letters")]
    app = EngineApp(Settings(), topics=topics)
    step = app.step("count", "plays", [COUNTS])

    @app.agent(app.source_of(step), name="count")
    async def count_plays(stream):  # type: ignore[no-untyped-def]
        async for work in step.batches(stream):
            work.apply(count)

    return app


app = create_app()
