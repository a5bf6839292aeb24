"""Incidents and series over HTTP: golden answers, filters, paging, keys in addresses."""

from __future__ import annotations

from urllib.parse import quote

import orjson
import pytest

from storage.protocols import Rows
from tests.api.seed import MINUTE, NOW, alert, metric_window

PLAYS = quote("demo|plays{}", safe="")
ERRORS = quote("demo|error_rate{country=FR,platform=ios}", safe="")
CPU = quote("demo|cpu{host=a/1}", safe="")

GOLDEN = {
    "alerts": "/api/v1/alerts?limit=2",
    "alert": "/api/v1/alerts/inc-demo-030",
    "series": "/api/v1/series?tag.country=FR",
    "windows": f"/api/v1/series/{PLAYS}/windows?size=detect&limit=3&from=2026-01-02T03:00:00Z",
    "windows-step": f"/api/v1/series/{ERRORS}/windows?step=5m&to=2026-01-02T03:05:00Z",
    "findings": f"/api/v1/series/{ERRORS}/findings",
    "overview": "/api/v1/overview",
    "ready": "/health/ready",
    "openapi": "/openapi.json",
}


def pretty(document: bytes) -> bytes:
    return orjson.dumps(orjson.loads(document), option=orjson.OPT_INDENT_2) + b"\n"


@pytest.mark.parametrize("name", GOLDEN)
async def test_answers_are_as_written_down(client, golden, name):
    answer = await client.get(GOLDEN[name])
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    golden(f"{name}.json", pretty(answer.content))


def ids(answer) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [a["id"].removeprefix("inc-demo-") for a in answer.json()["items"]]


@pytest.mark.parametrize(
    ("query", "want"),
    [
        ("", ["002", "005", "030"]),
        ("state=firing", ["002", "005"]),
        ("state=resolved", ["030"]),
        ("rule=plays-unusual", ["002"]),
        ("severity=page", ["005", "030"]),
        (f"series={ERRORS}", ["005", "030"]),
        ("stream=live", ["002", "005", "030"]),
        ("stream=replay", []),
        ("tag.country=FR", ["005", "030"]),
        ("tag.country=FR&tag.platform=web", []),
        (f"since={NOW - 10 * MINUTE}", ["002", "005"]),
        ("until=2026-01-02T03:00:00%2B00:00", ["005", "030"]),
        ("until=2026-01-02T04:00:00+01:00", ["005", "030"]),
        (f"since={NOW - 10 * MINUTE}&until={NOW - 3 * MINUTE}", ["005"]),
        (f"since={NOW - 5 * MINUTE}&until={NOW - 5 * MINUTE}", []),
    ],
)
async def test_incidents_can_be_filtered(client, query, want):
    assert want == ids(await client.get(f"/api/v1/alerts?{query}"))


async def test_pages_together_are_the_whole(world, client):
    await world.store.write(Rows(alerts=[alert(100 + n // 2, id=f"x{n:02d}") for n in range(11)]))
    whole = ids(await client.get("/api/v1/alerts"))
    assert len(whole) == 14
    for limit in (1, 3, 5, 13, 14):
        parts, cursor = [], None
        while True:
            params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            answer = await client.get("/api/v1/alerts", params=params)
            parts += ids(answer)
            cursor = answer.json()["next"]
            if cursor is None:
                break
        assert whole == parts


async def test_series_pages_together_are_the_whole(client):
    whole = [s["key"] for s in (await client.get("/api/v1/series")).json()["items"]]
    parts, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        document = (await client.get("/api/v1/series", params=params)).json()
        parts += [s["key"] for s in document["items"]]
        cursor = document["next"]
        if cursor is None:
            break
    assert whole == parts
    assert len(whole) == len(set(whole)) == 7


async def test_a_search_looks_into_keys_and_tags(client):
    found = (await client.get("/api/v1/series?q=A/1")).json()["items"]
    assert [s["key"] for s in found] == ["demo|cpu{host=a/1}"]


async def test_a_key_may_hold_anything_when_it_is_encoded(world, client):
    odd = metric_window("demo", NOW // 10_000 * 10_000 - 60_000)
    odd.group = "demo|metric:a b{p=%2Fx%7C%25,q=windows%2Ffindings}"
    await world.store.write(Rows(windows=[odd]))
    (series,) = (await client.get("/api/v1/series?q=a%20b")).json()["items"]
    answer = await client.get(f"/api/v1/series/{quote(series['key'], safe='')}/windows")
    assert answer.status_code == 200
    assert series["key"] == answer.json()["series"]
    assert len(answer.json()["points"]) == 1


async def test_windows_say_when_they_were_cut(client):
    base = f"/api/v1/series/{CPU}/windows?size=10s"
    cut = (await client.get(base + "&limit=5")).json()
    whole = (await client.get(base)).json()
    assert (len(cut["points"]), cut["truncated"]) == (5, True)
    assert (len(whole["points"]), whole["truncated"]) == (61, False)
    assert cut["points"] == whole["points"][:5]


async def test_what_detectors_judge_has_a_band(client):
    plays = (await client.get(f"/api/v1/series/{PLAYS}/windows?size=detect")).json()
    cpu = (await client.get(f"/api/v1/series/{CPU}/windows?size=detect")).json()
    for document in (plays, cpu):
        assert document["points"]
        assert all(p["low"] is not None for p in document["points"])
    assert (plays["kind"], cpu["kind"]) == ("count", "gauge")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/alerts?limit=0",
        "/api/v1/alerts?limit=501",
        "/api/v1/alerts?state=open",
        "/api/v1/alerts?serverity=page",
        "/api/v1/alerts?tag.=x",
        "/api/v1/alerts?tag.a=1&tag.a=2",
        "/api/v1/alerts?since=yesterday",
        "/api/v1/alerts?since=2026-01-02T03:04:05",
        "/api/v1/alerts?cursor=forged",
        "/api/v1/series?limit=x",
        f"/api/v1/series/{PLAYS}/windows?step=0s",
        f"/api/v1/series/{PLAYS}/windows?step=fast",
        f"/api/v1/series/{PLAYS}/windows?size=",
        f"/api/v1/series/{PLAYS}/windows?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        f"/api/v1/series/{PLAYS}/windows?form=2026-01-02T00:00:00Z",
        f"/api/v1/series/{PLAYS}/findings?limit=1001",
    ],
)
async def test_what_cannot_be_asked_is_said(client, path):
    answer = await client.get(path)
    assert answer.status_code == 422
    document = answer.json()
    assert document["type"] == "/problems/invalid-request"
    assert document["detail"]


@pytest.mark.parametrize("key", ["nonsense", "a|b", "demo|x{y}", "", "demo|plays{}%00"])
async def test_what_is_no_key_is_not_found(client, key):
    answer = await client.get(f"/api/v1/series/{key}/windows")
    assert answer.status_code == 404


async def test_an_unknown_series_has_no_windows(client):
    answer = await client.get("/api/v1/series/demo%7Cnothing%7B%7D/windows")
    assert answer.json()["points"] == []


async def test_an_empty_store_has_an_overview(settings):
    from storage.memory import MemoryStore
    from tests.api.conftest import make_world
    from tests.api.seed import series_config

    world = await make_world(settings, MemoryStore(series_config()))
    async with world.client() as client:
        document = (await client.get("/api/v1/overview")).json()
    assert None is document["lag_ms"] is document["plays_per_second"]
    assert document["series"] == []
    assert document["open_alerts"]["total"] == 0
