"""The Redis sink: newest windows, alerts passed on once, positions with them, an absent server."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from models.errors import StorageError, StorageUnavailableError
from storage.protocols import Position, Rows
from storage.redis import RedisLatest, RedisSink
from tests.storage.rows import MINUTE, SECOND, T0, alert, rows, window
from tests.support.valkey import ValkeyServer


class Opened:
    """A sink on its own prefix, and a look at the keys."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url, self.prefix = url, prefix
        self.sink = RedisSink(url, prefix=prefix)
        self.latest = RedisLatest(url, prefix)
        self.client = Redis.from_url(url, decode_responses=True, protocol=2)

    async def passed_on(self) -> list[tuple[str, str, str]]:
        entries = await self.client.xrange(f"{self.prefix}:alerts")
        return [(f["partition"], f["offset"], f["previous"]) for _, f in entries]


@pytest.fixture
async def opened(valkey_server, unique_name: str) -> AsyncIterator[Opened]:
    opened = Opened(valkey_server.url, unique_name)
    await opened.sink.open()
    yield opened
    await opened.sink.close()
    await opened.latest.close()
    await opened.client.aclose()


def alerts(*offsets: tuple[int, int], position: int | None = None) -> Rows:
    """Alerts at (partition, offset); the position of partition 0 behind them."""
    told = [alert(f"{p}-{o}") for p, o in offsets]
    positions = [] if position is None else [Position("alerts", 0, position)]
    return Rows(alerts=told, alert_offsets=offsets, positions=positions)


async def test_an_alert_is_passed_on_once_however_often_it_is_written(opened: Opened):
    await opened.sink.write(alerts((0, 3), (0, 5), (1, 4), position=6))
    await opened.sink.write(alerts((0, 3), (0, 5), position=6))
    await opened.sink.write(alerts((0, 5), (0, 9), (1, 4), position=10))
    expected = [("0", "3", "-1"), ("0", "5", "3"), ("1", "4", "-1"), ("0", "9", "5")]
    assert await opened.passed_on() == expected
    assert await opened.sink.positions() == {("alerts", 0): 10}


async def test_alerts_without_their_offsets_are_an_error(opened: Opened):
    with pytest.raises(StorageError, match="1 alerts came with 0 offsets"):
        await opened.sink.write(Rows(alerts=[alert()]))


async def test_the_stream_of_alerts_is_bounded(valkey_server, unique_name: str):
    opened = Opened(valkey_server.url, unique_name)
    sink = RedisSink(valkey_server.url, prefix=unique_name, length=100)
    await sink.open()
    await sink.write(alerts(*((0, n) for n in range(1000))))
    assert 100 <= len(await opened.passed_on()) < 300
    await sink.close()
    await opened.latest.close()
    await opened.client.aclose()


async def test_the_newest_window_is_the_latest_start_then_the_finer_then_the_last_revision(
    opened: Opened,
):
    group = window().group
    story = [
        window(T0, size=MINUTE, slide=10 * SECOND, count=1),
        window(T0, count=2),
        window(T0, count=3, revision=1),
        window(T0 + 10 * SECOND, size=MINUTE, slide=10 * SECOND, count=4),
        window(T0 + 20 * SECOND, count=5),
    ]
    for row in story:
        await opened.sink.write(rows(row))
        assert await opened.latest.latest("acme", [group]) == {group: row}
    for row in story:
        await opened.sink.write(rows(row))
        assert await opened.latest.latest("acme", [group]) == {group: story[-1]}


async def test_only_live_windows_are_kept_and_they_expire(opened: Opened):
    await opened.sink.write(rows(window(), window(T0 + MINUTE, stream="replay")))
    key = f"{opened.prefix}:acme:latest:{window().group}"
    assert await opened.latest.latest("acme", [window().group]) == {window().group: window()}
    assert 0 < await opened.client.pttl(key) <= 2 * 86_400_000


