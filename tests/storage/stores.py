"""The stores under contract, each as a way to open it again and to read all that it tells."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from models.records import Window, to_json
from storage.influxdb import InfluxSink
from storage.influxdb_queries import InfluxQueries
from storage.memory import MemoryStore
from storage.protocols import AlertFilter, Sink
from storage.redis import RedisLatest, RedisSink
from storage.series_rows import series_of
from storage.sqlite import SqliteSink
from storage.sqlite_queries import SqliteQueries
from tests.storage.rows import CONFIG, DAY, T0

ALL = ("memory", "sqlite", "influxdb", "redis")
RANGE = (T0 - 3_000 * DAY, T0 + 3_000 * DAY)


@dataclass
class Store:
    """One store: `sink()` and `queries()` connect to it anew, as a restarted process would."""

    name: str
    sink: Callable[[], Sink]
    queries: Callable[[], Any]
    queries_windows: bool = True
    queries_incidents: bool = False
    queries_latest: bool = False
    keeps_positions: bool = True
    guards_revisions: bool = True
    survives: bool = True
    redis: str = ""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Sink, Any]]:
        async with AsyncExitStack() as stack:
            sink = self.sink()
            stack.push_async_callback(sink.close)
            await sink.open()
            queries = self.queries()
            if queries is not sink:
                stack.push_async_callback(queries.close)
            yield sink, queries


def make_store(name: str, request: pytest.FixtureRequest) -> Store:
    """A store that nobody else uses; starts its server, or skips."""
    unique = f"t{uuid.uuid4().hex[:12]}"
    if name == "memory":
        memory = MemoryStore(CONFIG)
        return Store(
            name, lambda: memory, lambda: memory, queries_incidents=True, queries_latest=True,
            survives=False,
        )  # fmt: skip
    if name == "sqlite":
        path = request.getfixturevalue("tmp_path_factory").mktemp("sqlite") / "backbeat.db"
        return Store(
            name, lambda: SqliteSink(path, CONFIG), lambda: SqliteQueries(path, CONFIG),
            queries_incidents=True, queries_latest=True,
        )  # fmt: skip
    if name == "influxdb":
        server = request.getfixturevalue("influxdb_server")
        at = (server.url, server.token, CONFIG, unique)
        return Store(
            name, lambda: InfluxSink(*at), lambda: InfluxQueries(*at),
            keeps_positions=False, guards_revisions=False,
        )  # fmt: skip
    url = request.getfixturevalue("valkey_server").url
    return Store(
        name, lambda: RedisSink(url, prefix=unique), lambda: RedisLatest(url, prefix=unique),
        queries_windows=False, queries_latest=True, redis=f"{url}#{unique}",
    )  # fmt: skip


async def content(store: Store, queries: Any, windows: list[Window]) -> dict[str, Any]:
    """All that the store tells about these windows and about every incident, to be compared."""
    told: dict[str, Any] = {}
    if store.queries_windows:
        kinds = {(w.tenant, w.stream, w.size, key) for w in windows for key in keys_of(w)}
        for tenant, stream, size, key in sorted(kinds):
            points = await queries.windows(tenant, key, stream, *RANGE, None, size, 10_000)
            told[f"{key} {stream} {size}"] = list(points)
    if store.queries_latest:
        for tenant in ("acme", "globex"):
            groups = sorted({w.group for w in windows})
            told[f"latest {tenant}"] = {
                group: to_json(w) for group, w in (await queries.latest(tenant, groups)).items()
            }
    if store.queries_incidents:
        for tenant in ("acme", "globex"):
            told |= await _incidents(queries, tenant)
    if store.redis:
        told["stream"] = await alert_stream(store)
    return told


async def _incidents(queries: Any, tenant: str) -> dict[str, Any]:
    alerts, _ = await queries.alerts(tenant, AlertFilter(), 1000, None)
    told: dict[str, Any] = {f"alerts {tenant}": alerts}
    for incident in alerts:
        told[f"history {tenant} {incident.id}"] = await queries.alert_history(tenant, incident.id)
        told[f"sent {tenant} {incident.id}"] = await queries.deliveries(tenant, incident.id)
        found = await queries.findings(tenant, incident.series, incident.stream, *RANGE, 1000)
        told[f"findings {tenant} {incident.series}"] = found
    infos, _ = await queries.series(tenant, "", {}, 1000, None)
    told[f"series {tenant}"] = infos
    return told


async def alert_stream(store: Store) -> list[dict[str, str]]:
    """What the Redis sink has passed on."""
    url, _, prefix = store.redis.partition("#")
    client = Redis.from_url(url, decode_responses=True, protocol=2)
    try:
        return [fields for _, fields in await client.xrange(f"{prefix}:alerts")]
    finally:
        await client.aclose()


def keys_of(window: Window) -> list[str]:
    return [key for key, _, _ in series_of(window)]
