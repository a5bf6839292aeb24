"""Readiness: every part is asked at once, each with a time-out of its own.

Only what the API itself needs makes it not ready. A worker that is behind is reported with its
lag, but does not take the API out of service: reading still works, and says how old things are.
Probes are open to anybody, so addresses and drivers' messages go to the log, not into the answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Literal

from api.schemas.health import Health, Part
from api.services.lag import Lag, LagProbe
from api.services.starter import Starter
from models.errors import StorageError
from storage.protocols import AlertFilter, Queries

log = logging.getLogger(__name__)

TIMEOUT_S = 2.0
BEHIND_RECORDS = 10_000
"""From this many unhandled records of one topic on, its reader is called behind."""

READERS: dict[str, str] = {
    "worker/plays": "counts plays",
    "worker/metrics": "counts metrics",
    "worker/partials": "closes windows and judges them",
    "worker/evidence": "finds which slices explain an alert, and judges metrics together",
    "worker/findings": "turns findings into alerts",
    "worker/features": "sorts listeners into segments",
    "notify/notifications": "sends notifications",
}
"""What stands still when a reader is behind."""


class HealthChecker:
    """Asks the store, the connections and the broker."""

    def __init__(
        self,
        queries: Queries,
        tenant: str,
        starters: Sequence[Starter],
        lag: LagProbe | None,
        timeout: float = TIMEOUT_S,
    ) -> None:
        self._queries = queries
        self._tenant = tenant
        self._starters = starters
        self._lag = lag
        self._timeout = timeout
        self._was_up: bool | None = None
        """Whether the store ever answered; None before it was asked."""

    async def check(self) -> Health:
        """Every part's state; takes no longer than the time-out."""
        store, readers = await asyncio.gather(self._store(), self._readers())
        parts = [store, *map(_connection, self._starters), *readers]
        status: Literal["ready", "behind", "not_ready"] = "ready"
        if any(p.required and p.status == "down" for p in parts):
            status = "not_ready"
        elif any(p.status == "behind" for p in parts):
            status = "behind"
        return Health(status=status, parts=parts)

    async def _store(self) -> Part:
        try:
            async with asyncio.timeout(self._timeout):
                await self._queries.alerts(self._tenant, AlertFilter(), 1, None)
        except (StorageError, TimeoutError) as exc:
            if self._was_up:
                log.warning("store is down", extra={"error": repr(exc)})
            elif self._was_up is None:  # its worker starts beside us, and we are asked all the time
                log.info("store is not up yet", extra={"error": repr(exc)})
                self._was_up = False
            return Part(name="store", status="down", required=True, detail="does not answer")
        self._was_up = True
        return Part(name="store", status="ok", required=True)

    async def _readers(self) -> list[Part]:
        if self._lag is None:
            return []
        try:
            async with asyncio.timeout(self._timeout):
                lags = await self._lag.lags()
        except (StorageError, TimeoutError) as exc:
            log.warning("lag is unknown", extra={"error": repr(exc)})
            return [_unknown_worker("the broker does not say how far it is")]
        if not any(lag.part == "worker" for lag in lags):
            return [_unknown_worker("no worker has handled anything yet"), *map(_reader, lags)]
        return [_reader(lag) for lag in lags]


def _connection(starter: Starter) -> Part:
    if starter.started.is_set():
        return Part(name=starter.name, status="ok", required=starter.required)
    detail = "not connected yet"
    return Part(name=starter.name, status="down", required=starter.required, detail=detail)


def _reader(lag: Lag) -> Part:
    name = f"{lag.part}/{lag.topic}"
    behind = lag.records >= BEHIND_RECORDS
    return Part(
        name=name,
        status="behind" if behind else "ok",
        required=False,
        lag=lag.records,
        detail=READERS.get(name, f"{lag.part} stores {lag.topic}"),
    )


def _unknown_worker(detail: str) -> Part:
    return Part(name="worker", status="unknown", required=False, detail=detail)
