"""What every alert feed must do: memory, Redis, Kafka and Tansu."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from storage.feeds import FeedGapError, MemoryFeed, SlowSubscriberError
from tests.storage.feed_sources import (
    RING,
    Source,
    kafka_source,
    memory_source,
    reach,
    redis_source,
    started,
    take,
)
from tests.storage.rows import alert


@pytest.fixture(params=["memory", "redis", "kafka", "tansu"])
async def source(request: pytest.FixtureRequest) -> AsyncIterator[Source]:
    async with AsyncExitStack() as stack:
        kind = request.param
        if kind == "memory":
            made = memory_source(request)
        elif kind == "redis":
            made = redis_source(request)
        else:
            made = kafka_source(request, kind)
        yield await stack.enter_async_context(made)


async def test_a_subscriber_gets_what_comes_after_it_subscribed(source: Source):
    (before,) = await source.publish_all("before")
    async with started(source) as feed:
        await reach(feed, 0, before)
        first, second = await feed.subscribe(None), await feed.subscribe()
        offsets = await source.publish_all("a", "b")
        for subscription in (first, second):
            found = await take(subscription, 2)
            assert [(r.partition, r.offset, r.alert.id) for r in found] == [
                (0, offsets[0], "a"),
                (0, offsets[1], "b"),
            ]
            assert found[0].alert == alert("a")


async def test_a_vector_resumes_exactly_behind_it(source: Source):
    zero = await source.publish_all("a", "b", "c")
    (one,) = await source.publish_all("x", partition=1)
    async with started(source) as feed:
        await reach(feed, 0, zero[-1])
        await reach(feed, 1, one)
        resumed = await feed.subscribe({0: zero[0], 1: one - 1})
        await source.publish_all("d")
        found = await take(resumed, 4)
        assert [r.alert.id for r in found if r.partition == 0] == ["b", "c", "d"]
        assert [r.alert.id for r in found if r.partition == 1] == ["x"]


async def test_a_feed_that_starts_later_can_resume_as_well(source: Source):
    """Another process behind the same load balancer, or this one after a restart."""
    offsets = await source.publish_all("a", "b", "c")
    for _ in range(2):
        async with started(source) as feed:
            await reach(feed, 0, offsets[-1])
            resumed = await feed.subscribe({**feed.nearest(None), 0: offsets[1]})
            assert [r.alert.id for r in await take(resumed, 1)] == ["c"]


async def test_what_the_ring_no_longer_holds_is_a_gap(source: Source):
    offsets = await source.publish_all(*(f"a{n}" for n in range(RING + 5)))
    async with started(source) as feed:
        await reach(feed, 0, offsets[-1])
        end = feed.nearest(None)
        with pytest.raises(FeedGapError, match="no longer held"):
            await feed.subscribe({**end, 0: offsets[0]})
        await feed.subscribe({**end, 0: offsets[-2]})
        again = await source.publish_all(*(f"b{n}" for n in range(RING + 1)))
        await reach(feed, 0, again[-1])
        with pytest.raises(FeedGapError):
            await feed.subscribe({**end, 0: offsets[-1]})


async def test_what_has_not_been_reached_is_a_gap(source: Source):
    (offset,) = await source.publish_all("a")
    async with started(source) as feed:
        await reach(feed, 0, offset)
        with pytest.raises(FeedGapError, match="has not been reached"):
            await feed.subscribe({**feed.nearest(None), 0: offset + 1000})


async def test_the_nearest_vector_can_always_be_subscribed_to(source: Source):
    offsets = await source.publish_all(*(f"a{n}" for n in range(RING + 5)))
    async with started(source) as feed:
        await reach(feed, 0, offsets[-1])
        for wish in (None, {}, {0: -1}, {0: offsets[-2], 1: 10**9}, {0: 10**9}, {7: 3}):
            await feed.subscribe(feed.nearest(wish))
        resumed = await feed.subscribe(feed.nearest({0: offsets[-3]}))
        assert [r.offset for r in await take(resumed, 2)] == offsets[-2:]
        oldest = await take(await feed.subscribe(feed.nearest({})), 2)
        assert oldest[0].offset < oldest[1].offset


async def test_a_slow_subscriber_is_ended_and_counted_and_hinders_nobody(source: Source):
    async with started(source, queue=3) as feed:
        slow, fast = await feed.subscribe(), await feed.subscribe()
        names = [f"a{n}" for n in range(6)]
        for name in names:
            await source.publish_all(name)
            assert [r.alert.id for r in await take(fast, 1)] == [name]
        assert [r.alert.id for r in await take(slow, 3)] == names[:3]
        for _ in range(2):
            with pytest.raises(SlowSubscriberError, match="3 alerts waiting"):
                await anext(slow)
        assert feed.slow_subscribers == 1


async def test_stopping_ends_the_subscriptions(source: Source):
    feed = source.feed()
    await feed.start()
    await feed.start()
    subscription = await feed.subscribe()
    waiting = asyncio.create_task(anext(subscription, None))
    await asyncio.sleep(0)
    await feed.stop()
    await feed.stop()
    assert await waiting is None
    assert feed.cluster_id


async def test_closing_a_subscription_ends_it():
    feed = MemoryFeed()
    await feed.start()
    subscription = await feed.subscribe()
    feed.publish(alert())
    await subscription.aclose()
    assert [record async for record in subscription] == []
    feed.publish(alert())
    assert feed.slow_subscribers == 0
