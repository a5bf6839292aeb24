"""Drivers for what httpx cannot drive in-process: a streamed response, and a WebSocket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import FastAPI

PATIENCE = 20.0
"""Seconds until a test gives up; it waits for events, never for time."""


class Event(NamedTuple):
    """One server-sent event; a comment has no name."""

    name: str | None
    id: str | None
    data: Any
    comment: str | None = None


def parse_event(block: str) -> Event:
    found: dict[str, str] = {}
    for line in block.splitlines():
        field, _, value = line.partition(":")
        found[field or "comment"] = value.removeprefix(" ")
    data = json.loads(found["data"]) if "data" in found else None
    return Event(found.get("event"), found.get("id"), data, found.get("comment"))


class EventStream:
    """A client of an event stream that reads only when it is asked to."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.gone = asyncio.Event()
        self.reading = asyncio.Event()
        self.reading.set()
        self.ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._blocks: asyncio.Queue[str] = asyncio.Queue()

    async def receive(self) -> dict[str, Any]:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            self._changed.set()
            return
        await self.reading.wait()
        self.body += message.get("body", b"").replace(b"\r\n", b"\n")
        *blocks, rest = self.body.decode().split("\n\n")
        for block in blocks:
            self._blocks.put_nowait(block)
        if self.status == 200:
            self.body = rest.encode()

    async def begun(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._changed.wait()

    async def next(self) -> Event:
        async with asyncio.timeout(PATIENCE):
            return parse_event(await self._blocks.get())

    async def over(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.ended.wait()

    @property
    def waiting(self) -> int:
        return self._blocks.qsize()


def _scope(kind: str, path: str, params: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    return {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http" if kind == "http" else "ws",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": urlencode(params, doseq=True).encode(),
        "headers": [
            (k.lower().encode(), v.encode())
            for k, v in ({"host": "127.0.0.1:8080"} | headers).items()
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
        "subprotocols": [],
        "state": {},
        "extensions": {"websocket.http.response": {}},
    }


@asynccontextmanager
async def event_stream(
    app: FastAPI, path: str = "/api/v1/alerts/stream", *, token: str | None = None,
    last_id: str | None = None, headers: dict[str, str] | None = None, **params: Any,
) -> AsyncIterator[EventStream]:  # fmt: skip
    """Open a stream; leaving the block is the client's hanging up."""
    sent = dict(headers or {})
    if token:
        sent["authorization"] = f"Bearer {token}"
    if last_id is not None:
        sent["last-event-id"] = last_id
    stream = EventStream()

    async def run() -> None:
        try:
            await app(_scope("http", path, params, sent), stream.receive, stream.send)
        finally:
            stream.ended.set()

    task = asyncio.create_task(run())
    try:
        await stream.begun()
        yield stream
    finally:
        stream.gone.set()
        stream.reading.set()
        async with asyncio.timeout(PATIENCE):
            await task


class Socket:
    """The client's end of a WebSocket."""

    def __init__(self) -> None:
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()
        self.ended = asyncio.Event()
        self._in.put_nowait({"type": "websocket.connect"})

    async def receive(self) -> dict[str, Any]:
        return await self._in.get()

    async def send(self, message: dict[str, Any]) -> None:
        await self.reading.wait()
        self._out.put_nowait(message)

    def say(self, message: Any) -> None:
        text = message if isinstance(message, str) else json.dumps(message)
        self._in.put_nowait({"type": "websocket.receive", "text": text})

    async def raw(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            return await self._out.get()

    async def next(self) -> Any:
        message = await self.raw()
        assert message["type"] == "websocket.send", message
        return json.loads(message["text"])

    @property
    def waiting(self) -> int:
        return self._out.qsize()

    async def over(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.ended.wait()

    def leave(self) -> None:
        self._in.put_nowait({"type": "websocket.disconnect", "code": 1000})


@asynccontextmanager
async def socket(
    app: FastAPI, path: str = "/ws/metrics", *, token: str | None = None,
    headers: dict[str, str] | None = None, **params: Any,
) -> AsyncIterator[Socket]:  # fmt: skip
    """Connect a socket; leaving the block closes it."""
    sent = dict(headers or {})
    if token:
        sent["authorization"] = f"Bearer {token}"
    found = Socket()

    async def run() -> None:
        try:
            await app(_scope("websocket", path, params, sent), found.receive, found.send)
        finally:
            found.ended.set()

    task = asyncio.create_task(run())
    try:
        yield found
    finally:
        found.leave()
        found.reading.set()
        async with asyncio.timeout(PATIENCE):
            await task
