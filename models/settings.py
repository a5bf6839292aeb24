"""The settings of every process, read once from the environment (``BACKBEAT_*``).

``docs/configuration.md`` is generated from this class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from models.errors import ConfigurationError

ROLES = ("ingest", "windows", "alerts", "notify", "segments", "sqlite", "influxdb", "redis")
Role = Literal["ingest", "windows", "alerts", "notify", "segments", "sqlite", "influxdb", "redis"]


class Settings(BaseSettings):
    """Everything that can be set from outside; secrets never have a default."""

    model_config = SettingsConfigDict(env_prefix="BACKBEAT_", extra="ignore", frozen=True)

    app_id: str = Field("backbeat", description="Consumer group and prefix of changelog topics.")
    broker: str = Field("kafka://127.0.0.1:9092", description="Kafka bootstrap, kafka://host:port.")
    broker_kind: Literal["auto", "kafka", "tansu"] = Field(
        "auto", description="What the broker is; auto asks it. Tansu has no transactions."
    )
    topic_prefix: str = Field("", description="Put before every topic's name.")
    partitions: int = Field(
        4, ge=1, le=1024, description="Partitions of every topic; fixed once created."
    )
    replication: int = Field(1, ge=1, description="Replication factor of topics we create.")
    roles: Annotated[tuple[Role, ...], NoDecode] = Field(
        ("ingest", "windows", "alerts", "notify", "segments", "sqlite"),
        description="Comma list of what this worker does: " + ", ".join(ROLES) + ".",
    )
    series_config: Path = Field(
        Path("config/series.toml"), description="Which series exist, and their windows."
    )
    rules_config: Path = Field(Path("config/rules.toml"), description="Rules and receivers.")
    tenants: Annotated[tuple[str, ...], NoDecode] = Field(
        ("demo",), description="Comma list of tenants; events of others are dead letters."
    )

    flush_interval: float = Field(0.2, gt=0, description="Seconds between flushes of a partition.")
    flush_records: int = Field(
        5_000,
        ge=1,
        description="Records that make a batch due at once; folding one holds the loop.",
    )
    flush: Literal["auto", "transactions", "plain"] = Field(
        "auto",
        description="How a batch is made durable: transactions (exactly once, Apache Kafka) or plain "
        "(at least once, any broker); auto takes transactions where the broker has them.",
    )
    flush_deadline: float = Field(
        8.0, gt=0, le=60, description="Seconds a flush may take before the worker leaves (70)."
    )
    liveness_seconds: float = Field(
        120.0, gt=0, description="Liveness fails when a partition with lag stood still for so long."
    )
    session_timeout: float = Field(10.0, description="Seconds until a silent worker is replaced.")
    group_instance_id: str | None = Field(None, description="Static membership, unique a worker.")

    data_dir: Path = Field(Path("data"), description="Where embedded stores keep their files.")
    sqlite_path: Path | None = Field(None, description="SQLite file; default DATA_DIR/backbeat.db.")
    redis_url: SecretStr | None = Field(None, description="redis:// address of latest values.")
    influxdb_url: str | None = Field(None, description="InfluxDB 1.8 address, http://host:8086.")
    influxdb_token: SecretStr | None = Field(None, description="user:password for 1.8.")
    influxdb_org: str = Field("-", description="Organisation; '-' for 1.8.")
    influxdb_bucket: str = Field("backbeat/autogen", description="database/retention policy.")
    webhook_url: SecretStr | None = Field(
        None,
        description="Address that receivers of kind 'webhook' post to; without it, none is sent.",
    )
    webhook_timeout: float = Field(5.0, gt=0, description="Seconds a webhook may take.")
    webhook_attempts: int = Field(6, ge=1, description="Tries before a notification has failed.")

    api_host: str = Field(
        "127.0.0.1",
        description="Address at which commands find the API; without tokens it must be loopback. "
        "Where the server listens is told to it, by `--host`.",
    )
    api_port: int = Field(
        8080,
        description="Port at which commands find the API and its page; the server's is `--port`.",
    )
    api_tokens: SecretStr | None = Field(
        None,
        description="JSON object token -> tenant. Without it only a loopback API starts, which "
        "then serves the first tenant.",
    )
    metrics_host: str = Field(
        "127.0.0.1", description="Address of the worker's metrics and health."
    )
    metrics_port: int = Field(9101, description="Port of the worker's metrics and health; 0: none.")
    log_level: str = Field("info", description="Least level that is logged.")
    log_format: Literal["json", "text"] = Field(
        "json", description="Shape of a log line: an object, or text for people."
    )

    @field_validator("roles", "tenants", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def sqlite_file(self) -> Path:
        """The SQLite file in use."""
        return self.sqlite_path or self.data_dir / "backbeat.db"

    @property
    def bootstrap(self) -> str:
        """The broker as aiokafka wants it: host:port[,host:port]."""
        return self.broker.replace("kafka://", "").replace(";", ",")

    def topic(self, name: str) -> str:
        """The full name of a topic of the table."""
        return f"{self.topic_prefix}{name}"


def read_settings(**given: Any) -> Settings:
    """The settings of the environment, but for what is ``given``.

    Raises:
        ConfigurationError: one line about the first variable that cannot be used.
    """
    try:
        return Settings(**given)
    except ValidationError as exc:
        first = exc.errors()[0]
        name = "_".join(str(x) for x in first["loc"]).upper()
        msg = f"BACKBEAT_{name}: {first['msg']}; see docs/configuration.md"
        raise ConfigurationError(msg) from exc
