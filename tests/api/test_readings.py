"""The socket of newest windows."""

from __future__ import annotations

import pytest

from api.handlers import readings as handler
from api.services import readings as service
from models.errors import StorageUnavailableError
from models.series import format_key
from storage.protocols import Rows
from tests.api.asgi import socket
from tests.api.conftest import make_world
from tests.api.seed import NOW, PANE, metric_window, plays_window

PLAYS = "demo|plays{}"
CPU = "demo|cpu{host=a/1}"
NEXT = (NOW // PANE - 1) * PANE


def hub(world):
    return world.app.state.context.readings


@pytest.fixture(params=["store", "cache"])
async def each(request, settings):
    """The API with both sources of newest windows in turn, and a poller that tests drive."""
    from tests.api.seed import seeded_store

    store = await seeded_store()
    latest = store if request.param == "cache" else None
    world = await make_world(settings, store, latest=latest)
    hub(world)._interval = 3600.0
    async with world.app.router.lifespan_context(world.app):
        yield world


async def upto(link, start):
    """Read updates until the one whose window starts there."""
    while True:
        message = await link.next()
        assert message["type"] == "metric_update"
        if message["data"]["start"] == start:
            return message["data"]


async def test_new_windows_are_sent_once(each):
    async with socket(each.app, series=[PLAYS]) as link:
        assert (await link.raw())["type"] == "websocket.accept"
        assert await link.next() == {"type": "subscribed", "series": [PLAYS], "unknown": []}
        await hub(each).poll()
        await upto(link, "2026-01-02T03:03:40.000Z")
        assert link.waiting == 0
        await each.store.write(Rows(windows=[plays_window("demo", {}, NEXT)]))
        await hub(each).poll()
        await hub(each).poll()
        data = await upto(link, "2026-01-02T03:03:50.000Z")
        assert (data["series"], data["stream"], data["revision"]) == (PLAYS, "live", 0)
        assert link.waiting == 0


async def test_a_revision_is_sent_again(each):
    async with socket(each.app, series=[CPU]) as link:
        await link.raw()
        await link.next()
        await hub(each).poll()
        first = await upto(link, "2026-01-02T03:03:40.000Z")
        revised = metric_window("demo", NEXT - PANE, 0.9)
        revised.revision = 2
        await each.store.write(Rows(windows=[revised]))
        await hub(each).poll()
        again = await upto(link, "2026-01-02T03:03:40.000Z")
        assert (first["value"], first["revision"]) == (0.7, 0)
        assert (again["value"], again["revision"]) == (0.9, 2)


async def test_a_group_stands_for_its_series(each):
    group = format_key("demo", "country_platform", {"country": "FR", "platform": "ios"})
    async with socket(each.app, group=[group]) as link:
        await link.raw()
        tags = "{country=FR,platform=ios}"
        want = [f"demo|{m}{tags}" for m in ("error_rate", "plays", "startup_p95")]
        assert want == (await link.next())["series"]


async def test_the_second_watcher_gets_the_newest_at_once(each):
    async with socket(each.app, series=[CPU]) as first, socket(each.app) as second:
        await first.raw()
        await first.next()
        await hub(each).poll()
        await upto(first, "2026-01-02T03:03:40.000Z")
        await second.raw()
        second.say({"type": "subscribe", "series": [CPU]})
        kinds = [(await second.next())["type"], (await second.next())["type"]]
        assert {"subscribed", "metric_update"} == set(kinds)


async def test_messages(world):
    async with socket(world.app) as link:
        await link.raw()
        link.say({"type": "ping"})
        assert await link.next() == {"type": "pong"}
        link.say("{")
        assert (await link.next())["reason"] == "invalid_message"
        link.say({"type": "dance"})
        assert (await link.next())["reason"] == "invalid_message"
        link.say({"type": "subscribe", "series": [CPU, "demo|no{}", "other|plays{}", "?"]})
        answer = await link.next()
        while answer["type"] != "subscribed":
            answer = await link.next()
        assert answer["series"] == [CPU]
        assert answer["unknown"] == ["demo|no{}", "other|plays{}", "?"]
        link.say({"type": "unsubscribe", "series": [CPU]})
        while (answer := await link.next())["type"] != "subscribed":
            pass
        assert answer["series"] == []


async def test_a_message_that_is_too_long_ends_the_socket(world):
    async with socket(world.app) as link:
        await link.raw()
        link.say("x" * (handler.MAX_MESSAGE + 1))
        assert (await link.raw())["code"] == 1009


async def test_a_store_that_is_down_is_said(settings):
    class Down:
        async def series(self, *args, **options):
            msg = "down"
            raise StorageUnavailableError(msg)

    world = await make_world(settings)
    hub(world)._queries = Down()
    async with (
        world.app.router.lifespan_context(world.app),
        socket(world.app, series=[CPU]) as link,
    ):
        await link.raw()
        assert (await link.next())["reason"] == "unavailable"
        link.say({"type": "ping"})
        assert await link.next() == {"type": "pong"}


async def test_a_watcher_has_a_limit(each, monkeypatch):
    monkeypatch.setattr(service, "MAX_WATCHED", 2)
    async with socket(each.app, series=[CPU, PLAYS, "demo|error_rate{}"]) as link:
        await link.raw()
        assert (await link.next())["series"] == [CPU, PLAYS]


async def test_a_slow_watcher_is_dropped(world, monkeypatch):
    monkeypatch.setattr(service, "QUEUE", 3)
    metrics = world.app.state.context.metrics
    hub(world)._interval = 3600.0
    async with socket(world.app, series=[CPU]) as link:
        await link.raw()
        await link.next()
        link.reading.clear()
        watcher = next(iter(hub(world)._watchers))
        for step in range(8):
            await world.store.write(Rows(windows=[metric_window("demo", NEXT + step * PANE)]))
            await hub(world).poll()
        assert watcher.dropped
        link.reading.set()
        while (message := await link.raw())["type"] != "websocket.close":
            pass
        assert message["code"] == 1013
        assert metrics.subscribers_dropped.labels("websocket", "slow")._value.get() == 1
    assert metrics.subscribers.labels("websocket")._value.get() == 0


async def test_a_client_that_stops_reading_is_dropped(world, monkeypatch):
    monkeypatch.setattr(handler, "SEND_TIMEOUT_S", 0.05)
    metrics = world.app.state.context.metrics
    async with socket(world.app) as link:
        await link.raw()
        link.reading.clear()
        link.say({"type": "ping"})
        await link.over()
    assert metrics.subscribers_dropped.labels("websocket", "blocked")._value.get() == 1


async def test_one_poller_serves_everybody_and_rests_with_nobody(world):
    calls = 0
    real = world.store.windows

    async def counted(*args):
        nonlocal calls
        calls += 1
        return await real(*args)

    world.store.windows = counted
    hub(world)._interval = 3600.0
    async with socket(world.app) as one, socket(world.app) as two:
        await one.raw()
        await two.raw()
        for link in (one, two):
            link.say({"type": "subscribe", "series": [CPU]})
            await link.next()
        calls = 0
        await hub(world).poll()
        assert calls == 1
        assert hub(world)._poller is not None
    assert hub(world)._poller is None
