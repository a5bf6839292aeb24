"""The stream of alerts: snapshot, resume without loss or doubles, and slow subscribers."""

from __future__ import annotations

import asyncio

import pytest

from api.services import stream as stream_service
from api.services.stream import format_id, parse_id
from models.errors import StorageUnavailableError
from storage import kafka_feed
from storage.feeds import MemoryFeed
from storage.kafka_feed import KafkaAlertFeed
from storage.protocols import Position, Rows
from tests.api.asgi import event_stream
from tests.api.conftest import make_world
from tests.api.seed import alert
from tests.storage.feed_sources import create_topic
from tests.support.tansu import TansuServer


def version(number: int, revision: int, tenant: str = "demo", **changes):
    return alert(number, tenant, revision=revision, **changes)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("c1:0=12,1=7", ("c1", {0: 12, 1: 7})),
        ("c1:0=-1", ("c1", {0: -1})),
        ("c1:", ("c1", {})),
        ("c1", None),
        ("", None),
        ("c1:0=x", None),
        ("c1:0=1,", None),
        ("a b:0=1", None),
    ],
)
def test_ids_are_a_cluster_and_a_vector(text, want):
    assert want == parse_id(text)
    if want:
        assert text == format_id(*want)


async def test_a_first_visit_begins_with_what_is_firing(world):
    async with event_stream(world.app) as stream:
        assert "text/event-stream" in stream.headers["content-type"]
        assert stream.headers["cache-control"] == "no-store"
        first = await stream.next()
        assert (first.name, first.id) == ("snapshot", "c1:0=-1")
        assert first.data["because"] == "new"
        assert [a["id"] for a in first.data["alerts"]] == ["inc-demo-002", "inc-demo-005"]
        world.feed.publish(version(1, 0))
        second = await stream.next()
        assert (second.name, second.id, second.data["id"]) == ("alert", "c1:0=0", "inc-demo-001")


async def test_resuming_after_any_event_loses_and_doubles_nothing(world):
    """The stream is cut after every event in turn; both halves together are the whole."""
    whole = []
    async with event_stream(world.app) as stream:
        await stream.next()
        for number in range(12):
            owner = "other" if number % 3 == 2 else "demo"
            world.feed.publish(version(number, 0, owner))
        whole = [await stream.next() for _ in range(8)]
    for cut in range(len(whole)):
        async with event_stream(world.app, last_id=whole[cut].id) as stream:
            assert (await stream.next()).name == "resumed"
            rest = [await stream.next() for _ in whole[cut + 1 :]]
            assert whole[cut + 1 :] == rest
            assert stream.waiting == 0


async def test_the_vector_keeps_partitions_apart(settings):
    feed = MemoryFeed("c1")
    for partition in (0, 1, 2):
        feed.publish(version(partition, 0), partition)
    world = await make_world(settings, feed=feed)
    async with world.app.router.lifespan_context(world.app):
        await world.started()
        async with event_stream(world.app, last_id="c1:0=0,1=-1,2=0") as stream:
            assert (await stream.next()).id == "c1:0=0,1=-1,2=0"
            assert (await stream.next()).id == "c1:0=0,1=0,2=0"
            feed.publish(version(9, 0), 2)
            assert (await stream.next()).id == "c1:0=0,1=0,2=1"


@pytest.mark.parametrize(
    ("last_id", "because"),
    [
        ("nonsense", "unknown_id"),
        ("c2:0=3", "other_cluster"),
        ("c1:0=999", "gap"),
        ("c1:", "gap"),
        ("c1:7=1", "gap"),
    ],
)
async def test_an_id_that_means_nothing_here_gets_a_snapshot(world, last_id, because):
    for number in range(3):
        world.feed.publish(version(number, 0))
    wants_gap_free = because == "gap" and last_id == "c1:"
    async with event_stream(world.app, last_id=last_id) as stream:
        first = await stream.next()
        if wants_gap_free:  # an empty vector stands before everything, and all of it is held
            assert first.name == "resumed"
        else:
            assert ("snapshot", because) == (first.name, first.data["because"])


