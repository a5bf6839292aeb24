"""Taking events over HTTP."""

from __future__ import annotations

import json

import pytest

from api.services import ingest
from models.decoding import decode_metrics, decode_plays
from models.events import Rejected
from models.logs import JOURNAL, QUOTA_LINES
from tests.api.conftest import make_world
from tests.api.seed import NOW

PLAY = {
    "event_id": "e1", "listener_id": "l:1", "track_id": "t", "artist_id": "a",
    "started_at": "2026-01-02T03:00:00Z", "ms_played": 31_000, "track_ms": 180_000,
    "platform": "ios", "country": "FR", "source": "radio", "plan": "free",
}  # fmt: skip
SAMPLE = {"event_id": "e1", "name": "cpu", "value": 0.5, "at": NOW, "tags": {"host": "a,b"}}
LINES = {"Content-Type": "application/x-ndjson"}


def without(item: dict, *names: str) -> dict:
    return {k: v for k, v in item.items() if k not in names}


async def test_an_object_an_array_and_lines_are_taken(world, client):
    text = json.dumps(SAMPLE)
    for answer in (
        await client.post("/api/v1/metrics", json=SAMPLE),
        await client.post("/api/v1/metrics", json=[SAMPLE]),
        await client.post("/api/v1/metrics", content=f"{text}\r\n\n", headers=LINES),
    ):
        assert answer.status_code == 202
        assert answer.json() == {"accepted": 1, "rejected": [], "idempotent": True}
    assert len(world.producer.topics["metrics"]) == 3


async def test_keys_are_the_topics(world, client):
    await client.post("/api/v1/plays", json=PLAY)
    await client.post("/api/v1/metrics", json=SAMPLE)
    assert world.producer.topics["plays"][0].key == b"demo:l:1"
    assert world.producer.topics["metrics"][0].key == b"demo|cpu{host=a%2Cb}"


async def test_what_is_published_is_what_the_worker_takes(world, client):
    plays = [PLAY, without(PLAY, "event_id", "started_at") | {"colour": "unknown fields stay"}]
    await client.post("/api/v1/plays", json=plays)
    await client.post("/api/v1/metrics", json=without(SAMPLE, "at"))
    values = [m.value for m in world.producer.topics["plays"]]
    first, second = decode_plays(values)
    assert (first.tenant_id, first.event_id) == ("demo", "e1")
    assert second.at == NOW
    assert b"colour" in values[1]
    (sample,) = decode_metrics([m.value for m in world.producer.topics["metrics"]])
    assert sample.at == NOW


async def test_without_an_event_id_repeating_is_not_safe(client):
    answer = await client.post("/api/v1/plays", json=[PLAY, without(PLAY, "event_id")])
    assert (answer.json()["accepted"], answer.json()["idempotent"]) == (2, False)


async def test_bad_items_do_not_hold_up_good_ones(world, client, golden):
    items = [
        PLAY, 7, None, [PLAY], without(PLAY, "country"), {**PLAY, "country": "Mars"},
        {**PLAY, "ms_played": -1}, {**PLAY, "started_at": "noon"}, {**PLAY, "tenant_id": "other"},
        {**PLAY, "tenant_id": "demo"}, {**PLAY, "listener_id": ""},
    ]  # fmt: skip
    answer = await client.post("/api/v1/plays", json=items)
    assert answer.status_code == 202
    assert sorted(set(range(11)) - {r["index"] for r in answer.json()["rejected"]}) == [0, 9]
    golden("rejected.json", json.dumps(answer.json(), indent=2) + "\n")
    assert len(world.producer.topics["plays"]) == 2


async def test_what_the_worker_would_drop_as_too_early_is_refused(world, client):
    ahead = [{**SAMPLE, "at": NOW + 300_000}, {**SAMPLE, "at": NOW + 300_001}]
    answer = await client.post("/api/v1/metrics", json=ahead)
    assert [(r["index"], r["reason"]) for r in answer.json()["rejected"]] == [(1, "far_future")]


async def test_a_metric_that_is_called_like_a_measure_of_plays_is_refused(world, client):
    items = [{**SAMPLE, "name": "plays"}, {**SAMPLE, "name": "plays.web"}]
    answer = await client.post("/api/v1/metrics", json=items)
    (refused,) = answer.json()["rejected"]
    assert (refused["index"], refused["reason"]) == (0, "reserved_name")
    assert "'plays' is a measure of plays" in refused["detail"]
    assert [m.key for m in world.producer.topics["metrics"]] == [b"demo|plays.web{host=a%2Cb}"]


