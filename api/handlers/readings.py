"""The socket of newest windows, ``/ws/metrics``.

The client names what it watches in the address (``?series=…&group=…``) or by messages; every
message either way is one JSON object with a ``type`` (``api.schemas.socket``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, WebSocket
from starlette.websockets import WebSocketDisconnect

from api.context import Context, Who
from api.metrics import ApiMetrics
from api.schemas.socket import (
    Answer,
    MetricUpdate,
    Ping,
    Pong,
    SocketError,
    Subscribe,
    Subscribed,
    decode_request,
)
from api.services.readings import ReadingsHub, Watcher
from models.errors import StorageUnavailableError

router = APIRouter()

MAX_MESSAGE = 64 * 1024
SEND_TIMEOUT_S = 10.0
"""How long one message may wait for the client's socket."""

_TRY_LATER = 1013
_TOO_BIG = 1009


@router.websocket("/ws/metrics")
async def watch_readings(
    socket: WebSocket,
    context: Context,
    who: Who,
    series: Annotated[list[str] | None, Query()] = None,
    group: Annotated[list[str] | None, Query()] = None,
) -> None:
    """Send a ``metric_update`` for every new window of what is watched."""
    await socket.accept()
    session = ReadingsSession(socket, context.readings, context.metrics)
    await session.run(who.tenant, series or (), group or ())


class _TooLongError(Exception):
    """A message is longer than any that is understood."""


class ReadingsSession:
    """One client: what it says is read while what it watches is sent."""

    def __init__(self, socket: WebSocket, hub: ReadingsHub, metrics: ApiMetrics) -> None:
        self._socket = socket
        self._hub = hub
        self._metrics = metrics
        self._sending = asyncio.Lock()

    async def run(self, tenant: str, series: Sequence[str], groups: Sequence[str]) -> None:
        """Serve until the client leaves, or does not keep up."""
        watcher = self._hub.join(tenant)
        try:
            if series or groups:
                await self._watch(watcher, series, groups)
            await self._serve(watcher)
        except WebSocketDisconnect:
            pass
        except TimeoutError:
            await self._drop("blocked")
        except _TooLongError:
            await self._close(_TOO_BIG, f"a message was longer than {MAX_MESSAGE} bytes")
        else:
            if watcher.dropped:
                await self._drop("slow")
        finally:
            self._hub.leave(watcher)

    async def _serve(self, watcher: Watcher) -> None:
        """Read and write until either side is done; the other is then stopped."""
        sides = [
            asyncio.create_task(self._read(watcher)),
            asyncio.create_task(self._write(watcher)),
        ]
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
        for side in done:
            side.result()

    async def _read(self, watcher: Watcher) -> None:
        """Do as the client says, until it leaves."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text") or message.get("bytes") or ""
            if len(text) > MAX_MESSAGE:
                raise _TooLongError
            try:
                request = decode_request(text)
            except (msgspec.ValidationError, msgspec.DecodeError) as exc:
                await self._send(SocketError(reason="invalid_message", detail=str(exc)))
                continue
            if isinstance(request, Ping):
                await self._send(Pong())
            elif isinstance(request, Subscribe):
                await self._watch(watcher, request.series, request.groups)
            else:
                watcher.watched.difference_update(request.series)
                await self._send(Subscribed(series=sorted(watcher.watched), unknown=[]))

    async def _watch(self, watcher: Watcher, series: Sequence[str], groups: Sequence[str]) -> None:
        try:
            watched, unknown = await self._hub.watch(watcher, series, groups)
        except StorageUnavailableError:
            detail = "the store does not answer; subscribe again"
            await self._send(SocketError(reason="unavailable", detail=detail))
        else:
            await self._send(Subscribed(series=watched, unknown=unknown))

    async def _write(self, watcher: Watcher) -> None:
        """Send what is watched; return when the watcher has been dropped."""
        while (reading := await watcher.next()) is not None:
            await self._send(MetricUpdate(data=reading))

    async def _send(self, answer: Answer) -> None:
        async with self._sending, asyncio.timeout(SEND_TIMEOUT_S):
            await self._socket.send_text(answer.model_dump_json())

    async def _drop(self, reason: str) -> None:
        self._metrics.subscribers_dropped.labels("websocket", reason).inc()
        await self._close(_TRY_LATER, "too slow; connect again")

    async def _close(self, code: int, reason: str) -> None:
        with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.close(code, reason)
