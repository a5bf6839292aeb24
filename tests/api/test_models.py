"""Models over HTTP: moving them, rolling back, and asking them."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from api.services import models
from api.times import parse_time
from ml import life
from models.learning import ModelState, key_of
from models.records import to_json
from tests.api.conftest import make_world
from tests.api.history import FAMILY, FIRST, MINUTE, ORDER, published, store_with_history, train
from tests.api.seed import NOW


@pytest.fixture
async def world(settings):
    found = await make_world(settings, await store_with_history())
    async with found.app.router.lifespan_context(found.app):
        yield found


async def test_promoting_retires_the_former_and_rolling_back_undoes_it(world, client):
    first, second = [(await train(client))["model"] for _ in range(2)]
    base = "/api/v1/ml/models"
    for model in (first, second):
        answer = await client.post(f"{base}/{model}/promote", json={"by": "bob"})
        assert answer.status_code == 202
    changed = answer.json()["changed"]
    assert [(m["id"], m["state"]) for m in changed] == [(first, "retired"), (second, "active")]
    assert changed[1]["changed_by"] == "bob"
    answer = await client.post(f"{base}/{second}/rollback", json={"reason": "worse"})
    assert answer.status_code == 202
    assert answer.json()["see"] == f"{base}/{first}"
    states = {m["id"]: m["state"] for m in (await client.get(base)).json()["items"]}
    assert states == {first: "active", second: "retired"}
    notes = [(n["what"], n["was"], n["now"]) for n in published(world, "audit")]
    assert notes[-2:] == [
        (f"model {second}", "active", "retired"), (f"model {first}", "retired", "active"),
    ]  # fmt: skip
    assert published(world, "audit")[-1]["reason"] == "worse"
    assert published(world, "audit")[-1]["by"] == "demo"  # whose token it was


async def test_the_same_promotion_is_undone_once(client):
    """Who presses twice, or two at once, go back by one version, not by two."""
    names = [(await train(client))["model"] for _ in range(3)]
    base = "/api/v1/ml/models"
    for model in names:
        assert (await client.post(f"{base}/{model}/promote", json={})).status_code == 202
    answers = await asyncio.gather(
        *(client.post(f"{base}/{names[2]}/rollback", json={}) for _ in range(2))
    )
    assert sorted(answer.status_code for answer in answers) == [202, 409]
    (told,) = (answer.json()["detail"] for answer in answers if answer.status_code == 409)
    assert told == f"{names[2]} is retired; {names[1]} is active"
    listed = (await client.get(f"{base}?state=active")).json()["items"]
    assert [m["id"] for m in listed] == [names[1]]


async def test_moves_that_make_no_sense_are_conflicts(client):
    model = (await train(client))["model"]
    base = f"/api/v1/ml/models/{model}"
    assert (await client.post(f"{base}/promote", json={})).status_code == 202
    again = await client.post(f"{base}/promote", json={})
    assert (again.status_code, again.json()["type"]) == (409, "/problems/conflict")
    assert "can become" in again.json()["detail"]
    back = await client.post(f"{base}/rollback", json={})
    assert back.status_code == 409
    other = await client.post("/api/v1/ml/train", json=ORDER | {"family": "fresh", "parent": model})
    assert other.status_code == 202


async def test_who_is_overtaken_by_another_process_is_told(world, client, monkeypatch):
    monkeypatch.setattr(models, "READ_BACK_S", 0.05)
    model = (await train(client))["model"]
    table = world.producer.tables["models"]
    take = table.take

    def overtaken(key, value):
        take(key, value)
        if key.decode() == f"demo:{model}":
            take(key, to_json(replace(table[f"demo:{model}"], state="shadow", changed_by="other")))

    monkeypatch.setattr(table, "take", overtaken)
    answer = await client.post(f"/api/v1/ml/models/{model}/promote", json={})
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
    assert f"demo:{model} was changed by another process" in answer.json()["detail"]


async def test_a_forecaster_is_trained_asked_and_goes_on_from_what_it_learned(client):
    """Half an hour ahead in slots of a minute: the model learned all but the last twenty."""
    until = FIRST + 280 * MINUTE
    job = await train(
        client, kind="forecaster", family="ahead", spec={"within": "30m"}, to=until
    )  # fmt: skip
    assert (job["state"], job["kind"], job["series_done"]) == ("done", "forecaster", 2)
    assert job["metrics"]["slots"] == 560
    # Noise around a level, and a burst that nobody foresees, which is most of both errors.
    assert 0.5 < job["metrics"]["error_ratio"] < 1.2
    asked = {"series": FAMILY, "mode": "forecast", "horizon": 6}
    found = await predict(client, **asked, model=job["model"])
    assert found["source"].startswith(f"model {job['model']} (forecaster/")
    assert found["source"].endswith("and 20 values since")
    known = await predict(client, **asked, model=job["model"], to=until)
    assert known["source"].endswith("and 0 values since")
    assert parse_time(known["forecast"]["slots"][0]["at"]) == until
    later = parse_time(found["forecast"]["slots"][0]["at"])
    assert later == FIRST + 300 * MINUTE
    slots = found["forecast"]["slots"]
    assert all(s["intervals"][0]["low"] < 100 < s["intervals"][0]["high"] for s in slots)

    base = f"/api/v1/ml/models/{job['model']}/promote"
    shadow = await client.post(base, json={"to": "shadow"})
    assert (shadow.status_code, "only detectors" in shadow.json()["detail"]) == (409, True)
    assert (await client.post(base, json={})).status_code == 202
    wrong = await client.post("/api/v1/ml/predict", json={"series": FAMILY, "model": job["model"]})
    assert (wrong.status_code, "needs a detector" in wrong.json()["detail"]) == (409, True)
    detector = (await train(client))["model"]
    wrong = await client.post("/api/v1/ml/predict", json=asked | {"model": detector})
    assert (wrong.status_code, "needs a forecaster" in wrong.json()["detail"]) == (409, True)
    whole = await predict(
        client, series=FAMILY, mode="forecast", model=job["model"]
    )  # fmt: skip
    assert len(whole["forecast"]["slots"]) == 30  # as far as it looks ahead
    far = await client.post(
        "/api/v1/ml/predict", json=asked | {"model": job["model"], "horizon": 31}
    )
    assert far.status_code == 422


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "models/none.1"), ("POST", "models/none.1/promote"),
        ("POST", "models/none.1/rollback"), ("GET", "jobs/none"), ("DELETE", "jobs/none"),
    ],
)  # fmt: skip
async def test_what_is_not_there(client, method, path):
    answer = await client.request(method, f"/api/v1/ml/{path}", json={})
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


async def test_a_state_that_was_exchanged_is_seen(world, client):
    model = (await train(client))["model"]
    *states, _ = published(world)
    forged = ModelState("demo", model, FAMILY, MINUTE, states[1].at, b"other", states[1].sha256)
    world.producer.tables["models"].take(key_of(forged), to_json(forged))
    detail = (await client.get(f"/api/v1/ml/models/{model}")).json()
    assert "was changed" in detail["seal"]
    answer = await client.post("/api/v1/ml/predict", json={"model": model, "series": FAMILY})
    assert answer.status_code == 409


def exchange(world, model: str, what: str) -> None:
    """Put another state or specification in the place of a model's, as who may write the topic can."""
    table = world.producer.tables["models"]
    *_, state = (r for r in table.values() if isinstance(r, ModelState) and r.model == model)
    forged = {
        "state": life.state_of(table[f"demo:{model}"], state.series, state.size, NOW, state.body),
        "spec": replace(table[f"demo:{model}"], spec={"name": "lite"}),
    }[what]
    table.take(key_of(forged), to_json(forged))


