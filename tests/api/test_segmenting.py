"""Segments of posted listeners."""

from __future__ import annotations

import pytest


def listener(number: int, kind: str, **changes) -> dict:
    """Night owls who skip on their phones, or daytime people with whole albums on computers."""
    night = kind == "night"
    hours = [0] * 24
    for hour in (23, 0, 1) if night else (10, 11, 12):
        hours[hour] = 30 + number % 5
    plays = sum(hours)
    return {
        "listener": f"{kind}-{number}", "plays": plays, "skips": plays * 7 // 10 if night else 2,
        "completes": 5 if night else plays - 5, "days": 20.0, "recent": 9.0, "tracks": 8,
        "hours": hours, "gaps": [10, 50, 20],
        "sources": {"radio": plays} if night else {"album": plays},
        "platforms": {"ios": plays} if night else {"desktop": plays},
    } | changes  # fmt: skip


PEOPLE = [listener(n, kind) for n in range(80) for kind in ("night", "day")]


async def ask(client, **asked):
    return await client.post("/api/v1/ml/predict", json={"mode": "segment", **asked})


async def test_listeners_of_two_kinds_are_told_apart(client):
    answer = await ask(client, listeners=PEOPLE)
    assert answer.status_code == 200, answer.text
    found = answer.json()["segmented"]
    assert not found["learning"]
    placed = {one["listener"]: one["segment"] for one in found["listeners"]}
    assert placed.keys() == {one["listener"] for one in PEOPLE}
    kinds = {name: {placed[p["listener"]] for p in PEOPLE if p["listener"].startswith(name)}
             for name in ("night", "day")}  # fmt: skip
    assert not kinds["night"] & kinds["day"]
    assert sum(one["size"] for one in found["segments"]) == len(PEOPLE)
    night = next(s for s in found["segments"] if s["id"] in kinds["night"])
    day = next(s for s in found["segments"] if s["id"] in kinds["day"])
    assert night["centre"]["skip"] > 0.5 > day["centre"]["skip"]
    assert night["description"]


async def test_a_few_listeners_are_no_segments(client):
    found = (await ask(client, listeners=PEOPLE[:20])).json()["segmented"]
    assert found == {"learning": True, "segments": [], "listeners": []}


@pytest.mark.parametrize(
    "asked",
    [
        {}, {"listeners": []}, {"listeners": PEOPLE[:2], "series": "demo|plays{}"},
        {"listeners": [PEOPLE[0]] * 2}, {"listeners": [listener(1, "day", hours=[1])]},
        {"listeners": [listener(1, "day", plays=0)]}, {"listeners": [listener(1, "day", typo=1)]},
        {"listeners": [listener(1, "day", recent="NaN")]}, {"listeners": PEOPLE * 13},
        {"listeners": [listener(1, "day", plays=9, skips=10)]},
        {"listeners": [listener(1, "day", plays=9, skips=0, completes=10)]},
    ],
)  # fmt: skip
async def test_what_cannot_be_segmented(client, asked):
    assert (await ask(client, **asked)).status_code == 422
