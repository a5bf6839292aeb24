"""Redis or Valkey: the newest window of each group, and alerts passed on to many readers.

A cache and a relay, never the truth. Windows replace each other by their own order, alerts are
taken once by their offset, and positions are kept beside what they speak for; each script runs
atomically, so writing the same rows again changes nothing. One server per installation: keys are
not spread over a Redis cluster's slots.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff

from models.errors import StorageError, StorageUnavailableError
from models.records import LIVE, Window, decode_window, to_json
from storage.protocols import Rows
from storage.series_rows import fault, newness

_log = logging.getLogger(__name__)

_CHUNK = 500  # groups in one script: a few ms in which the server does nothing else
_DAY = 86_400.0

# KEYS: a hash per group. ARGV: time to live in ms; then per key start, -size, count, revision, window.
_KEEP_NEWEST = """
for i, key in ipairs(KEYS) do
  local at = 1 + (i - 1) * 5
  local new = {}
  for n = 1, 4 do new[n] = tonumber(ARGV[at + n]) end
  local old = redis.call('HGET', key, 'order')
  local newer = true
  if old then
    local n = 0
    for text in string.gmatch(old, '%S+') do
      n = n + 1
      local value = tonumber(text)
      if new[n] ~= value then newer = new[n] > value break end
      newer = false
    end
  end
  if newer then
    local order = table.concat(ARGV, ' ', at + 1, at + 4)
    redis.call('HSET', key, 'order', order, 'window', ARGV[at + 5])
    redis.call('PEXPIRE', key, ARGV[1])
  end
end
"""

# KEYS: id, alerts, last offsets, positions. ARGV: cluster or ''. Offsets of another cluster mean
# nothing: all that rests on them goes.
_TURN = """
local known = redis.call('GET', KEYS[1])
if ARGV[1] ~= '' and ARGV[1] ~= known then
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
  redis.call('SET', KEYS[1], ARGV[1])
  known = ARGV[1]
end
"""

# As above; then stream length, number of alerts; per alert partition, offset, tenant, alert; then
# pairs of position and offset.
_RELAY = f"""{_TURN}
local at = 4
for _ = 1, tonumber(ARGV[3]) do
  local partition, offset = ARGV[at], ARGV[at + 1]
  local last = redis.call('HGET', KEYS[3], partition) or '-1'
  if tonumber(offset) > tonumber(last) then
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'cluster', known or '',
      'partition', partition, 'offset', offset, 'previous', last,
      'tenant', ARGV[at + 2], 'alert', ARGV[at + 3])
    redis.call('HSET', KEYS[3], partition, offset)
  end
  at = at + 4
end
while ARGV[at] do
  redis.call('HSET', KEYS[4], ARGV[at], ARGV[at + 1])
  at = at + 2
end
"""

# As above; then the id to take where there is none.
_CLAIM = f"""{_TURN}
if not known then
  known = ARGV[2]
  redis.call('SET', KEYS[1], known)
end
return known
"""


class Keys:
    """The names of everything we keep in Redis, all behind one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.alerts = f"{prefix}:alerts"
        self.last = f"{prefix}:alerts:last"
        self.cluster = f"{prefix}:alerts:cluster"
        self.positions = f"{prefix}:positions"
        self.relay = [self.cluster, self.alerts, self.last, self.positions]
        """What rests on the offsets of one cluster, behind its id."""

    def latest(self, tenant: str, group: str) -> str:
        """The hash of one group's newest window."""
        return f"{self.prefix}:{quote(tenant, safe='')}:latest:{group}"


def connect(url: str, timeout: float) -> Redis:
    """A client that gives up after a few quick tries; connects when first used."""
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5)
    return Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(backoff, 3),
        decode_responses=True,
        protocol=2,
    )


@asynccontextmanager
async def converted(what: str) -> AsyncIterator[None]:
    """Turn the client's errors into ours; what cannot pass by itself is a plain StorageError."""
    try:
        yield
    except (exceptions.AuthenticationError, exceptions.AuthorizationError) as exc:
        msg = f"Redis refused us while {what}: {exc}"
        raise StorageError(msg) from exc
    except (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.ReadOnlyError,
        exceptions.OutOfMemoryError,
        exceptions.ClusterDownError,
        exceptions.TryAgainError,
        OSError,
    ) as exc:
        msg = f"Redis is not to be had while {what}: {exc}"
        raise StorageUnavailableError(msg) from exc
    except exceptions.RedisError as exc:
        msg = f"Redis failed while {what}: {exc}"
        raise StorageError(msg) from exc


