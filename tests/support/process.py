"""A server as a child process: started on a free port, stopped, killed, paused and restarted.

The classes built on it know nothing of pytest, so a benchmark or a chaos script can use them too.
Every method blocks; in a coroutine call them through `asyncio.to_thread`.
"""

import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar, Self

HOST = "127.0.0.1"
_PORTS = range(20_000, 30_000)  # below the ephemeral range, so a port stays free during a restart
_handed_out: set[int] = set()


class ServerUnavailableError(Exception):
    """A server cannot be had on this machine; the message says which tool is missing."""


class ServerError(Exception):
    """A server did not start, died by itself, or would not stop."""


def free_port() -> int:
    """Return a loopback port that nobody listens on and that was not returned before."""
    for port in random.SystemRandom().sample(_PORTS, 200):
        if port not in _handed_out and port_is_free(port):
            _handed_out.add(port)
            return port
    msg = f"no free port among 200 tried in {_PORTS}"
    raise ServerError(msg)


def port_is_free(port: int) -> bool:
    """Tell whether a server that sets SO_REUSEADDR could listen on `port`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def wait_until(answers: Callable[[], bool], within: float, what: str) -> None:
    """Poll `answers` until it is true; after `within` seconds raise a ServerError with `what`."""
    deadline = time.monotonic() + within
    while not answers():
        if time.monotonic() > deadline:
            msg = f"{what} within {within:.0f} s"
            raise ServerError(msg)
        time.sleep(0.05)


class ServerProcess(ABC):
    """One server with its folder and its port, which both outlive its process.

    A subclass gives the command and a probe in the server's own protocol. `with Server(folder)`
    starts and stops it; a server that does not end on SIGTERM, or ended by itself, is an error.
    """

    name: ClassVar[str]
    start_within: ClassVar[float] = 60.0
    stop_within: ClassVar[float] = 20.0

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder
        self.port = port if port is not None else free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    @classmethod  # noqa: B027 - most bring nothing
    def install(cls) -> None:
        """Bring what the server needs, or raise ServerUnavailableError; quick when it is there."""

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Write what the first start needs into the folder."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether the server does its work; OSError means not yet."""

    @property
    def address(self) -> str:
        """`host:port`, as clients want it."""
        return f"{HOST}:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        return self._running().pid

    @property
    def log(self) -> Path:
        """Everything the server has printed, over all its starts."""
        return self.folder / f"{self.name}.log"

    def start(self) -> Self:
        """Start the server and return when it answers."""
        if self.process is not None:
            msg = f"{self.name} is already running as {self.process.pid}"
            raise ServerError(msg)
        if not self._prepared:
            self.install()
            self.folder.mkdir(parents=True, exist_ok=True)
            self.prepare()
            self._prepared = True
        wait_until(lambda: port_is_free(self.port), 10, f"port {self.port} did not become free")
        with self.log.open("ab") as log:
            # A group of its own, so that Ctrl-C reaches the tests first and they stop the server.
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                cwd=self.folder, process_group=0,
            )  # fmt: skip
        atexit.register(self._abandon)
        try:
            wait_until(self._ready, self.start_within, f"{self.name} did not answer")
        except ServerError as error:
            self._abandon()
            error.add_note(self._tail())
            raise
        return self

    def stop(self) -> None:
        """Ask the server to end, and wait; raise ServerError if it had died or will not end."""
        process = self._running()
        self.process = None
        if process.poll() is not None:
            self._fail(f"{self.name} had ended by itself with code {process.returncode}")
        process.terminate()
        try:
            process.wait(self.stop_within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self._fail(f"{self.name} did not stop within {self.stop_within:.0f} s of SIGTERM")
        finally:
            atexit.unregister(self._abandon)

    def kill(self) -> None:
        """End the server at once, as kill -9 does."""
        process = self._running()
        self.process = None
        process.kill()
        process.wait()
        atexit.unregister(self._abandon)

    def restart(self) -> Self:
        """Start the server again on the same port and folder, after a stop if it is running."""
        if self.process is not None:
            self.stop()
        return self.start()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze the process: its port stays open and nothing answers."""
        process = self._running()
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.stop()

    def _running(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            msg = f"{self.name} is not running"
            raise ServerError(msg)
        return self.process

    def _ready(self) -> bool:
        process = self._running()
        if process.poll() is not None:
            msg = f"{self.name} ended with code {process.returncode} while starting"
            raise ServerError(msg)
        try:
            return self.answers()
        except OSError:
            return False

    def _abandon(self) -> None:
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
        atexit.unregister(self._abandon)

    def _tail(self, lines: int = 30) -> str:
        text = self.log.read_text(errors="replace").splitlines()
        return os.linesep.join(["the end of its log:", *text[-lines:]])

    def _fail(self, message: str) -> None:
        error = ServerError(message)
        error.add_note(self._tail())
        raise error
