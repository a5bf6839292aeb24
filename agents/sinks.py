"""Stores follow the output topics, each in a consumer group of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from engine import EngineApp, Follower
from engine.follower import Records
from models.logs import Unreadable
from models.records import (
    decode_alert,
    decode_delivery,
    decode_finding,
    decode_window,
)
from storage.cluster import identify
from storage.protocols import Position, Rows, Sink

log = logging.getLogger("backbeat.sinks")
_unreadable = Unreadable(log, "record is not one of its topic")

DECODERS = {
    "windows": decode_window,
    "findings": decode_finding,
    "alerts": decode_alert,
    "deliveries": decode_delivery,
}

SWEEP_SECONDS = 60.0


GROUPS = {"": ("windows",), "-alerts": ("findings", "alerts", "deliveries")}
"""Suffix of a sink's consumer group -> what it follows: alerts must not wait behind windows."""


def declare(app: EngineApp, name: str, sink: Sink) -> None:
    """Have ``sink`` follow the output topics, as groups ``<app>-<name>`` and ``<app>-<name>-alerts``."""
    settings = app.settings
    topics = {settings.topic(source): source for source in DECODERS}
    place = Place(app, name, sink)

    async def handle(records: Records) -> None:
        await sink.write(rows_of(records, topics, place.cluster, app))

    opening = asyncio.Lock()

    async def open_sink() -> None:
        async with opening:
            await sink.open()

    followers = [
        Follower(
            settings.bootstrap,
            f"{settings.app_id}-{name}{suffix}",
            [settings.topic(source) for source in sources],
            handle,
            prepare=open_sink,
            positions=place.positions,
            session_timeout=settings.session_timeout,
        )
        for suffix, sources in GROUPS.items()
    ]

    async def sweep() -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await sink.sweep(app.engine.now())
            except Exception:  # old rows stay a while longer; the sink itself must go on
                log.exception("sweep of %s failed; it is tried again", name)

    async def start() -> None:
        for follower in followers:
            await follower.start()
        app.add_future(sweep())

    async def stop() -> None:
        for follower in followers:
            await follower.stop()
        await sink.close()

    app.on_engine_start(start)
    app.on_engine_stop(stop)
    app.engine.followers += followers


class Place:
    """Where a sink stands in the topics of the cluster that is followed now."""

    def __init__(self, app: EngineApp, name: str, sink: Sink) -> None:
        self.cluster = ""
        self._app = app
        self._name = name
        self._sink = sink

    async def positions(self) -> Mapping[tuple[str, int], int]:
        """The sink's positions, asked for at each assignment: the broker may have been made anew.

        Raises:
            StorageError: the store or the broker does not answer.
        """
        settings = self._app.settings
        clients = {"bootstrap_servers": settings.bootstrap}
        cluster = await identify(clients, settings.topic("cluster"))
        found = await self._sink.positions(cluster)
        if cluster != self.cluster and not found:
            self._app.engine.metrics.count("sink_position", "none_of_this_cluster")
            log.info(
                "%s has no positions of this cluster: its groups begin where the broker has them",
                self._name, extra={"cluster": cluster},
            )  # fmt: skip
        self.cluster = cluster
        return found


def rows_of(records: Records, topics: Mapping[str, str], cluster: str, app: Any) -> Rows:
    """What a fetch holds, by kind. A record that cannot be decoded is counted and left out."""
    found: dict[str, list[Any]] = {source: [] for source in DECODERS}
    positions, alert_offsets = [], []
    for tp, batch in records.items():
        source = topics[tp.topic]
        decode = DECODERS[source]
        for record in batch:
            try:
                found[source].append(decode(record.value))
            except Exception as exc:  # noqa: BLE001 - foreign bytes must not stop a sink
                app.engine.metrics.count("sink_record", "undecodable")
                _unreadable.write(tp.topic, exc, partition=tp.partition, offset=record.offset)
            else:
                if source == "alerts":
                    alert_offsets.append((tp.partition, record.offset))
        positions.append(Position(tp.topic, tp.partition, batch[-1].offset + 1))
    return Rows(
        windows=found["windows"], findings=found["findings"], alerts=found["alerts"],
        deliveries=found["deliveries"], positions=positions, alert_offsets=alert_offsets,
        cluster=cluster,
    )  # fmt: skip
