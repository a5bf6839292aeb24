"""Stores and feeds as the settings ask for them; the only place that chooses among the adapters.

Redis' and InfluxDB's clients take half a second to import, so they are imported where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.config import SeriesConfig
from models.errors import ConfigurationError
from models.settings import Settings
from storage.feeds import AlertFeed
from storage.kafka_feed import KafkaAlertFeed
from storage.protocols import Sink
from storage.sqlite import SqliteSink
from storage.sqlite_queries import SqliteQueries

if TYPE_CHECKING:
    from storage.redis import RedisLatest


def create_sink(name: str, settings: Settings, series: SeriesConfig) -> Sink:
    """The sink of a role.

    Raises:
        ConfigurationError: the role needs a setting that is missing.
    """
    if name == "sqlite":
        settings.sqlite_file.parent.mkdir(parents=True, exist_ok=True)
        return SqliteSink(settings.sqlite_file, series)
    if name == "redis":
        from storage.redis import RedisSink

        return RedisSink(_redis_url(settings))
    if name == "influxdb":
        return _influx_sink(settings, series)
    msg = f"there is no sink {name!r}; there are sqlite, influxdb, redis"
    raise ConfigurationError(msg)


def create_queries(settings: Settings, series: SeriesConfig) -> SqliteQueries:
    """What the API asks: the embedded store."""
    return SqliteQueries(settings.sqlite_file, series)


def create_feed(settings: Settings) -> AlertFeed:
    """Alerts as they come: fanned out by Redis where there is one, else from the topic."""
    if settings.redis_url is not None:
        from storage.redis_feed import RedisAlertFeed

        return RedisAlertFeed(_redis_url(settings))
    topics = settings.topic("alerts"), settings.topic("cluster")
    return KafkaAlertFeed(settings.bootstrap, topics[0], cluster_topic=topics[1])


def create_latest(settings: Settings) -> RedisLatest | None:
    """The newest windows, where Redis holds them."""
    if settings.redis_url is None:
        return None
    from storage.redis import RedisLatest

    return RedisLatest(_redis_url(settings))


def _redis_url(settings: Settings) -> str:
    if settings.redis_url is None:
        msg = "role redis needs BACKBEAT_REDIS_URL, such as redis://127.0.0.1:6379/0"
        raise ConfigurationError(msg)
    return settings.redis_url.get_secret_value()


def _influx_sink(settings: Settings, series: SeriesConfig) -> Sink:
    if settings.influxdb_url is None or settings.influxdb_token is None:
        msg = (
            "role influxdb needs BACKBEAT_INFLUXDB_URL and BACKBEAT_INFLUXDB_TOKEN (user:password)"
        )
        raise ConfigurationError(msg)
    from storage.influxdb import InfluxSink

    return InfluxSink(
        settings.influxdb_url,
        settings.influxdb_token.get_secret_value(),
        series,
        settings.influxdb_bucket,
        settings.influxdb_org,
    )