async def test_an_id_that_is_too_old_gets_a_snapshot(settings):
    feed = MemoryFeed("c1", ring=4)
    for number in range(10):
        feed.publish(version(number, 0))
    world = await make_world(settings, feed=feed)
    async with world.app.router.lifespan_context(world.app):
        await world.started()
        async with event_stream(world.app, last_id="c1:0=2") as stream:
            assert (await stream.next()).data["because"] == "gap"
        async with event_stream(world.app, last_id="c1:0=6") as stream:
            assert (await stream.next()).name == "resumed"
            assert (await stream.next()).id == "c1:0=7"


async def test_a_snapshot_is_followed_from_where_the_store_stands(world):
    """Versions that the store has not seen yet follow; those that it showed do not come again."""
    fresh = version(1, 0)
    world.feed.publish(version(5, 0))  # in the snapshot
    world.feed.publish(fresh)  # not yet in the store
    world.feed.publish(version(5, 1, state="resolved"))
    await world.store.write(Rows(positions=[Position("alerts", 0, 0)]))
    async with event_stream(world.app) as stream:
        first = await stream.next()
        assert {"inc-demo-002", "inc-demo-005"} == {a["id"] for a in first.data["alerts"]}
        second, third = await stream.next(), await stream.next()
        assert (second.data["id"], second.id) == ("inc-demo-001", "c1:0=1")
        assert (third.data["id"], third.data["state"]) == ("inc-demo-005", "resolved")


async def test_ids_of_a_broker_that_lost_its_memory_get_a_snapshot(tmp_path, settings, monkeypatch):
    """The new log is as long as the old was: by their offsets alone, old ids would still be good."""
    monkeypatch.setattr(kafka_feed, "_LOOK", 0.1)
    server = await asyncio.to_thread(TansuServer(tmp_path).start)
    await create_topic(server.bootstrap, "alerts")
    feed = KafkaAlertFeed(server.bootstrap, "alerts")
    world = await make_world(settings, feed=feed)
    try:
        async with world.app.router.lifespan_context(world.app):
            await world.started()
            async with event_stream(world.app) as stream:
                first = await stream.next()
                assert first.name == "snapshot"
                await asyncio.to_thread(server.kill)
                await asyncio.to_thread(server.start)
                await create_topic(server.bootstrap, "alerts")
                await stream.over()
            async with event_stream(world.app, last_id=first.id) as stream:
                again = await stream.next()
            assert (again.name, again.data["because"]) == ("snapshot", "other_cluster")
            assert again.id.partition(":")[0] == feed.cluster_id
            async with event_stream(world.app, last_id=again.id) as stream:
                assert (await stream.next()).name == "resumed"
    finally:
        await asyncio.to_thread(server.stop)


async def test_positions_are_those_of_the_prefixed_topic(settings):
    world = await make_world(settings.model_copy(update={"topic_prefix": "p-"}))
    async with world.app.router.lifespan_context(world.app):
        await world.started()
        for number in range(3):
            world.feed.publish(version(number + 10, 0))
        await world.store.write(Rows(positions=[Position("p-alerts", 0, 2)], cluster="c1"))
        async with event_stream(world.app) as stream:
            assert (await stream.next()).id == "c1:0=1"
            assert (await stream.next()).id == "c1:0=2"


async def test_a_long_list_of_incidents_says_that_it_is_cut(world, monkeypatch):
    monkeypatch.setattr(stream_service, "MAX_SNAPSHOT", 1)
    async with event_stream(world.app) as stream:
        first = await stream.next()
        assert (len(first.data["alerts"]), first.data["truncated"]) == (1, True)


async def test_replays_are_left_out_unless_asked_for(world):
    async with event_stream(world.app) as live, event_stream(world.app, stream="") as everything:
        await live.next()
        await everything.next()
        world.feed.publish(version(1, 0, stream="replay-7"))
        world.feed.publish(version(2, 1))
        assert (await live.next()).data["id"] == "inc-demo-002"
        assert (await everything.next()).data["stream"] == "replay-7"


async def test_the_id_can_come_as_a_parameter(world):
    world.feed.publish(version(1, 0))
    async with event_stream(world.app, last_event_id="c1:0=-1") as stream:
        assert (await stream.next()).name == "resumed"
        assert (await stream.next()).id == "c1:0=0"


