"""The transactional flush on a real Apache Kafka: together or not at all, and one owner."""

from contextlib import suppress

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, ProducerFenced
from aiokafka.structs import TopicPartition
from faust.types import TP

from engine.changelog import restore
from engine.flush import Flush, Place
from engine.io_thread import IoThread
from models.errors import FencedError
from models.flow import Output
from models.settings import Settings
from tests.support.topics import read_partitions

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
async def flush(kafka_server, unique_name):
    settings = Settings(
        app_id=unique_name,
        broker=kafka_server.url,
        topic_prefix=f"{unique_name}-",
        session_timeout=10,
    )
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_server.bootstrap)
    await admin.start()
    names = [f"{unique_name}-{t}" for t in ("plays", "windows", "log")]
    await admin.create_topics([NewTopic(name, 4, 1) for name in names])
    await admin.close()
    io = IoThread()
    io.start()
    made = Flush(settings, io, transactions=True, idempotent=True)
    made.settings = settings
    made.place = Place("count", TP(names[0], 1), names[2])
    await made.start()
    writers = []

    async def open_writer():
        writers.append(await made.open(made.place))
        return writers[-1]

    made.open_writer = open_writer
    yield made
    for writer in writers:
        with suppress(KafkaError):
            await writer.close()
    await made.stop()
    io.stop()


async def readable(flush, topic):
    """Values that a reader of committed records is given, from every partition."""
    partitions = await read_partitions(flush.settings.bootstrap, flush.settings.topic(topic))
    return sorted(r.value for records in partitions for r in records)


async def committed(flush):
    """The group's offset of the partition, as lag tools see it."""
    admin = AIOKafkaAdminClient(bootstrap_servers=flush.settings.bootstrap)
    await admin.start()
    tp = TopicPartition(*flush.place.source)
    found = await admin.list_consumer_group_offsets(flush.settings.app_id, partitions=[tp])
    await admin.close()
    return found[tp].offset


def outputs(*values):
    return [Output("windows", b"k%d" % i, value) for i, value in enumerate(values)]


async def test_state_outputs_and_offset_come_together(flush):
    writer = await flush.open_writer()
    end = await writer.write(outputs(b"a", b"b"), [(b"x", b"1"), (b"meta", b"2")], 7, 0)
    again = await writer.write([], [(b"x", None), (b"meta", b"3")], 9, 0)
    assert (end, again) == (3, 6)  # two records and the commit's own, twice
    assert await readable(flush, "windows") == [b"a", b"b"]
    found = await restore(flush.settings.bootstrap, flush.place.changelog, {1: None})
    assert found[1] == ({b"meta": b"3"}, again)
    assert await committed(flush) == 9


async def test_a_state_that_is_known_is_not_read_again(flush):
    """If the end were misjudged, a worker would go on from a state that another one has moved."""
    writer = await flush.open_writer()
    end = await writer.write([], [(b"x", b"1")], 1, 0)
    reopened = await flush.open_writer()
    bootstrap, log = flush.settings.bootstrap, flush.place.changelog
    assert await restore(bootstrap, log, {1: end}) == {1: (None, end)}
    moved = await reopened.write([], [(b"x", b"2")], 2, 0)
    assert await restore(bootstrap, log, {1: end}) == {1: ({b"x": b"2"}, moved)}


async def test_the_next_owner_fences_the_last_and_aborts_what_it_left_open(flush):
    """If it did not, a worker that wakes up would write stale state after the new owner's."""
    old = await flush.open_writer()
    await old.write(outputs(b"1"), [(b"x", b"1")], 1, 0)
    producer = AIOKafkaProducer(
        bootstrap_servers=flush.settings.bootstrap,
        transactional_id=f"{flush.settings.app_id}-count-1",  # as a second worker would have it
    )
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(flush.settings.topic("windows"), b"left open", partition=0)
    new = await flush.open_writer()
    found = await restore(flush.settings.bootstrap, flush.place.changelog, {1: None})
    assert found[1].values == {b"x": b"1"}
    await new.write(outputs(b"2"), [(b"x", b"2")], 2, 0)
    with pytest.raises(ProducerFenced):
        await producer.commit_transaction()
    await producer.stop()
    assert await readable(flush, "windows") == [b"1", b"2"]
    found = await restore(flush.settings.bootstrap, flush.place.changelog, {1: None})
    assert found[1].values == {b"x": b"2"}
    assert await committed(flush) == 2


async def test_a_worker_that_wakes_up_writes_nothing(flush):
    """If it could, its stale state would be the last of each key, and compaction would keep it."""
    old = await flush.open_writer()
    await old.write(outputs(b"1"), [(b"x", b"1")], 1, 0)
    new = await flush.open_writer()
    with pytest.raises(FencedError, match="fenced: another one has taken"):
        await old.write(outputs(b"stale"), [(b"x", b"stale")], 9, 0)
    await new.write(outputs(b"2"), [(b"x", b"2")], 2, 0)
    assert await readable(flush, "windows") == [b"1", b"2"]
    found = await restore(flush.settings.bootstrap, flush.place.changelog, {1: None})
    assert found[1].values == {b"x": b"2"}


async def test_state_larger_than_a_record_batch_is_still_one_transaction(flush):
    writer = await flush.open_writer()
    changes = [(b"k%d" % i, b"v" * 1_000) for i in range(3_000)]
    end = await writer.write([], changes, 5, 0)
    assert end == 3_001
    found = await restore(flush.settings.bootstrap, flush.place.changelog, {1: None})
    assert found[1].values == dict(changes)
