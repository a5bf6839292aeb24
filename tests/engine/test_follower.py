"""Followers on a real broker: where they begin."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.follower import Follower, Records
from tests.support.plays import Sent
from tests.support.tansu import TansuServer
from tests.support.topics import produce

pytestmark = [pytest.mark.server, pytest.mark.timeout(120)]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[str]:
    server = TansuServer(tmp_path / "broker").start()
    try:
        yield server.bootstrap
    finally:
        server.stop()


@pytest.mark.parametrize(("known", "first"), [({}, 0), ({("things", 0): 3}, 3)])
async def test_nothing_is_handled_before_the_store_has_said_where_it_stands(broker, known, first):
    """Its answer takes long: what is fetched meanwhile is neither handled nor skipped."""
    await asyncio.to_thread(
        produce, broker, "things", [Sent(f"{n}", 0, 1_000 + n, b"k", b"%d" % n) for n in range(5)]
    )
    handled, fetched_early = [], []
    done = asyncio.Event()

    async def positions():
        fetched_early.append(await follower._consumer.getmany(timeout_ms=1_500))
        return known

    async def handle(records: Records) -> None:
        handled.extend(r.offset for batch in records.values() for r in batch)
        if handled[-1] == 4:
            done.set()

    follower = Follower(broker, "group", ["things"], handle, positions=positions)
    await follower.start()
    try:
        await asyncio.wait_for(done.wait(), 60)
    finally:
        await follower.stop()
    assert fetched_early == [{}]
    assert handled == list(range(first, 5))
