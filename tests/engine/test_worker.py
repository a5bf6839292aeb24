"""The engine in a real worker, on real brokers: what holds after a kill, a stop and bad records."""

import json
import signal
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import TopicPartition

from engine.changelog import restore
from engine.store import META_KEY
from tests.support.topics import read_partitions
from tests.support.worker import Worker

APP = "tests.support.counting_app"
pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def worker(any_broker, unique_name, tmp_path):
    env = {
        "BACKBEAT_BROKER": any_broker.url,
        "BACKBEAT_APP_ID": unique_name,
        "BACKBEAT_TOPIC_PREFIX": f"{unique_name}-",
        "BACKBEAT_FLUSH_INTERVAL": "0.05",
    }
    with Worker(APP, tmp_path, **env) as worker:
        worker.bootstrap, worker.name = any_broker.bootstrap, unique_name
        yield worker


async def produce(worker, values):
    """Send (key, value) pairs; all acknowledged on return."""
    producer = AIOKafkaProducer(bootstrap_servers=worker.bootstrap, acks="all", linger_ms=5)
    await producer.start()
    for key, value in values:
        await producer.send(f"{worker.name}-plays", key=key, value=value)
    await producer.stop()


async def counts(worker):
    """Counts per key and the sum of next offsets, as the changelog has them."""
    log = f"{worker.name}-count-changelog"
    found = await restore(worker.bootstrap, log, dict.fromkeys(range(4)))
    totals, offsets = {}, 0
    for restored in found.values():
        for key, value in restored.values.items():
            if key == META_KEY:
                offsets += msgspec.msgpack.decode(value)[0]
            elif key.startswith(b"counts\x00"):
                totals[key.partition(b"\x00")[2]] = msgspec.msgpack.decode(value)
    return totals, offsets


async def read_all(worker, topic):
    """Every record of a topic."""
    partitions = await read_partitions(worker.bootstrap, f"{worker.name}-{topic}")
    return [record for records in partitions for record in records]


@asynccontextmanager
async def in_group(worker):
    """A consumer that speaks for the stopped worker's group, and its source partitions."""
    consumer = AIOKafkaConsumer(bootstrap_servers=worker.bootstrap, group_id=worker.name)
    await consumer.start()
    tps = [TopicPartition(f"{worker.name}-plays", p) for p in range(4)]
    consumer.assign(tps)
    try:
        yield consumer, tps
    finally:
        await consumer.stop()


def done(worker, n):
    """Whether the acknowledged offsets add up to n."""
    parts = [p for step in worker.status().get("steps", {}).values() for p in step]
    return len(parts) == 4 and sum(p["next_offset"] for p in parts) == n


async def test_counts_are_exact_after_kill_9_in_the_middle(worker):
    """If state and offset were written apart, or an offset before its state, a count would differ."""
    worker.wait_ready()
    batch = [(b"k%d" % (i % 50), b"x" * 100) for i in range(10_000)]
    await produce(worker, batch)
    for _ in range(2):
        await produce(worker, batch)
        worker.kill(signal.SIGKILL)
        worker.start()
    worker.wait_ready()
    worker.wait(lambda: done(worker, 30_000), 60, "everything flushed")
    totals, offsets = await counts(worker)
    assert offsets == 30_000
    assert set(totals.values()) == {600}


async def test_records_that_break_the_fold_are_isolated(worker):
    """First, last, adjacent, in between: they go to dead-letters, the others are counted once."""
    worker.wait_ready()
    positions = [0, 10, 11, 12, 50, 99]
    await produce(worker, [(b"k", b"boom" if i in positions else b"x") for i in range(100)])
    worker.wait(lambda: done(worker, 100), 60, "everything flushed")
    await produce(worker, [(b"k", b"boom")])  # alone
    worker.wait(lambda: done(worker, 101), 60, "everything flushed")
    totals, _ = await counts(worker)
    assert totals[b"k"] == 100 - len(positions)
    letters = [json.loads(r.value) for r in await read_all(worker, "dead-letters")]
    assert sorted(d["offset"] for d in letters) == [*positions, 100]
    assert {d["reason"] for d in letters} == {"handler_failed"}
    assert all("this record breaks the fold" in d["traceback"] for d in letters)


async def test_sigterm_flushes_what_was_read_and_leaves_in_time(worker):
    """Exit code 0 within 10 s, and the group's offsets stand where the state does."""
    worker.wait_ready()
    await produce(worker, [(b"k%d" % i, b"x") for i in range(5_000)])
    worker.wait(lambda: done(worker, 5_000), 60, "everything flushed")
    assert worker.kill(signal.SIGTERM) == 0
    _, offsets = await counts(worker)
    assert offsets == 5_000
    async with in_group(worker) as (consumer, tps):
        assert sum([await consumer.committed(tp) or 0 for tp in tps]) == 5_000


# The embedded broker lets nobody commit for a group without members.
@pytest.mark.parametrize("any_broker", ["kafka"], indirect=True)
async def test_an_abandoned_group_continues_from_the_changelog(worker):
    """The changelog's next_offset wins over a group offset that says otherwise."""
    worker.wait_ready()
    await produce(worker, [(b"k%d" % i, b"x") for i in range(1_000)])
    worker.wait(lambda: done(worker, 1_000), 60, "everything flushed")
    worker.kill(signal.SIGTERM)
    async with in_group(worker) as (consumer, tps):
        await consumer.commit(dict.fromkeys(tps, 0))
    worker.start()
    worker.wait_ready()
    worker.wait(lambda: done(worker, 1_000), 60, "everything flushed")
    totals, offsets = await counts(worker)
    assert offsets == 1_000
    assert set(totals.values()) == {1}


async def test_another_partition_count_is_refused(worker):
    worker.wait_ready()
    worker.kill(signal.SIGTERM)
    worker.env["BACKBEAT_PARTITIONS"] = "8"
    worker.start()
    assert worker.process.wait(40) != 0
    assert "has 4 partitions, the configuration says 8" in worker.log.read_text()


@pytest.mark.parametrize("any_broker", ["kafka"], indirect=True)
async def test_another_clean_up_policy_is_refused(any_broker, unique_name, tmp_path):
    """A changelog that is deleted by age would lose state: the worker does not start on it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=any_broker.bootstrap)
    await admin.start()
    changelog = f"{unique_name}-count-changelog"
    await admin.create_topics([NewTopic(changelog, 4, 1)])
    await admin.close()
    env = {"BACKBEAT_BROKER": any_broker.url, "BACKBEAT_APP_ID": unique_name,
           "BACKBEAT_TOPIC_PREFIX": f"{unique_name}-"}  # fmt: skip
    with Worker(APP, tmp_path, **env) as worker:
        assert worker.process.wait(60) != 0
        assert f"topic {changelog} has cleanup.policy delete" in worker.log.read_text()
