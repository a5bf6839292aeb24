"""The worker's own small HTTP port: metrics and health, from a thread.

It answers even when the event loop is stuck, and then says so: Faust's web server would not.
"""

from __future__ import annotations

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

if TYPE_CHECKING:
    from engine.app import Engine

log = logging.getLogger("backbeat.engine")


class StatusServer:
    """``/metrics``, ``/health/live`` and ``/health/ready`` of one worker."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Bind and serve from a daemon thread; port 0 in the settings means none."""
        settings = self._engine.settings
        if not settings.metrics_port:
            return
        handler = type("Handler", (_Handler,), {"engine": self._engine})
        self._server = ThreadingHTTPServer((settings.metrics_host, settings.metrics_port), handler)
        threading.Thread(target=self._server.serve_forever, name="status", daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def readiness(engine: Engine) -> tuple[bool, dict[str, Any]]:
    """Ready when every global store is complete and every assigned partition restored."""
    status = engine.status()
    parts = [p for step in status["steps"].values() for p in step]
    assigned = bool(parts) or not engine.steps  # a worker of stores only has no partitions
    ready = assigned and all(p["ready"] for p in parts) and all(status["globals"].values())
    return ready, status


def liveness(engine: Engine) -> tuple[bool, dict[str, Any]]:
    """Alive unless a partition with something to read has stood still for too long."""
    still = {
        f"{step.topic}[{p.tp.partition}]": round(p.stood_still(), 1)
        for step in engine.steps.values()
        for p in list(step.partitions.values())
    }
    limit = engine.settings.liveness_seconds
    return all(s < limit for s in still.values()), {"standing_still_for": still}


class _Handler(BaseHTTPRequestHandler):
    engine: Engine

    def do_GET(self) -> None:
        """Route by path."""
        if self.path == "/metrics":
            body = generate_latest(self.engine.metrics.registry)
            self._answer(200, body, CONTENT_TYPE_LATEST)
        elif self.path in {"/health/live", "/health/ready"}:
            check = liveness if self.path.endswith("live") else readiness
            good, status = check(self.engine)
            body = json.dumps({"ok": good, **status}).encode()
            self._answer(200 if good else 503, body, "application/json")
        else:
            self._answer(404, b"not found", "text/plain")

    def _answer(self, code: int, body: bytes, content_type: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Keep requests out of the log."""
