"""InfluxDB 1.8: the sink that writes windows as points, for dashboards and long keeping.

A point written again overwrites itself, but InfluxDB has no "only if the revision is higher". It
needs none: all revisions of a window are in one partition of the topic, so they are written, and
written again after a restart, in their order, and the last one stays. It keeps no positions
either; the consumer group's committed offset is where a restart goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import aiohttp
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.rest import ApiException
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from models.config import SeriesConfig, format_duration
from models.errors import StorageError, StorageUnavailableError
from models.records import LIVE, Window
from storage.influxql import Bucket, InfluxQL, identifier, parse_bucket
from storage.line_protocol import alert_line, finding_line, window_lines
from storage.protocols import Rows
from storage.retention import ROLL_UP_AFTER, policy_for
from storage.series_rows import fault

_log = logging.getLogger(__name__)

BATCH = 5_000
"""Lines in one request, at most."""

_MAX_BAD_LINES = 50  # in one write; more means that something is wrong with all of them
_BACKOFF = wait_random_exponential(multiplier=0.2, max=10)
_HOUR = 3_600_000


class _PassingError(Exception):
    """The server did not take a request, and may take it later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _RefusedError(Exception):
    """The server refused some or all lines of a request for good."""


def live_policies(series: SeriesConfig) -> dict[str, int]:
    """The retention policies that live windows need: name -> duration in ms."""
    durations = {w.retention for w in series.windows}
    durations |= {min(w.retention, ROLL_UP_AFTER) for w in series.windows if w.keep_every}
    # InfluxDB keeps nothing for less than an hour.
    return {f"bb_{format_duration(d)}": max(d, _HOUR) for d in sorted(durations)}


