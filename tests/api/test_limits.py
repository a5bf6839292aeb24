"""What a request may say at most: numbers that are numbers, and texts that a store can keep."""

from __future__ import annotations

import json

import pytest

from tests.api.seed import NOW

ML, LABELS = "/api/v1/ml", "/api/v1/labels"
HALF = "\ud800"  # JSON can spell half of a character; no store can keep it
PLAYS = "demo|plays{}"
TRAIN = {"family": "f", "selector": {"name": "plays"}}
STRETCH = {"verdict": "true", "series": PLAYS, "since": NOW - 1_000, "until": NOW}
PERSON = {
    "listener": "l", "plays": 9, "days": 1, "recent": 1, "hours": [1] * 24, "gaps": [1],
}  # fmt: skip


async def refused(client, path: str, body: object) -> dict:
    """The problem that a body is; sent as escapes, which every character can be."""
    headers = {"Content-Type": "application/json"}
    answer = await client.post(path, content=json.dumps(body), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    return answer.json()


@pytest.mark.parametrize("key", ["threshold", "minimum"])
@pytest.mark.parametrize("value", [10**400, 10**30, -(10**400)], ids=["vast", "large", "negative"])
@pytest.mark.parametrize(
    ("path", "body"), [(f"{ML}/train", TRAIN), (f"{ML}/predict", {"points": []})]
)
async def test_a_number_that_none_can_reckon_with_is_refused(client, path, body, key, value):
    assert key in (await refused(client, path, body | {"spec": {key: value}}))["detail"]


def bodies(text: str) -> list[tuple[str, dict]]:
    """Every request with this text at each place that takes one."""
    return [
        *((f"{ML}/train", TRAIN | part) for part in [
            {"family": text}, {"parent": text}, {"spec": {"name": text}}, {"spec": {text: 1}},
            {"selector": {"name": text}}, {"selector": {"stream": text}}, {"by": text},
            {"selector": {"tags": {"plan": text}}}, {"selector": {"tags": {text: "*"}}}, {text: 1},
        ]),
        *((f"{ML}/predict", {"series": PLAYS} | part) for part in [
            {"series": text}, {"series": f"demo|plays{{plan={text}}}"}, {"model": text},
            {"stream": text}, {"spec": {"name": text}}, {"mode": text}, {"series": None, "points": [
            {"at": text, "value": 1}]}, {"size": text}, {"from": text},
        ]),
        *((f"{ML}/predict", {"mode": "segment", "listeners": [PERSON | part]}) for part in [
            {"listener": text}, {"sources": {text: 1}}, {"platforms": {text: 1}},
        ]),
        *((LABELS, STRETCH | part) for part in [
            {"series": text}, {"alert": text}, {"rule": text}, {"detector": text},
            {"author": text}, {"reason": text}, {"verdict": text}, {"series": f"demo|{text}{{}}"},
        ]),
        (f"{ML}/rollbacks", {"before": NOW - 1, "series": text}),
        (f"{ML}/rollbacks", {"before": NOW - 1, "selector": {"tags": {text: "*"}}}),
        (f"{ML}/models/a.1/promote", {"by": text}),
        (f"{ML}/models/a.1/rollback", {"reason": text}),
    ]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), bodies(HALF))
async def test_half_a_character_is_no_text(world, client, path, body):
    await refused(client, path, body)
    assert world.producer.topics == {}


@pytest.mark.parametrize(("path", "body"), bodies("x" * 40_000))
async def test_a_text_that_no_name_is_as_long_as_is_refused(world, client, path, body):
    await refused(client, path, body)
    assert world.producer.topics == {}


async def test_a_selector_has_no_more_tags_than_a_series_can_have(client):
    tags = {f"t{n}": "*" for n in range(17)}
    asked = {"before": NOW - 1, "selector": {"tags": tags}}
    assert "tags" in (await refused(client, f"{ML}/rollbacks", asked))["detail"]
    del tags["t0"]
    assert (await client.post(f"{ML}/rollbacks", json=asked)).status_code == 202


async def test_the_longest_series_there_can_be_is_taken(client):
    """256 characters in each text and 16 tags, all of them written as escapes."""
    text = "%7C" * 256
    tags = ",".join(f"{n:x}{text[3:]}={text}" for n in range(16))
    asked = {"before": NOW - 1, "series": f"demo|{text}{{{tags}}}"}
    assert (await client.post(f"{ML}/rollbacks", json=asked)).status_code == 202


@pytest.mark.parametrize("path", ["models/%ED%A0%80", "models?family=%ED%A0%80", "jobs/%FF"])
async def test_an_address_cannot_hold_half_a_character(client, path):
    assert (await client.get(f"{ML}/{path}")).status_code in {200, 404}
