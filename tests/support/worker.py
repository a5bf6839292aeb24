"""A worker process under test: started, killed and looked at from outside, as in production."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def wait_until(what: Callable[[], Any], seconds: float, describe: str) -> Any:
    """Poll until ``what()`` is true and return it; fail saying what was awaited."""
    deadline = time.monotonic() + seconds
    while True:
        if result := what():
            return result
        if time.monotonic() > deadline:
            msg = f"not within {seconds} s: {describe}"
            raise AssertionError(msg)
        time.sleep(0.05)


class Worker:
    """``faust -A APP worker``, configured by environment, logging to a file."""

    def __init__(self, app: str, folder: Path, **env: str) -> None:
        self.app = app
        self.folder = folder
        self.port = free_port()
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("BACKBEAT_")},
            "BACKBEAT_METRICS_PORT": str(self.port),
            "BACKBEAT_DATA_DIR": str(folder / "data"),
            "BACKBEAT_SESSION_TIMEOUT": "6",
            "PYTHONUNBUFFERED": "1",
            **env,
        }
        self.log = folder / f"worker-{self.port}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Worker:
        """Start the process; returns at once."""
        command = [sys.executable, "-m", "faust", "-A", self.app, "worker", "-l", "info",
                   "--without-web"]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self, how: int = signal.SIGKILL) -> int | None:
        """Send a signal and wait for the end; the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(30)

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def get(self, path: str) -> tuple[int, bytes]:
        """A status page; (0, b"") while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as r:
                return r.status, r.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (
            OSError,
            urllib.error.URLError,
            http.client.HTTPException,
        ):  # killed while it answers
            return 0, b""

    def status(self) -> dict[str, Any]:
        """The readiness document, or an empty one."""
        _, body = self.get("/health/ready")
        return json.loads(body) if body else {}

    def wait_ready(self, seconds: float = 60) -> None:
        """Wait until every assigned partition is restored."""
        self.wait(lambda: self.get("/health/ready")[0] == 200, seconds, "worker ready")

    def wait(self, what: Callable[[], Any], seconds: float, describe: str) -> Any:
        """As :func:`wait_until`, failing at once with the log's end if the process is gone."""

        def check() -> Any:
            if not self.is_running:
                raise AssertionError(f"worker is gone while waiting for {describe}:\n{self.tail()}")
            return what()

        try:
            return wait_until(check, seconds, describe)
        except AssertionError as exc:
            raise AssertionError(f"{exc}\n{self.tail()}") from None

    def lag(self) -> int | None:
        """Records not yet flushed, over all partitions; None before any is assigned."""
        parts = [p for step in self.status().get("steps", {}).values() for p in step]
        if not parts or not all(p["ready"] for p in parts):
            return None
        return sum(p["lag"] for p in parts)

    def is_settled(self) -> bool:
        """Whether everything read is flushed and no step has set itself a timer to go on."""
        parts = [p for step in self.status().get("steps", {}).values() for p in step]
        return self.lag() == 0 and not any(p["timers_waiting"] for p in parts)

    def tail(self, lines: int = 30) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
