"""The alert feed of an API that sees Redis but not Kafka: the stream that ``RedisSink`` fills."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from redis.asyncio import Redis

from models.errors import StorageError, StorageUnavailableError
from models.logs import Unreadable
from models.records import decode_alert
from storage.feeds import QUEUE, RING, BroadcastFeed, FeedRecord, end_task
from storage.redis import Keys, claim, connect, converted

_log = logging.getLogger(__name__)

_BLOCK = 1_000  # ms that one read waits for news
_AT_ONCE = 500
_PAUSE = 1.0  # s between tries while Redis is away

_Entry = tuple[str, Mapping[str, str]]


class RedisAlertFeed(BroadcastFeed):
    """Implements ``AlertFeed``. While Redis is away subscribers wait, and miss nothing that it kept."""

    def __init__(
        self,
        url: str,
        prefix: str = "bb",
        ring: int = RING,
        queue: int = QUEUE,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(ring, queue)
        self._url = url
        self._keys = Keys(prefix)
        self._ring = ring
        self._timeout = timeout
        self._client: Redis | None = None
        self._task: asyncio.Task[None] | None = None
        self.undecodable = 0
        """Entries that were passed over because they hold no alert."""
        self._unreadable = Unreadable(_log, "record is no alert")

    async def start(self) -> None:
        """See ``AlertFeed``."""
        if self._task is not None:
            return
        self._client = connect(self._url, self._timeout)
        try:
            last = await self._load(self._client)
        except StorageError:
            await self._client.aclose()
            raise
        self._task = asyncio.create_task(self._follow(self._client, last), name="redis-alert-feed")

    async def stop(self) -> None:
        """See ``AlertFeed``."""
        task, self._task = self._task, None
        if task is not None:
            await end_task(task)
        if self._client is not None:
            await self._client.aclose()
        self._broadcast.close()

    async def _load(self, client: Redis) -> str:
        """Fill the ring from the stream's end; the id of its last entry."""
        async with converted("reading the stream of alerts"):
            self._cluster_id = await claim(client, self._keys)
            pipeline = client.pipeline(transaction=True)
            pipeline.xrevrange(self._keys.alerts, count=self._ring)
            pipeline.hgetall(self._keys.last)
            newest_first, offsets = await pipeline.execute()
        entries: list[_Entry] = list(reversed(newest_first))
        for _, fields in entries:
            # Before the first entry of a partition nothing is held but what its sender says.
            self._broadcast.begin(int(fields["partition"]), int(fields["previous"]))
        for partition, offset in offsets.items():
            self._broadcast.begin(int(partition), int(offset))
        self._feed(entries)
        return entries[-1][0] if entries else "0-0"

    async def _follow(self, client: Redis, last: str) -> None:
        while True:
            try:
                last = await self._read(client, last)
            except StorageUnavailableError as exc:
                _log.warning("alert feed waits for Redis", extra={"error": str(exc)})
                await asyncio.sleep(_PAUSE)
            except StorageError as exc:
                _log.exception("alert feed failed")
                self._broadcast.close(exc)
                await asyncio.sleep(_PAUSE)

    async def _read(self, client: Redis, last: str) -> str:
        async with converted("waiting for alerts"):
            streams: Any = await client.xread({self._keys.alerts: last}, _AT_ONCE, _BLOCK)
        entries: list[_Entry] = streams[0][1] if streams else []
        if not entries:
            return last
        if reason := self._break(entries):
            self._begin_anew(reason)
            return await self._load(client)
        self._feed(entries)
        return entries[-1][0]

    def _break(self, entries: list[_Entry]) -> str | None:
        """Why these entries do not follow what was fed; None where they do."""
        end = dict(self._broadcast.end)
        for _, fields in entries:
            partition, previous = int(fields["partition"]), int(fields["previous"])
            if fields["cluster"] != self._cluster_id:
                return "the alerts come from another Kafka cluster now; take a snapshot"
            if previous > end.get(partition, -1):
                return (
                    f"alerts up to offset {previous} of partition {partition} were trimmed unseen"
                )
            end[partition] = int(fields["offset"])
        return None

    def _feed(self, entries: list[_Entry]) -> None:
        for _, fields in entries:
            partition, offset = int(fields["partition"]), int(fields["offset"])
            try:
                alert = decode_alert(fields["alert"])
            except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
                self.undecodable += 1
                self._unreadable.write(self._keys.alerts, exc, partition=partition, offset=offset)
                self._broadcast.skip(partition, offset)
                continue
            self._broadcast.feed(FeedRecord(partition, offset, alert))
