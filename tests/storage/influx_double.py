"""A server that says it is InfluxDB and answers writes by a script, on loopback."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = tuple[int, dict[str, str], str]

TAKEN: Answer = (204, {}, "")


@dataclass
class InfluxDouble:
    """`answer(lines)` decides about each write; `requests` are the lines of all of them."""

    answer: Callable[[list[str]], Answer | None] = lambda _: TAKEN
    requests: list[list[str]] = field(default_factory=list)
    url: str = ""
    in_flight: int = 0
    most_in_flight: int = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["InfluxDouble"]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        answer = self._answer(head.split()[1], headers, body)
        await asyncio.sleep(0)
        self.in_flight -= 1
        if answer is not None:  # None: the connection breaks
            status, extra, text = answer
            fields = {"Content-Length": str(len(text)), "Connection": "close", **extra}
            lines = [f"HTTP/1.1 {status} Told", *(f"{k}: {v}" for k, v in fields.items())]
            writer.write(("\r\n".join(lines) + "\r\n\r\n" + text).encode())
            await writer.drain()
        writer.close()

    def _answer(self, target: str, headers: dict[str, str], body: bytes) -> Answer | None:
        if target.startswith("/query"):
            return 200, {}, json.dumps({"results": [{"statement_id": 0}]})
        assert headers["content-encoding"] == "gzip"
        lines = gzip.decompress(body).decode().split("\n")
        self.requests.append(lines)
        return self.answer(lines)
