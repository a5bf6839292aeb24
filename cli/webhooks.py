"""A receiver of webhooks, just big enough for the demo: it takes every POST and says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

_MOST_BYTES = 1 << 20
_PATIENCE = 5.0

Received = Callable[[dict[str, Any]], None]


@asynccontextmanager
async def webhook_receiver(host: str, port: int, received: Received) -> AsyncIterator[str]:
    """Listen while the block runs; gives the address to post to."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                body = await _body(reader)
                status = "400 Bad Request" if body is None else "200 OK"
                head = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                writer.write(head.encode())
                await writer.drain()
            if body is not None:
                received(body)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            pass  # whoever it was did not speak HTTP; the next one may
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(handle, host, port)
    try:
        yield f"http://{host}:{port}/"
    finally:
        server.close()
        await server.wait_closed()


async def _body(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """The JSON object of a POST; None where it is something else."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    request, *lines = head.split("\r\n")
    fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    length = int(fields.get("content-length", "0"))
    if not request.startswith("POST ") or not 0 < length <= _MOST_BYTES:
        return None
    body = json.loads(await reader.readexactly(length))
    return body if isinstance(body, dict) else None
