"""A webhook receiver in a thread: keeps every request it gets, and is sometimes unavailable."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self


class Request(NamedTuple):
    """One post: its idempotency key, its body, and what was answered."""

    key: str
    body: bytes
    status: int

    @property
    def content(self) -> dict[str, Any]:
        """The body without ``seen_at``: when this version was made, which a repeat makes anew."""
        content: dict[str, Any] = json.loads(self.body)
        content["alert"].pop("seen_at", None)
        return content


class WebhookRecorder:
    """Answers 204, but 503 to the first try of every ``refuse_every``-th key."""

    def __init__(self, refuse_every: int = 5) -> None:
        self.requests: list[Request] = []
        self._refuse_every = refuse_every
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"recorder": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self._server.server_port}/hook"

    def take(self, key: str, body: bytes) -> int:
        """Record one request; the status to answer."""
        with self._lock:
            is_new = key not in self._seen
            self._seen.add(key)
            refused = is_new and len(self._seen) % self._refuse_every == 0
            status = 503 if refused else 204
            self.requests.append(Request(key, body, status))
            return status

    def accepted(self) -> list[Request]:
        """The requests that were answered well."""
        with self._lock:
            return [r for r in self.requests if r.status == 204]


class _Handler(BaseHTTPRequestHandler):
    recorder: WebhookRecorder
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.recorder.take(self.headers["Idempotency-Key"], body)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Keep requests out of the log."""
