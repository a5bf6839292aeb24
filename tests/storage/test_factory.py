"""What the settings ask for, and that nothing else is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ConfigurationError
from models.settings import Settings
from storage.factory import create_feed, create_latest, create_queries, create_sink
from storage.influxdb import InfluxSink
from storage.kafka_feed import KafkaAlertFeed
from storage.redis import RedisLatest, RedisSink
from storage.redis_feed import RedisAlertFeed
from storage.sqlite import SqliteSink
from tests.storage.rows import CONFIG

ROOT = Path(__file__).parents[2]


def test_clients_that_are_not_used_are_not_imported():
    program = "import sys, faust_app, api.app; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "aiokafka" in loaded
    assert not loaded & {"influxdb_client", "redis"}


async def test_each_setting_gets_its_adapter(tmp_path):
    settings = Settings(
        sqlite_path=tmp_path / "backbeat.db", redis_url="redis://127.0.0.1:1/0",
        influxdb_url="http://127.0.0.1:1", influxdb_token="u:p",
    )  # fmt: skip
    sinks = {name: type(create_sink(name, settings, CONFIG)) for name in ("sqlite", "redis")}
    assert sinks == {"sqlite": SqliteSink, "redis": RedisSink}
    assert isinstance(create_sink("influxdb", settings, CONFIG), InfluxSink)
    latest = create_latest(settings)
    assert isinstance(latest, RedisLatest)
    await latest.close()
    await create_queries(settings, CONFIG).close()
    assert isinstance(create_feed(settings), RedisAlertFeed)
    assert isinstance(create_feed(Settings()), KafkaAlertFeed)
    assert create_latest(Settings()) is None


@pytest.mark.parametrize(
    ("name", "wanted"), [("redis", "BACKBEAT_REDIS_URL"), ("influxdb", "BACKBEAT_INFLUXDB_TOKEN")]
)
def test_a_missing_address_is_named(name: str, wanted: str):
    with pytest.raises(ConfigurationError, match=wanted):
        create_sink(name, Settings(), CONFIG)
