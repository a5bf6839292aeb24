"""Probes: what they say, and that they always answer in time."""

from __future__ import annotations

import asyncio

import pytest

from api.services.health import HealthChecker
from api.services.lag import Lag, MemoryLag
from api.services.starter import Starter
from models.errors import StorageUnavailableError
from storage.feeds import MemoryFeed
from tests.api.conftest import make_world


class Store:
    """Answers nothing, in a way of one's choice."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    async def alerts(self, *args):
        if self.fault == "hangs":
            await asyncio.Event().wait()
        if self.fault == "none":
            return [], None
        msg = "postgres://user:secret@host is gone"
        raise StorageUnavailableError(msg)


def parts(document) -> dict:
    return {p["name"]: p for p in document["parts"]}


async def test_live_is_always_the_same(client):
    answer = await client.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


@pytest.mark.parametrize("fault", ["hangs", "fails"])
async def test_a_store_that_is_down_is_not_ready(settings, fault):
    world = await make_world(settings, queries=Store(fault))
    world.app.state.context.health._timeout = 0.05
    async with world.app.router.lifespan_context(world.app), world.client() as client:
        await world.started()
        answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["status"] == "not_ready"
    assert parts(answer.json())["store"]["status"] == "down"
    assert "secret" not in answer.text


async def test_a_store_is_only_called_down_after_it_was_up(caplog):
    store = Store("fails")
    checker = HealthChecker(store, "demo", [], None)
    caplog.set_level("INFO", "api.services.health")
    await checker.check()
    await checker.check()
    assert [(r.levelname, r.message) for r in caplog.records] == [("INFO", "store is not up yet")]
    store.fault = "none"
    await checker.check()
    store.fault = "fails"
    await checker.check()
    assert [(r.levelname, r.message) for r in caplog.records[1:]] == [("WARNING", "store is down")]


async def test_a_feed_that_is_not_reached_is_not_ready(settings):
    class Silent(MemoryFeed):
        async def start(self):
            await asyncio.Event().wait()

    world = await make_world(settings, feed=Silent())
    async with world.app.router.lifespan_context(world.app), world.client() as client:
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        assert parts(answer.json())["feed"]["status"] == "down"
        # What does not need the feed works meanwhile.
        assert (await client.get("/api/v1/alerts")).status_code == 200


async def test_a_producer_that_is_not_reached_still_serves_readers(settings):
    world = await make_world(settings)
    world.producer.reachable = False
    async with world.app.router.lifespan_context(world.app), world.client() as client:
        await world.started()
        answer = await client.get("/health/ready")
    assert answer.status_code == 200
    assert parts(answer.json())["producer"]["status"] == "down"


async def test_who_is_behind_is_said_with_how_much(world, client):
    world.lag.found = [Lag("worker", "plays", 9_999), Lag("worker", "partials", 123_456)]
    answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "behind")
    found = parts(answer.json())
    assert (found["worker/plays"]["status"], found["worker/plays"]["lag"]) == ("ok", 9_999)
    assert (
        found["worker/partials"]["status"],
        found["worker/partials"]["lag"],
    ) == ("behind", 123_456)


async def test_a_worker_that_never_ran_is_unknown(world, client):
    world.lag.found = []
    assert parts((await client.get("/health/ready")).json())["worker"]["status"] == "unknown"
    world.lag.reachable = False
    answer = await client.get("/health/ready")
    assert parts(answer.json())["worker"]["status"] == "unknown"
    assert answer.status_code == 200


async def test_a_broker_that_hangs_is_not_waited_for():
    class Hanging(MemoryLag):
        async def lags(self):
            await asyncio.Event().wait()

    checker = HealthChecker(Store("hangs"), "demo", [], Hanging(), timeout=0.05)
    async with asyncio.timeout(20):
        health = await checker.check()
    assert health.status == "not_ready"


async def test_a_starter_gives_up_on_what_does_not_stop(monkeypatch):
    monkeypatch.setattr("api.services.starter.STOP_TIMEOUT_S", 0.05)

    class Stuck(MemoryFeed):
        async def stop(self):
            await asyncio.Event().wait()

    starter = Starter("stuck", Stuck(), required=True)
    starter.begin()
    async with asyncio.timeout(20):
        await starter.started.wait()
        await starter.end()


async def test_metrics_are_counted_by_route(client):
    await client.get("/api/v1/alerts/inc-demo-005")
    await client.get("/api/v1/alerts/nope")
    await client.get("/wp-login.php")
    await client.request("BREW", "/api/v1/alerts")
    text = (await client.get("/metrics")).text
    counted = "backbeat_requests_answered_total"
    route = "/api/v1/alerts/{alert_id}"
    assert f'{counted}{{method="GET",route="{route}",status="200"}} 1.0' in text
    assert f'{counted}{{method="GET",route="{route}",status="404"}} 1.0' in text
    assert f'{counted}{{method="GET",route="none",status="404"}} 1.0' in text
    assert 'method="BREW"' not in text
    assert f'backbeat_request_seconds_count{{route="{route}"}} 2.0' in text


async def test_a_starter_outlives_a_fault_of_ours(monkeypatch, caplog):
    monkeypatch.setattr("api.services.starter.BACKOFF_S", (0.001,))

    class Faulty(MemoryFeed):
        tries = 0

        async def start(self):
            self.tries += 1
            if self.tries < 3:
                msg = "'NoneType' object is not iterable"
                raise TypeError(msg)

        async def stop(self):
            msg = "nor does it stop"
            raise RuntimeError(msg)

    starter = Starter("faulty", Faulty(), required=True)
    starter.begin()
    async with asyncio.timeout(20):
        await starter.started.wait()
        await starter.end()
    assert [r.message for r in caplog.records] == ["not connected"] * 2 + ["did not stop cleanly"]
