"""Segments over HTTP: the largest first, of one's own tenant, refused until they have been read."""

from __future__ import annotations

from models.records import to_json
from models.segments import Segment
from tests.api.seed import MINUTE, NOW

SEGMENTS = "/api/v1/segments"


def put(world, name: str, size: int, tenant: str = "demo") -> None:
    segment = Segment(
        tenant, name, "night listeners, radio", size, 0.25, {"rate": 21.5, "night": 0.6},
        NOW - 9 * MINUTE, NOW, 0.125,
    )  # fmt: skip
    world.producer.tables["segment-descriptions"].take(
        f"{tenant}:{name}".encode(), to_json(segment)
    )


async def test_segments_are_listed_the_largest_first(world, client):
    put(world, "s1", 10)
    put(world, "s2", 30)
    put(world, "s9", 99, tenant="other")
    items = (await client.get(SEGMENTS)).json()["items"]

    assert [item["id"] for item in items] == ["s2", "s1"]
    assert items[1] == {
        "id": "s1", "description": "night listeners, radio", "size": 10, "share": 0.25,
        "centre": {"rate": 21.5, "night": 0.6}, "drift": 0.125,
        "since": "2026-01-02T02:55:05.000Z", "at": "2026-01-02T03:04:05.000Z",
    }  # fmt: skip


async def test_a_segment_that_is_gone_is_not_listed(world, client):
    put(world, "s1", 10)
    world.producer.tables["segment-descriptions"].take(b"demo:s1", None)

    assert (await client.get(SEGMENTS)).json() == {"items": []}


async def test_segments_are_refused_until_they_have_been_read(world, client):
    world.producer.tables["segment-descriptions"].is_complete = False

    assert (await client.get(SEGMENTS)).status_code == 503
