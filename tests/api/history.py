"""A store with history to learn from, and what tests of models do with it."""

from __future__ import annotations

import asyncio
import json
import random

from models.learning import decode_learning
from models.records import Value, Window
from models.series import format_key
from storage.memory import MemoryStore
from storage.protocols import Rows
from tests.api.seed import NOW, PANE, seeded_store

MINUTE = 60_000
FIRST = NOW // MINUTE * MINUTE - 300 * MINUTE
PLANS = ("basic", "family")


def window(plan: str, start: int, plays: float, tenant: str = "demo") -> Window:
    return Window(
        tenant=tenant, group=format_key(tenant, "plan", {"plan": plan}), stream="live",
        start=start, end=start + MINUTE, size=MINUTE, slide=PANE, count=int(plays),
        values={"plays": Value(value=plays, weight=plays), "error_rate": Value(value=None)},
    )  # fmt: skip


async def store_with_history() -> MemoryStore:
    """Five hours of minutes that slide by ten seconds, with a burst of one plan."""
    store = await seeded_store()
    noise = random.Random(5)
    windows = []
    for plan in PLANS:
        for start in range(FIRST, FIRST + 300 * MINUTE, PANE):
            plays = noise.gauss(100, 3)
            if plan == "family" and 250 <= (start - FIRST) / MINUTE < 254:
                plays += 400
            windows.append(window(plan, start, plays))
    await store.write(Rows(windows=[*windows, window("basic", FIRST, 5, "other")]))
    return store


ORDER = {
    "family": "plays-by-plan", "selector": {"name": "plays", "tags": {"plan": "*"}},
    "spec": {"threshold": 1.0}, "by": "ann", "reason": "first try",
}  # fmt: skip
FAMILY = "demo|plays{plan=family}"


async def ended(client, job_id: str) -> dict:
    async with asyncio.timeout(30):
        while True:
            job = (await client.get(f"/api/v1/ml/jobs/{job_id}")).json()
            if job["ended_at"]:
                return job
            await asyncio.sleep(0.01)


async def train(client, **changes) -> dict:
    answer = await client.post("/api/v1/ml/train", json=ORDER | changes)
    assert answer.status_code == 202, answer.text
    return await ended(client, answer.json()["job"]["id"])


def published(world, topic="models") -> list:
    decode = decode_learning if topic == "models" else json.loads
    return [decode(m.value) for m in world.producer.topics.get(topic, [])]
