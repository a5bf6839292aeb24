"""Stores and feeds as the settings ask for them; the only place that chooses among the adapters."""

from __future__ import annotations

from models.config import SeriesConfig
from models.errors import ConfigurationError
from models.settings import Settings
from storage.feeds import AlertFeed
from storage.influxdb import InfluxSink
from storage.kafka_feed import KafkaAlertFeed
from storage.protocols import LatestValues, Sink
from storage.redis import RedisLatest, RedisSink
from storage.redis_feed import RedisAlertFeed
from storage.sqlite import SqliteSink
from storage.sqlite_queries import SqliteQueries


def create_sink(name: str, settings: Settings, series: SeriesConfig) -> Sink:
    """The sink of a role.

    Raises:
        ConfigurationError: the role needs a setting that is missing.
    """
    if name == "sqlite":
        settings.sqlite_file.parent.mkdir(parents=True, exist_ok=True)
        return SqliteSink(settings.sqlite_file, series)
    if name == "redis":
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
        return RedisAlertFeed(_redis_url(settings))
    topics = settings.topic("alerts"), settings.topic("cluster")
    return KafkaAlertFeed(settings.bootstrap, topics[0], cluster_topic=topics[1])


def create_latest(settings: Settings) -> LatestValues | None:
    """The newest windows, where Redis holds them."""
    return None if settings.redis_url is None else RedisLatest(_redis_url(settings))


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
    return InfluxSink(
        settings.influxdb_url,
        settings.influxdb_token.get_secret_value(),
        series,
        settings.influxdb_bucket,
        settings.influxdb_org,
    )