async def test_a_heartbeat_renews_the_id(settings):
    """Alerts of others move the vector on, so that a quiet tenant does not fall out of the ring."""
    world = await make_world(settings, heartbeat=0.02)
    async with world.app.router.lifespan_context(world.app):
        await world.started()
        async with event_stream(world.app) as stream:
            await stream.next()
            world.feed.publish(version(1, 0, "other"))
            while (beat := await stream.next()).id != "c1:0=0":
                assert beat.comment == "still here"
            assert (beat.name, beat.data) == (None, None)


async def test_a_slow_subscriber_is_dropped_and_can_resume(settings):
    feed = MemoryFeed("c1", queue=5)
    world = await make_world(settings, feed=feed)
    metrics = world.app.state.context.metrics
    async with world.app.router.lifespan_context(world.app):
        await world.started()
        async with event_stream(world.app) as slow, event_stream(world.app) as quick:
            await slow.next()
            await quick.next()
            slow.reading.clear()
            for number in range(20):
                feed.publish(version(number % 9, number))
                assert f"c1:0={number}" == (await quick.next()).id
            slow.reading.set()
            await slow.over()
            seen = [await slow.next() for _ in range(slow.waiting)]
            assert 0 < len(seen) < 20
            dropped = metrics.subscribers_dropped.labels("sse", "slow")._value.get()
            assert dropped == 1
        async with event_stream(world.app, last_id=seen[-1].id) as again:
            assert (await again.next()).name == "resumed"
            rest = [await again.next() for _ in range(20 - len(seen))]
            assert [f"c1:0={n}" for n in range(20)] == [e.id for e in seen + rest]


async def test_a_client_that_stops_reading_is_dropped(settings, monkeypatch):
    monkeypatch.setattr("api.handlers.streaming.SEND_TIMEOUT_S", 0.05)
    world = await make_world(settings)
    metrics = world.app.state.context.metrics
    async with world.app.router.lifespan_context(world.app):
        await world.started()
        async with event_stream(world.app) as stream:
            await stream.next()
            stream.reading.clear()
            world.feed.publish(version(1, 0))
            await stream.over()
            assert metrics.subscribers_dropped.labels("sse", "blocked")._value.get() == 1
            assert metrics.subscribers.labels("sse")._value.get() == 0


async def test_the_stream_ends_with_the_feed(world):
    async with event_stream(world.app) as stream:
        await stream.next()
        await world.feed.stop()
        await stream.over()


async def test_open_streams_are_counted(world):
    gauge = world.app.state.context.metrics.subscribers.labels("sse")
    async with event_stream(world.app) as stream:
        await stream.next()
        assert gauge._value.get() == 1
    assert gauge._value.get() == 0


async def test_before_the_feed_is_reached_there_is_a_problem_document(settings):
    class Silent(MemoryFeed):
        async def start(self):
            msg = "no broker"
            raise StorageUnavailableError(msg)

    world = await make_world(settings, feed=Silent())
    async with world.app.router.lifespan_context(world.app), world.client() as client:
        answer = await client.get("/api/v1/alerts/stream")
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["retry-after"] == "2"


async def test_a_feed_that_comes_later_is_found(settings, monkeypatch):
    monkeypatch.setattr("api.services.starter.BACKOFF_S", (0.01,))
    there = asyncio.Event()

    class Late(MemoryFeed):
        async def start(self):
            if not there.is_set():
                msg = "no broker"
                raise StorageUnavailableError(msg)
            await super().start()

    world = await make_world(settings, feed=Late("c1"))
    async with world.app.router.lifespan_context(world.app):
        there.set()
        await world.started()
        async with event_stream(world.app) as stream:
            assert (await stream.next()).name == "snapshot"


async def test_a_stream_ends_when_the_server_closes(world):
    """Or uvicorn would wait for its clients."""
    stream, closing = world.app.state.context.stream, asyncio.Event()
    opening = await stream.open("demo", None, None)
    events = stream.events(opening, "demo", None, closing)
    first = await anext(events)
    assert first.event == "snapshot"
    closing.set()
    async with asyncio.timeout(20):
        assert [event async for event in events] == []
