"""Training over HTTP: orders, jobs, the models that come of them, and whose they are."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import orjson
import pytest

from api.schemas.labels import LabelIn
from api.schemas.ml import PredictRequest, PromoteRequest, RollbackRequest, TrainRequest
from api.services import training
from ml import life, registry
from models.learning import ShadowReport, key_of
from models.records import to_json
from tests.api.conftest import make_world
from tests.api.history import (
    FAMILY,
    FIRST,
    MINUTE,
    ORDER,
    ended,
    published,
    store_with_history,
    train,
)
from tests.api.seed import NOW


@pytest.fixture
async def world(settings):
    found = await make_world(settings, await store_with_history())
    async with found.app.router.lifespan_context(found.app):
        yield found


def scrubbed(document: object) -> object:
    """Without what differs from run to run: ids of jobs, hashes of floats."""
    if isinstance(document, dict):
        return {
            k: "..." if k == "sha256" or (k == "id" and len(str(v)) == 16) else scrubbed(v)
            for k, v in document.items()
        }
    if isinstance(document, list):
        return [scrubbed(v) for v in document]
    return round(document, 6) if isinstance(document, float) else document


async def test_a_training_makes_a_sealed_candidate(world, client):
    answer = await client.post("/api/v1/ml/train", json=ORDER)
    assert answer.status_code == 202
    begun = answer.json()
    assert begun["see"] == answer.headers["location"] == f"/api/v1/ml/jobs/{begun['job']['id']}"
    assert "2 series" in begun["what"]
    assert begun["job"]["state"] in {"queued", "running"}
    job = await ended(client, begun["job"]["id"])
    assert (job["state"], job["progress"], job["points_done"]) == ("done", 1.0, 600)
    assert job["model"] == "plays-by-plan.1"

    *states, model = published(world)
    assert sorted(s.series for s in states) == ["demo|plays{plan=basic}", FAMILY]
    assert (model.state, model.created_by, model.reason) == ("candidate", "ann", "first try")
    life.verify(model, states)
    # Of windows that slide it learned those that do not overlap, as a worker does.
    assert registry.load(states[0].body)._seen == 300
    assert [m.key.decode() for m in world.producer.topics["models"]] == [
        f"demo:plays-by-plan.1:60000:{s.series}" for s in states
    ] + ["demo:plays-by-plan.1"]
    (note,) = published(world, "audit")
    assert (note["what"], note["now"], note["by"]) == (
        "model plays-by-plan.1", "candidate", "ann",
    )  # fmt: skip


async def test_answers_are_as_written_down(world, client, golden):
    job = await train(client)
    await client.post(f"/api/v1/ml/models/{job['model']}/promote", json={"to": "shadow"})
    report = ShadowReport(
        "demo", job["model"], "old.1", 0, FIRST, FIRST + 604_800_000, 100, 6, 3, 1, 1.0
    )
    for partition in (0, 1):
        part = ShadowReport(
            **{f: getattr(report, f) for f in report.__struct_fields__} | {"partition": partition}
        )
        world.producer.tables["models"].take(key_of(part), to_json(part))
    documents = {
        "job": job,
        "jobs": (await client.get("/api/v1/ml/jobs")).json(),
        "models": (await client.get("/api/v1/ml/models?family=plays-by-plan")).json(),
        "model": (await client.get(f"/api/v1/ml/models/{job['model']}")).json(),
        "promoted": (
            await client.post(
                f"/api/v1/ml/models/{job['model']}/promote", json={"by": "bob", "reason": "calmer"}
            )
        ).json(),
        "rollback": (
            await client.post(
                "/api/v1/ml/rollbacks",
                json={"before": NOW - MINUTE, "series": FAMILY, "reason": "poisoned"},
            )
        ).json(),
        "predict": (
            await client.post(
                "/api/v1/ml/predict",
                json={
                    "spec": {"name": "zscore"},
                    "points": [{"at": 1000 * n, "value": n % 5} for n in range(1, 33)]
                    + [{"at": 60_000, "value": None}],
                },
            )
        ).json(),
    }
    documents["predict"]["points"] = documents["predict"]["points"][-3:]
    documents["rollback"]["rollback"]["id"] = "..."
    golden("ml.json", orjson.dumps(scrubbed(documents), option=orjson.OPT_INDENT_2) + b"\n")


async def test_versions_count_on_and_can_name_a_parent(client):
    first = await train(client)
    second = await train(client, parent=first["model"])
    assert second["model"] == "plays-by-plan.2"
    detail = (await client.get(f"/api/v1/ml/models/{second['model']}")).json()
    assert detail["model"]["parent"] == first["model"]
    assert detail["seal"] == "intact"
    listed = (await client.get("/api/v1/ml/models")).json()["items"]
    assert [m["version"] for m in listed] == [2, 1]
    assert (await client.get("/api/v1/ml/models?state=active")).json()["items"] == []


@pytest.mark.parametrize("path", ["ml/models", "ml/jobs", "ml/rollbacks", "segments", "labels"])
async def test_a_list_is_asked_for_by_what_it_knows_only(client, path):
    """A misspelt filter would otherwise show everything."""
    assert (await client.get(f"/api/v1/{path}")).status_code == 200
    answer = await client.get(f"/api/v1/{path}?bogus=1")
    assert answer.status_code == 422
    assert "bogus" in answer.json()["detail"]


async def test_labels_within_the_data_are_in_the_figures(client):
    burst = FIRST + 250 * MINUTE
    label = {"series": FAMILY, "since": burst, "until": burst + 10 * MINUTE, "verdict": "true"}
    assert (await client.post("/api/v1/labels", json=label)).status_code == 201
    job = await train(client)
    assert job["metrics"]["recall"] == 1.0
    assert job["metrics"]["findings_per_week"] > 0
    detail = (await client.get(f"/api/v1/ml/models/{job['model']}")).json()
    assert (detail["precision"], detail["recall"]) == (1.0, 1.0)


async def test_the_time_of_the_data_can_be_limited(client):
    until = FIRST + 100 * MINUTE
    job = await train(client, **{"from": FIRST + 10 * MINUTE, "to": until})
    assert job["points_done"] == 180
    model = (await client.get(f"/api/v1/ml/models/{job['model']}")).json()["model"]
    assert (
        model["data_until"]
        == (await client.get("/api/v1/ml/models")).json()["items"][0]["data_until"]
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"family": "Not A Name"}, "family"),
        ({"spec": {"name": "crystal-ball"}}, "crystal-ball"),
        ({"spec": {"colour": "red"}}, "colour"),
        ({"selector": {"name": "nothing"}}, "no series"),
        ({"parent": "nobody.7"}, "parent"),
        ({"spec": {"threshold": -1}}, "threshold"),
        ({"typo": 1}, "typo"),
        ({"kind": "segmenter"}, "detector or forecaster"),
        ({"from": 2_000, "to": 2_000}, "`from` is not before `to`"),
        ({"from": NOW}, "`from` is not before `to`"),
        ({"kind": "forecaster", "spec": {"name": "novelty"}}, "within"),
        ({"kind": "forecaster", "spec": {"within": "soon"}}, "soon"),
    ],
)
async def test_orders_that_cannot_work_are_refused(world, client, changes, says):
    answer = await client.post("/api/v1/ml/train", json=ORDER | changes)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert "models" not in world.producer.topics


async def test_a_time_without_values_fails_and_says_so(client):
    job = await train(client, **{"from": 0, "to": 1000})
    assert (job["state"], job["model"]) == ("failed", "")
    assert "no series has a value" in job["error"]


async def test_too_many_series_are_refused(client, monkeypatch):
    monkeypatch.setattr(training, "MAX_SERIES", 1)
    answer = await client.post("/api/v1/ml/train", json=ORDER)
    assert answer.status_code == 422
    assert "narrow it" in answer.json()["detail"]


@pytest.fixture
def held(world):
    """Trainings that wait for their turn until the event is set."""
    trainer = world.app.state.context.trainer
    gate = asyncio.Event()
    learn = trainer._learn

    async def wait_and_learn(*args):
        await gate.wait()
        return await learn(*args)

    trainer._learn = wait_and_learn
    return gate


async def test_a_job_can_be_cancelled_and_leaves_nothing(world, client, held):
    begun = [await client.post("/api/v1/ml/train", json=ORDER) for _ in range(2)]
    jobs = [answer.json()["job"]["id"] for answer in begun]
    while (await client.get(f"/api/v1/ml/jobs/{jobs[0]}")).json()["state"] == "queued":
        await asyncio.sleep(0)
    for job in reversed(jobs):  # the one that waits, then the one that runs
        answer = await client.delete(f"/api/v1/ml/jobs/{job}")
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        again = await client.delete(f"/api/v1/ml/jobs/{job}")
        assert (again.status_code, again.json()["type"]) == (409, "/problems/conflict")
    held.set()
    assert "models" not in world.producer.topics
    assert (await train(client))["state"] == "done"


async def test_a_step_that_takes_for_ever_leaves_the_threads_of_requests_alone(client, monkeypatch):
    """However often such a training is begun and cancelled, the rest of the API answers."""
    reached, over = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def stuck(steps):
        loop.call_soon_threadsafe(reached.set)
        over.wait(60)
        return 1

    monkeypatch.setattr(training, "_advance", stuck)
    loop.set_default_executor(ThreadPoolExecutor(1))
    try:
        async with asyncio.timeout(20):
            for _ in range(3):
                job = (await client.post("/api/v1/ml/train", json=ORDER)).json()["job"]["id"]
                await reached.wait()
                await client.delete(f"/api/v1/ml/jobs/{job}")
            assert await asyncio.to_thread(lambda: "answered") == "answered"
    finally:
        over.set()


async def test_a_training_stops_between_its_steps(world, client, monkeypatch):
    """Cancelling does not wait for the whole: the generator is left where it stands."""
    reached, advance = asyncio.Event(), training._advance
    loop = asyncio.get_running_loop()
    monkeypatch.setattr("ml.training.STEP", 10)

    def slowly(steps):
        loop.call_soon_threadsafe(reached.set)
        return advance(steps)

    monkeypatch.setattr(training, "_advance", slowly)
    job = (await client.post("/api/v1/ml/train", json=ORDER)).json()["job"]["id"]
    async with asyncio.timeout(20):
        await reached.wait()
    stopped = (await client.delete(f"/api/v1/ml/jobs/{job}")).json()
    assert stopped["state"] == "cancelled"
    assert stopped["points_done"] < 600
    assert "models" not in world.producer.topics


async def test_when_too_many_wait_the_next_is_asked_to_come_back(client, held):
    for _ in range(training.UNFINISHED // 2):
        assert (await client.post("/api/v1/ml/train", json=ORDER)).status_code == 202
    answer = await client.post("/api/v1/ml/train", json=ORDER)
    assert (answer.status_code, answer.json()["type"]) == (429, "/problems/busy")
    assert answer.headers["retry-after"]


async def test_ended_jobs_are_kept_for_a_while_only(client, monkeypatch):
    monkeypatch.setattr(training, "KEPT", 2)
    jobs = [(await train(client, **{"from": 0, "to": 1000}))["id"] for _ in range(3)]
    listed = [j["id"] for j in (await client.get("/api/v1/ml/jobs")).json()["items"]]
    assert listed == [jobs[2], jobs[1]]
    assert (await client.get(f"/api/v1/ml/jobs/{jobs[0]}")).status_code == 404


async def test_a_fault_in_a_training_is_not_shown(client, monkeypatch, caplog):
    def broken(_):
        raise RuntimeError("secret")

    monkeypatch.setattr(training, "_advance", broken)
    job = await train(client)
    assert (job["state"], job["error"]) == ("failed", "the fault is ours, and it has been logged")


async def test_a_broker_that_is_away_fails_the_job_not_the_api(world, client):
    world.producer.reachable = False
    job = await train(client)
    assert job["state"] == "failed"
    assert "broker" in job["error"]


# -- whose is it -----------------------------------------------------------------------------------


async def test_models_jobs_and_rollbacks_are_their_tenants(guarded):
    world = await make_world(guarded, await store_with_history())
    demo, other = "token-of-demo-tenant", "token-of-other-tenant"
    async with (
        world.app.router.lifespan_context(world.app),
        world.client(demo) as mine,
        world.client(other) as theirs,
    ):
        job = await train(mine)
        for path in (f"jobs/{job['id']}", f"models/{job['model']}"):
            assert (await mine.get(f"/api/v1/ml/{path}")).status_code == 200
            assert (await theirs.get(f"/api/v1/ml/{path}")).status_code == 404
        for path in ("jobs", "models", "rollbacks"):
            assert (await theirs.get(f"/api/v1/ml/{path}")).json() == {"items": []}
        ways = ("promote", "rollback")
        for way in ways:
            path = f"/api/v1/ml/models/{job['model']}/{way}"
            assert (await theirs.post(path, json={})).status_code == 404
        assert (await theirs.delete(f"/api/v1/ml/jobs/{job['id']}")).status_code == 404
        ask = {"model": job["model"], "points": [{"at": 1, "value": 1}], "series": "other|plays{}"}
        assert (await theirs.post("/api/v1/ml/predict", json=ask)).status_code == 404
        ask = {"before": NOW - 1, "series": FAMILY}
        assert (await theirs.post("/api/v1/ml/rollbacks", json=ask)).status_code == 404
        own = await train(theirs)
        assert own["model"] == "plays-by-plan.1"
        assert {r.tenant for r in published(world)[-2:]} == {"other"}
        # A cookie reads and does not write.
        mine.headers.pop("authorization")
        mine.cookies.set("backbeat_session", demo)
        assert (await mine.get("/api/v1/ml/models")).status_code == 200
        assert (await mine.post("/api/v1/ml/train", json=ORDER)).status_code == 401


async def test_without_its_topics_nothing_is_served(settings):
    world = await make_world(settings)
    world.producer.tables["models"].is_complete = False
    async with world.client() as client:
        for path in ("models", "rollbacks", f"models/{quote('a.1')}"):
            answer = await client.get(f"/api/v1/ml/{path}")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")


def documented() -> dict[str, list[dict]]:
    """Each address of docs/ml-api.md with the bodies that follow its mention."""
    text = (Path(__file__).parents[2] / "docs" / "ml-api.md").read_text()
    found: dict[str, list[dict]] = {}
    for part in re.split(r"(?m)^(?=.*`POST /)", text)[1:]:
        address = re.findall(r"`POST (/[^`]+)`", part)[-1]
        bodies = [json.loads(b) for b in re.findall(r"```json\n(.*?)```", part, re.DOTALL)]
        found.setdefault(address, []).extend(b for b in bodies if "see" not in b)
    return found


BODIES = {
    "/ml/train": TrainRequest, "/ml/models/{id}/promote": PromoteRequest,
    "/ml/rollbacks": RollbackRequest, "/ml/predict": PredictRequest, "/labels": LabelIn,
}  # fmt: skip


@pytest.mark.parametrize("address", BODIES)
def test_what_the_page_says_can_be_sent(address):
    bodies = documented()[address]
    assert bodies
    for body in bodies:
        BODIES[address].model_validate(body)