class InfluxSink:
    """Implements ``Sink`` for windows, alerts and findings. One request is in flight at a time.

    Live windows go to a retention policy made for how long their size is kept; of a size that is
    rolled up, only those that stay go to the long one. Other streams, alerts and findings go to
    the bucket's own policy: a replay's times are older than any retention. ``retry_for``: seconds
    for which a request is repeated before the write fails with ``StorageUnavailableError``.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        series: SeriesConfig,
        bucket: str = "backbeat/autogen",
        org: str = "-",
        timeout: float = 10.0,
        retry_for: float = 30.0,
    ) -> None:
        self._url = url
        self._token = token
        self._org = org
        self._config = series
        self._bucket = parse_bucket(bucket)
        self._timeout = timeout
        self._retry_for = retry_for
        self._client: InfluxDBClientAsync | None = None
        self.rejected: Counter[str] = Counter()
        """Rows and lines that could not be stored, by reason."""

    async def open(self) -> None:
        influxql = InfluxQL(self._url, self._token, self._timeout)
        try:
            await self._prepare(influxql)
        finally:
            await influxql.close()
        if self._client is None:
            self._client = InfluxDBClientAsync(
                self._url,
                self._token,
                self._org,
                timeout=int(self._timeout * 1000),
                enable_gzip=True,
            )

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def write(self, rows: Rows) -> None:
        # Some microseconds a line are too long for the loop when a pane closes for all groups.
        for bucket, lines in (await asyncio.to_thread(self._lines, rows)).items():
            for at in range(0, len(lines), BATCH):
                await self._store(bucket, lines[at : at + BATCH])

    async def positions(self, cluster: str = "") -> Mapping[tuple[str, int], int]:
        return {}

    async def sweep(self, now: int) -> int:
        return 0  # the retention policies do it

    async def _prepare(self, influxql: InfluxQL) -> None:
        """Make the database and the policies that are missing; needs an admin only for those."""
        database = identifier(self._bucket.database)
        known = await influxql.ask("SHOW DATABASES")
        if self._bucket.database not in {row["name"] for table in known for row in table.rows}:
            await influxql.ask(f"CREATE DATABASE {database}")
        found = await influxql.ask(f"SHOW RETENTION POLICIES ON {database}")
        policies = {row["name"]: row["duration"] for table in found for row in table.rows}
        wanted = live_policies(self._config)
        if self._bucket.policy not in policies:
            wanted[self._bucket.policy] = 0
        for name, duration in wanted.items():
            text = format_duration(duration) if duration else "INF"
            shape = f"{identifier(name)} ON {database} DURATION {text} REPLICATION 1"
            if name not in policies:
                await influxql.ask(f"CREATE RETENTION POLICY {shape}")

    def _lines(self, rows: Rows) -> dict[Bucket, list[bytes]]:
        lines: dict[Bucket, list[bytes]] = {}
        for window in self._last_revisions(rows.windows):
            lines.setdefault(self._bucket_of(window), []).extend(window_lines(window))
        events = [*map(alert_line, rows.alerts), *map(finding_line, rows.findings)]
        if events:
            lines.setdefault(self._bucket, []).extend(events)
        return lines

    def _last_revisions(self, windows: Iterable[Window]) -> Iterable[Window]:
        last: dict[str, Window] = {}
        for window in windows:
            if reason := fault(window):
                self.rejected[reason] += 1
                _log.error("window rejected", extra={"reason": reason, "window": window.id})
            elif (known := last.get(window.id)) is None or known.revision < window.revision:
                last[window.id] = window
        return last.values()

    def _bucket_of(self, window: Window) -> Bucket:
        if window.stream != LIVE:
            return self._bucket
        policy = policy_for(window.size, window.slide, self._config.windows)
        kept = policy.retention
        if policy.keep_every and window.start % policy.keep_every:
            kept = min(kept, ROLL_UP_AFTER)
        return Bucket(self._bucket.database, f"bb_{format_duration(kept)}")

    async def _store(self, bucket: Bucket, lines: Sequence[bytes]) -> None:
        """Send lines; where some are refused, halve until only those are left out."""
        waiting = [lines]
        bad = 0
        while waiting:
            part = waiting.pop()
            try:
                await self._send(bucket, part)
            except _RefusedError as exc:
                if len(part) > 1:
                    waiting += [part[len(part) // 2 :], part[: len(part) // 2]]
                    continue
                bad += 1
                self.rejected["refused"] += 1
                _log.error(
                    "line refused",
                    extra={"error": str(exc), "line": part[0][:500].decode(errors="replace")},
                )
                if bad > _MAX_BAD_LINES:
                    msg = f"InfluxDB refuses line after line; the last one because: {exc}"
                    raise StorageError(msg) from exc

    async def _send(self, bucket: Bucket, lines: Sequence[bytes]) -> None:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_PassingError),
                wait=_wait,
                stop=stop_after_delay(self._retry_for),
                reraise=True,
            ):
                with attempt:
                    await self._request(bucket, lines)
        except _PassingError as exc:
            msg = f"InfluxDB has not taken {len(lines)} lines for {self._retry_for:g} s: {exc}"
            raise StorageUnavailableError(msg) from exc

    async def _request(self, bucket: Bucket, lines: Sequence[bytes]) -> None:
        if self._client is None:
            msg = "the InfluxDB sink is not open"
            raise StorageError(msg)
        api = self._client.write_api()
        try:
            await api.write(str(bucket), self._org, b"\n".join(lines), write_precision="ms")
        except ApiException as exc:
            self._judge(exc)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _PassingError(repr(exc)) from exc

    def _judge(self, exc: ApiException) -> None:
        """Raise what an answer means; returns if all that could be stored has been."""
        body = exc.body.decode(errors="replace") if exc.body else exc.reason
        text = f"{exc.status} {body}"[:1000]
        if exc.status == 429 or exc.status >= 500:
            raise _PassingError(text, _retry_after(exc)) from exc
        if exc.status not in {400, 422}:
            msg = f"InfluxDB refuses writes to {self._bucket.database}: {text}"
            raise StorageError(msg) from exc
        if "beyond retention policy" not in text:
            raise _RefusedError(text) from exc
        _, _, dropped = text.partition("dropped=")
        number = int("".join(c for c in dropped[:9] if c.isdigit()) or 1)
        self.rejected["retention"] += number
        _log.warning("lines older than their retention", extra={"lines": number})


def _wait(state: RetryCallState) -> float:
    """The server's own wish, if it has one; else longer and longer, with jitter."""
    exc = state.outcome.exception() if state.outcome else None
    if isinstance(exc, _PassingError) and exc.retry_after is not None:
        return exc.retry_after
    return _BACKOFF(state)


def _retry_after(exc: ApiException) -> float | None:
    headers: Mapping[str, Any] = exc.headers or {}
    try:
        return min(float(headers["Retry-After"]), 60.0)
    except (KeyError, ValueError):
        return None
