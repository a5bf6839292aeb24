"""Foreign bytes where alerts, models and rules are expected: one warning each, and nobody stops."""

from types import SimpleNamespace

import pytest
from aiokafka.structs import TopicPartition

from engine.global_store import GlobalStore
from models.records import decode_alert
from storage.compacted import MemoryTable
from storage.kafka_feed import KafkaAlertFeed
from storage.redis_feed import RedisAlertFeed

FOREIGN = [b"{", b"[]", b'{"id": "\xff"}', b'{"odd": ' + b"[" * 100_000, b""]


def _kafka(value):
    feed = KafkaAlertFeed("127.0.0.1:9", "alerts")
    feed._feed([SimpleNamespace(topic="alerts", partition=0, offset=7, value=value)])


def _redis(value):
    feed = RedisAlertFeed("redis://127.0.0.1:9/0")
    text = value.decode("utf-8", "surrogateescape")
    feed._feed([("1-0", {"partition": "0", "offset": "7", "alert": text})])


def _table(value):
    MemoryTable("alerts", decode_alert).take(b"key", value)


def _store(value):
    store = GlobalStore("127.0.0.1:9", "alerts", decode_alert)
    store._take(TopicPartition("alerts", 0), [SimpleNamespace(key=b"key", value=value)])


@pytest.mark.parametrize("value", FOREIGN, ids=range(len(FOREIGN)))
@pytest.mark.parametrize("read", [_kafka, _redis, _table, _store])
def test_foreign_bytes_are_a_warning_without_a_traceback(read, value, caplog):
    read(value)
    (line,) = caplog.records
    assert (line.levelname, line.exc_info, line.topic[-6:]) == ("WARNING", None, "alerts")
    assert line.error
