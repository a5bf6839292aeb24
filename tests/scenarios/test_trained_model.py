"""From a training over HTTP to a worker's judge: the model that was promoted scores the next window."""

from __future__ import annotations

import pytest

from agents.judging import JUDGE_STORES, Models, RuleBook, RuleJudge
from ml import registry
from models.config import WindowSpec
from models.learning import decode_learning
from models.records import Value, Window
from models.settings import Settings
from storage.compacted import MemoryTable
from tests.api.conftest import make_world
from tests.api.history import FIRST, MINUTE, store_with_history, train
from tests.support.pipeline import Tally

SPEC = WindowSpec(MINUTE, MINUTE, 0, True, 0)
NEXT = FIRST + 300 * MINUTE


def judged(judge: RuleJudge, state: dict, at: int, plays: float) -> Value:
    window = Window(
        "demo", "demo|plan{plan=family}", "live", at, at + MINUTE, MINUTE, MINUTE, 5,
        {"plays": Value(value=plays, weight=5.0)},
    )  # fmt: skip
    return judge(window, SPEC, state)[0].values["plays"]


@pytest.fixture
async def world():
    found = await make_world(Settings(tenants=("demo", "other")), await store_with_history())
    async with found.app.router.lifespan_context(found.app):
        yield found


async def test_a_worker_goes_on_from_what_was_trained(world):
    table: MemoryTable = MemoryTable("models", decode_learning)
    tally = Tally()
    judge = RuleJudge(RuleBook(()), [MINUTE], models=Models(table, tally))
    state = {spec.name: {} for spec in JUDGE_STORES}
    async with world.client() as client:
        job = await train(client)
        for message in world.producer.topics["models"]:
            table.take(message.key, message.value)
        value = judged(judge, state, NEXT, 100.0)
        assert (value.model, value.score) == ("", None), "a candidate changes nothing"
        before = len(world.producer.topics["models"])
        await client.post(f"/api/v1/ml/models/{job['model']}/promote", json={})
        for message in world.producer.topics["models"][before:]:
            table.take(message.key, message.value)
    (learned,) = [
        r for r in table.values() if getattr(r, "series", "") == "demo|plays{plan=family}"
    ]
    expected = registry.load(learned.body).score(900.0, NEXT + MINUTE).score
    value = judged(judge, state, NEXT + MINUTE, 900.0)
    assert value.model == job["model"]
    # A detector that began with the one window before would say nothing yet.
    assert value.score == pytest.approx(expected)
    assert value.score > 0
    assert not any(name == "models_refused" for name, _ in tally.counts)