async def test_many_groups_are_written_in_chunks_and_read_at_once(opened: Opened):
    many = [window(tags={"country": f"C{n}"}, count=n) for n in range(1_234)]
    await opened.sink.write(Rows(windows=many))
    found = await opened.latest.latest("acme", [w.group for w in many] + ["acme|none{}"])
    assert [found[w.group].count for w in many] == list(range(1_234))
    assert await opened.latest.latest("acme", []) == {}


async def test_tenants_with_awkward_names_do_not_meet(opened: Opened):
    one = window(tenant="a:latest", count=1)
    two = window(tenant="a", count=2)
    await opened.sink.write(rows(one, two))
    assert await opened.latest.latest("a", [one.group, two.group]) == {two.group: two}
    assert await opened.latest.latest("a:latest", [one.group, two.group]) == {one.group: one}


async def test_another_cluster_drops_what_rests_on_the_offsets_of_the_old(opened: Opened):
    await opened.sink.write(alerts((0, 500), position=501))
    await opened.sink.write(rows(window()))
    fresh = RedisSink(opened.url, prefix=opened.prefix)
    await fresh.open()
    assert await fresh.positions("made anew") == {}
    await fresh.write(alerts((0, 1), position=2)._replace(cluster="made anew"))
    assert await opened.passed_on() == [("0", "1", "-1")]
    assert await opened.latest.latest("acme", [window().group])
    await fresh.close()
    again = RedisSink(opened.url, prefix=opened.prefix)
    await again.open()
    assert await again.positions("made anew") == {("alerts", 0): 2}
    await again.write(alerts((0, 0), position=1)._replace(cluster="once more"))
    assert await opened.passed_on() == [("0", "0", "-1")]
    assert await again.positions("once more") == {("alerts", 0): 1}
    await again.close()


async def test_an_absent_server_is_unavailable_and_then_it_goes_on(tmp_path: Path):
    with ValkeyServer(tmp_path) as server:
        opened = Opened(server.url, "bb")
        await opened.sink.open()
        await opened.sink.write(alerts((0, 1), position=2))
        await asyncio.to_thread(server.kill)
        with pytest.raises(StorageUnavailableError):
            await opened.sink.write(alerts((0, 2), position=3))
        with pytest.raises(StorageUnavailableError):
            await opened.sink.positions()
        with pytest.raises(StorageUnavailableError):
            await opened.latest.latest("acme", ["acme|all{}"])
        await asyncio.to_thread(server.start)
        assert await opened.sink.positions() == {("alerts", 0): 2}
        await opened.sink.write(alerts((0, 1), (0, 2), position=3))
        assert await opened.passed_on() == [("0", "1", "-1"), ("0", "2", "1")]
        await opened.sink.close()
        await opened.latest.close()
        await opened.client.aclose()


async def test_a_server_that_is_not_there_at_first_can_be_opened_later(tmp_path: Path):
    server = ValkeyServer(tmp_path)
    sink = RedisSink(server.url)
    with pytest.raises(StorageUnavailableError):
        await sink.open()
    with pytest.raises(StorageError, match="not open"):
        await sink.write(rows(window()))
    with server:
        await sink.open()
        await sink.write(rows(window()))
        await sink.close()


async def test_a_paused_server_is_unavailable_after_the_timeout(tmp_path: Path):
    with ValkeyServer(tmp_path) as server:
        sink = RedisSink(server.url, timeout=0.2)
        await sink.open()
        with server.paused(), pytest.raises(StorageUnavailableError):
            await sink.write(rows(window()))
        await sink.write(rows(window()))
        await sink.close()


async def test_a_refused_login_will_not_pass(tmp_path: Path):
    with ValkeyServer(tmp_path) as server:
        url = server.url.replace("redis://", "redis://nobody:wrong@")
        sink = RedisSink(url)
        with pytest.raises(StorageError, match="refused us") as caught:
            await sink.open()
        assert not isinstance(caught.value, StorageUnavailableError)
        await sink.close()
