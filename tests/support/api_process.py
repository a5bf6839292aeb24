"""The API as a process under test: ``uvicorn``, configured by environment, killed from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.support.worker import ROOT, free_port, wait_until


class ApiProcess:
    """``python -m uvicorn --factory api.app:create_default_api``."""

    def __init__(self, folder: Path, **env: str) -> None:
        self.port = free_port()
        self.log = folder / f"api-{self.port}.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BACKBEAT_")}
        self.env = {**kept, "PYTHONUNBUFFERED": "1", **env}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start the process; returns at once."""
        command = [
            sys.executable, "-m", "uvicorn", "--factory", "api.app:create_default_api",
            "--host", "127.0.0.1", "--port", str(self.port),
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self, how: int = signal.SIGKILL) -> None:
        """Send a signal and wait for the end."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(how)
            self.process.wait(30)

    def request(self, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """A get, or a post of JSON; (0, b"") while nobody answers, or not to the end."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            request = urllib.request.Request(url, body, headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError:
            return 0, b""

    def get(self, path: str) -> Any:
        """A JSON document; fails if it is not had."""
        status, body = self.request(path)
        assert status == 200, f"{path}: {status} {body[:300]!r}"
        return json.loads(body)

    def wait_live(self, seconds: float = 60) -> None:
        """Wait until it answers."""
        wait_until(lambda: self.request("/health/live")[0] == 200, seconds, "API live")