@pytest.mark.parametrize("what", ["state", "spec"])
async def test_a_model_whose_seal_is_broken_neither_serves_nor_is_asked(world, client, what):
    first, second, third = [(await train(client))["model"] for _ in range(3)]
    base = "/api/v1/ml/models"
    for model in (first, second):
        assert (await client.post(f"{base}/{model}/promote", json={})).status_code == 202
    exchange(world, first, what)
    exchange(world, third, what)
    refused = [
        await client.post(f"{base}/{third}/promote", json={}),
        await client.post(f"{base}/{third}/promote", json={"to": "shadow"}),
        await client.post(f"{base}/{second}/rollback", json={}),
        await client.post("/api/v1/ml/predict", json={"model": third, "series": FAMILY}),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/conflict")
        assert "is not what was sealed" in answer.json()["detail"]
    listed = (await client.get(f"{base}?state=active")).json()["items"]
    assert [m["id"] for m in listed] == [second]
    retire = await client.post(f"{base}/{third}/promote", json={"to": "retired"})
    assert retire.status_code == 202


async def test_a_training_has_ended_when_its_states_can_be_read(world, client, monkeypatch):
    """The topic has several partitions: the model may be read back before what it learned."""
    table, loop = world.producer.tables["models"], asyncio.get_running_loop()
    take = table.take

    def late(key, value):
        loop.call_later(0.1 if b":60000:" in key else 0.0, take, key, value)

    monkeypatch.setattr(table, "take", late)
    model = (await train(client))["model"]
    answer = await client.post(f"/api/v1/ml/models/{model}/promote", json={})
    assert answer.status_code == 202, answer.text


async def test_a_rollback_to_before_an_incident_is_kept_and_audited(world, client):
    ask = {"before": NOW - 60 * MINUTE, "selector": {"name": "plays", "tags": {"plan": "f*"}}}
    answer = await client.post("/api/v1/ml/rollbacks", json=ask | {"by": "ann", "reason": "poison"})
    assert answer.status_code == 202
    document = answer.json()
    assert document["series"] == [FAMILY]
    assert document["series_count"] == 1
    (record,) = published(world)
    assert (record.before, record.by, record.at) == (NOW - 60 * MINUTE, "ann", NOW)
    (message,) = world.producer.topics["models"]
    assert message.key.decode() == f"demo:rollback:{record.id}"
    (note,) = published(world, "audit")
    assert (note["what"], note["reason"]) == (f"rollback {record.id}", "poison")
    listed = (await client.get("/api/v1/ml/rollbacks")).json()["items"]
    assert [r["id"] for r in listed] == [record.id]


async def test_a_rollback_of_a_series_takes_its_key_as_it_is(world, client):
    key = "demo|cpu{host=a*/1}"
    ask = {"before": NOW - 1, "series": key}
    assert (await client.post("/api/v1/ml/rollbacks", json=ask)).json()["series_count"] == 0
    (record,) = published(world)
    assert record.selector.tags == {"host": "a[*]/1"}
    assert life.selects(record.selector, {"host": "a*/1"}, "cpu", "live")


@pytest.mark.parametrize(
    "ask",
    [
        {"series": FAMILY}, {"before": NOW - 1}, {"before": NOW + 1, "series": FAMILY},
        {"before": NOW - 1, "series": FAMILY, "selector": {}},
    ],
)  # fmt: skip
async def test_rollbacks_that_cannot_work_are_refused(client, ask):
    assert (await client.post("/api/v1/ml/rollbacks", json=ask)).status_code == 422


# -- predictions -----------------------------------------------------------------------------------


async def predict(client, **ask) -> dict:
    answer = await client.post("/api/v1/ml/predict", json=ask)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_stored_series_is_judged_by_a_new_detector(client):
    found = await predict(client, series=FAMILY, spec={"name": "novelty"})
    assert (found["size_ms"], len(found["points"]), found["truncated"]) == (MINUTE, 300, False)
    assert found["source"].startswith("a new novelty/")
    scores = [p["score"] for p in found["points"]]
    assert scores[:30] == [None] * 30
    assert max(scores[30:]) == max(scores[250:256])
    assert all(p["learned"] for p in found["points"])


async def test_a_model_judges_what_comes_after_what_it_learned(world, client):
    until = FIRST + 200 * MINUTE
    model = (await train(client, to=until))["model"]
    found = await predict(client, model=model, series=FAMILY)
    assert model in found["source"]
    assert [p["learned"] for p in found["points"]] == [n >= 200 for n in range(300)]
    whole = await predict(client, series=FAMILY)
    # The same as one that learned it all itself.
    assert found["points"][200:] == whole["points"][200:]
    assert len(published(world)) == 3  # nothing of it is kept


async def test_posted_points_are_judged(client):
    model = (await train(client))["model"]
    at = FIRST + 301 * MINUTE
    points = [
        {"at": at, "value": 100.0},
        {"at": at + MINUTE, "value": None},
        {"at": at + 2 * MINUTE, "value": 900.0},
    ]
    found = await predict(client, model=model, series=FAMILY, points=points)
    calm, gap, loud = found["points"]
    assert gap["score"] is None
    assert not gap["learned"]
    assert loud["score"] > calm["score"]
    assert loud["direction"] == 1


async def test_a_stored_series_is_continued(client):
    found = await predict(client, series=FAMILY, mode="forecast", horizon=6, levels=[0.5, 0.9])
    ahead = found["forecast"]
    assert found["points"] == []
    assert (ahead["learning"], ahead["step_ms"], len(ahead["slots"])) == (False, MINUTE, 6)
    assert [parse_time(slot["at"]) for slot in ahead["slots"]] == [
        FIRST + n * MINUTE for n in range(300, 306)
    ]
    for slot in ahead["slots"]:
        half, most = slot["intervals"]
        assert (half["level"], most["level"]) == (0.5, 0.9)
        assert most["low"] <= half["low"] <= slot["value"] <= half["high"] <= most["high"]
        assert 90 < slot["value"] < 110


async def test_posted_points_are_all_learned_and_continued_from_the_newest(client):
    points = [{"at": n * 5_000, "value": 1e6 if n < 300 else 7.0} for n in range(400)]
    found = await predict(client, points=points, mode="forecast", horizon=2)
    ahead = found["forecast"]
    assert not found["truncated"]
    assert "learned 400 values" in found["source"]
    assert ahead["step_ms"] == 5_000
    assert [slot["value"] for slot in ahead["slots"]] == pytest.approx([7.0, 7.0])
    few = await predict(client, points=points[:5], mode="forecast")
    assert few["forecast"]["learning"]
    assert few["forecast"]["slots"] == []


@pytest.mark.parametrize(
    ("ask", "status"),
    [
        ({"series": FAMILY, "mode": "forecast", "horizon": 501}, 422),
        ({"series": FAMILY, "mode": "forecast", "levels": [0.42]}, 422),
        ({"series": FAMILY, "mode": "forecast", "spec": {"name": "lite"}}, 422),
        ({"series": FAMILY, "mode": "forecast", "model": "none.1"}, 404),
        ({"mode": "forecast", "points": [{"at": 1, "value": 1}]}, 422),
        ({}, 422),
        ({"series": "demo|nothing{}"}, 404),
        ({"series": "other|plays{}"}, 404),
        ({"series": FAMILY, "model": "none.1"}, 404),
        ({"series": FAMILY, "from": NOW, "to": NOW}, 422),
        ({"points": [{"at": 2, "value": 1}, {"at": 2, "value": 1}]}, 422),
        ({"points": [{"at": 1, "value": 1}] * 10_001}, 422),
        ({"points": [], "spec": {"name": "x"}}, 422),
        ({"series": FAMILY, "mode": "dream"}, 422),
        ({"points": [{"at": "1969-12-31T23:59:59Z", "value": 1}]}, 422),
        ({"series": FAMILY, "listeners": []}, 422),
        ({"series": FAMILY, "mode": "forecast", "listeners": []}, 422),
    ],
)
async def test_predictions_that_cannot_be_made(client, ask, status):
    answer = await client.post("/api/v1/ml/predict", json=ask)
    assert answer.status_code == status, answer.text


async def test_not_a_number_is_no_value(client):
    body = '{"points": [{"at": 1, "value": NaN}]}'
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/api/v1/ml/predict", content=body, headers=headers)
    assert answer.status_code == 422


async def test_a_number_of_too_many_digits_makes_a_body_unreadable(client):
    body = f'{{"points": [{{"at": {"9" * 5_000}, "value": 1}}]}}'
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/api/v1/ml/predict", content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/unreadable-body")
    assert (await client.get(answer.json()["type"])).status_code == 200


async def test_a_model_is_asked_of_a_series_that_it_learned(client):
    model = (await train(client))["model"]
    points = [{"at": NOW, "value": 1.0}]
    answer = await client.post("/api/v1/ml/predict", json={"model": model, "points": points})
    assert answer.status_code == 409
    assert "2 states" in answer.json()["detail"]


async def test_a_few_predictions_at_a_time(world, client):
    world.app.state.context.predictor._running = 4
    answer = await client.post("/api/v1/ml/predict", json={"series": FAMILY})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