async def claim(client: Redis, keys: Keys, cluster: str = "") -> str:
    """The id of the cluster whose offsets are kept; another given id drops what is there."""
    return str(await client.register_script(_CLAIM)(keys.relay, [cluster, uuid4().hex]))


class RedisSink:
    """Implements ``Sink`` for live windows, alerts and positions; other rows it leaves alone.

    Alerts and positions of another cluster are dropped when a new one is spoken of. ``ttl``: seconds after which a group's newest window goes. ``length``: alerts kept, about.
    """

    def __init__(
        self,
        url: str,
        prefix: str = "bb",
        ttl: float = 2 * _DAY,
        length: int = 10_000,
        timeout: float = 5.0,
    ) -> None:
        self._url = url
        self._keys = Keys(prefix)
        self._ttl = int(ttl * 1000)
        self._length = length
        self._timeout = timeout
        self._client: Redis | None = None
        self.rejected: Counter[str] = Counter()
        """Windows that could not be stored, by reason."""

    async def open(self) -> None:
        client = self._client or connect(self._url, self._timeout)
        try:
            async with converted("opening the sink"):
                await claim(client, self._keys)
        except StorageError:
            await client.aclose()
            raise
        self._client = client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def write(self, rows: Rows) -> None:
        if len(rows.alert_offsets) != len(rows.alerts):
            msg = (
                f"{len(rows.alerts)} alerts came with {len(rows.alert_offsets)} offsets; "
                "Redis passes each on once, by its offset"
            )
            raise StorageError(msg)
        client = self._connected()
        async with converted("writing"):
            await self._write_windows(client, rows.windows)
            await self._relay(client, rows)

    async def positions(self, cluster: str = "") -> Mapping[tuple[str, int], int]:
        client = self._connected()
        async with converted("reading positions"):
            await claim(client, self._keys, cluster)
            stored: Any = await client.hgetall(self._keys.positions)
        found = {}
        for name, offset in stored.items():
            topic, _, partition = name.rpartition(":")
            found[topic, int(partition)] = int(offset)
        return found

    async def sweep(self, now: int) -> int:
        return 0  # windows expire and the stream is trimmed by themselves

    def _connected(self) -> Redis:
        if self._client is None:
            msg = "the Redis sink is not open"
            raise StorageError(msg)
        return self._client

    async def _write_windows(self, client: Redis, windows: Iterable[Window]) -> None:
        newest: dict[str, Window] = {}
        for window in windows:
            if reason := fault(window):
                self.rejected[reason] += 1
                _log.error("window rejected", extra={"reason": reason, "window": window.id})
                continue
            known = newest.get(window.group)
            if window.stream == LIVE and (known is None or newness(window) > newness(known)):
                newest[window.group] = window
        script = client.register_script(_KEEP_NEWEST)
        remaining = iter(newest.values())
        while chunk := list(islice(remaining, _CHUNK)):
            arguments: list[Any] = [self._ttl]
            for window in chunk:
                arguments += [*newness(window), to_json(window)]
            await script([self._keys.latest(w.tenant, w.group) for w in chunk], arguments)

    async def _relay(self, client: Redis, rows: Rows) -> None:
        if not rows.alerts and not rows.positions:
            return
        arguments: list[Any] = [rows.cluster, self._length, len(rows.alerts)]
        for alert, (partition, offset) in zip(rows.alerts, rows.alert_offsets, strict=True):
            arguments += [partition, offset, alert.tenant, to_json(alert)]
        for topic, partition, offset in rows.positions:
            arguments += [f"{topic}:{partition}", offset]
        await client.register_script(_RELAY)(self._keys.relay, arguments)


class RedisLatest:
    """Implements ``LatestValues``."""

    def __init__(self, url: str, prefix: str = "bb", timeout: float = 2.0) -> None:
        self._keys = Keys(prefix)
        self._client = connect(url, timeout)

    async def close(self) -> None:
        """Release the connections. Idempotent."""
        await self._client.aclose()

    async def latest(self, tenant: str, groups: Sequence[str]) -> Mapping[str, Window]:
        async with converted("reading the latest windows"):
            pipeline = self._client.pipeline(transaction=False)
            for group in groups:
                pipeline.hget(self._keys.latest(tenant, group), "window")
            stored = await pipeline.execute()
        return {
            group: decode_window(body)
            for group, body in zip(groups, stored, strict=True)
            if body is not None
        }