async def test_bad_lines_do_not_hold_up_good_ones(world, client):
    lines = "\n".join(["{", json.dumps(SAMPLE), "nan", json.dumps(SAMPLE)])
    answer = await client.post("/api/v1/metrics", content=lines, headers=LINES)
    assert [(r["index"], r["reason"]) for r in answer.json()["rejected"]] == [
        (0, "not_json"),
        (2, "not_json"),
    ]
    assert answer.json()["accepted"] == 2


async def test_a_request_with_nothing_good_is_refused(world, client):
    answer = await client.post("/api/v1/metrics", json=[{"name": "x"}, 1])
    assert answer.status_code == 422
    assert answer.json()["type"] == "/problems/invalid-request"
    assert [r["reason"] for r in answer.json()["rejected"]] == ["missing_field", "not_an_object"]
    assert world.producer.topics == {}


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        ("{", "application/json", 400),
        ("", "application/json", 400),
        ('{"value": NaN}', "application/json", 400),
        ("[]", "application/json", 422),
        ("\n", "application/x-ndjson", 422),
        ("{}", "text/plain", 415),
        ("{}", "application/x-www-form-urlencoded", 415),
        ("{}", "", 415),
    ],
)
async def test_bodies_that_cannot_be_read(client, body, media_type, status):
    headers = {"Content-Type": media_type} if media_type else {}
    answer = await client.post("/api/v1/plays", content=body, headers=headers)
    assert status == answer.status_code
    assert status == answer.json()["status"]


async def test_too_much_at_once(client, monkeypatch):
    monkeypatch.setattr(ingest, "MAX_ITEMS", 3)
    answer = await client.post("/api/v1/metrics", json=[SAMPLE] * 4)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/too-large")
    monkeypatch.setattr(ingest, "MAX_BODY_BYTES", 100)
    answer = await client.post("/api/v1/metrics", json=SAMPLE | {"pad": "x" * 100})
    assert answer.status_code == 413


async def test_a_long_body_is_not_read_to_its_end(client, monkeypatch):
    monkeypatch.setattr(ingest, "MAX_BODY_BYTES", 1000)
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 100
            yield b"x" * 100

    headers = {"Content-Type": "application/json"}
    answer = await client.post("/api/v1/metrics", content=endless(), headers=headers)
    assert answer.status_code == 413
    assert sent < 2000


async def test_when_the_broker_is_away_the_client_is_asked_to_repeat(world, client):
    world.producer.reachable = False
    answer = await client.post("/api/v1/metrics", json=[SAMPLE, {"name": "x"}])
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["type"] == "/problems/unavailable"
    assert answer.json()["accepted"] == 0


async def test_without_a_producer_nothing_is_taken(settings):
    world = await make_world(settings)
    world.app.state.context.ingest._producer = None
    async with world.client() as client:
        assert (await client.post("/api/v1/metrics", json=SAMPLE)).status_code == 503


async def test_refused_events_are_found_in_the_log_by_their_id(client, caplog):
    bad = {**PLAY, "country": "Mars"}
    await client.post("/api/v1/plays", json=[PLAY, bad, 7])
    lines = [r for r in caplog.records if r.name == JOURNAL]
    assert [(r.event_id, r.reason, r.topic, r.tenant, r.index) for r in lines] == [
        ("e1", "bad_country", "plays", "demo", 1), (None, "not_an_object", "plays", "demo", 2),
    ]  # fmt: skip
    caplog.clear()
    await client.post("/api/v1/plays", json=[bad] * 1_000)
    assert len([r for r in caplog.records if r.name == JOURNAL]) == QUOTA_LINES - 1


async def test_events_are_counted(world, client):
    await client.post("/api/v1/metrics", json=[SAMPLE, {"name": "x"}, {"name": "x"}])
    text = (await client.get("/metrics")).text
    assert 'backbeat_events_accepted_total{topic="metrics"} 1.0' in text
    assert 'backbeat_events_refused_total{reason="missing_field",topic="metrics"} 2.0' in text


async def test_a_full_request_is_taken_whole(world, client):
    lines = "\n".join(json.dumps({**SAMPLE, "event_id": f"e{n}"}) for n in range(10_000))
    answer = await client.post("/api/v1/metrics", content=lines, headers=LINES)
    assert answer.json()["accepted"] == 10_000
    decoded = decode_metrics([m.value for m in world.producer.topics["metrics"]])
    assert [f"e{n}" for n in range(10_000)] == [m.event_id for m in decoded]
    assert not any(isinstance(m, Rejected) for m in decoded)
