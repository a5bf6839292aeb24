"""Apache Kafka 4.1.1: one broker and controller in one JVM, its jars brought by Maven."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import ClassVar

from tests.support.cache import build, cached, tool
from tests.support.kafka_protocol import living_brokers
from tests.support.process import HOST, ServerError, ServerProcess, free_port

VERSION = "4.1.1"
_POM = Path(__file__).parent / "kafka" / "pom.xml"

# A broker for tests: one copy of everything, few internal partitions, no waiting for more members.
_SETTINGS = {
    "node.id": "1",
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # How soon an abandoned transaction is aborted, which readers of committed records wait for.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A killed broker may not register again before its session is over; the default is 9 s.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # The only voter need not wait for a leader before it stands for election.
    "controller.quorum.fetch.timeout.ms": "300",
    "controller.quorum.election.timeout.ms": "300",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}
# Warnings go to stderr, and so into the server's log.
_LOGGING = [
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]


class KafkaServer(ServerProcess):
    """A Kafka broker; `settings` are added to server.properties.

    Data stay in the folder over kill() and restart().
    """

    name = "kafka"
    start_within: ClassVar[float] = 90.0
    stop_within: ClassVar[float] = 60.0

    def __init__(
        self, folder: Path, port: int | None = None, settings: dict[str, str] | None = None
    ) -> None:
        super().__init__(folder, port)
        self._controller = free_port()
        self._settings = _SETTINGS | (settings or {})

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
        """Bring the jars, once."""
        jars()

    def properties(self) -> dict[str, str]:
        """Return what goes into server.properties."""
        return {
            **self._settings,
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{self._controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.quorum.bootstrap.servers": f"{HOST}:{self._controller}",
            "log.dirs": str(self.folder / "data"),
        }

    def prepare(self) -> None:
        """Write the configuration and format the storage."""
        lines = self.properties()
        self._properties.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        cluster = "backbeat-tests-kafka00"  # 22 characters of base64, as a cluster id must be
        arguments = ["format", "-t", cluster, "-c", str(self._properties)]
        if "controller.quorum.voters" not in lines:
            arguments.append("--standalone")
        result = subprocess.run(
            self._java("-Xmx128m", "kafka.tools.StorageTool", *arguments),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if result.returncode != 0:
            msg = f"kafka storage was not formatted: {result.stdout}{result.stderr}"
            raise ServerError(msg)

    def command(self) -> list[str]:
        """Run the broker in a small heap."""
        heap = ["-Xms64m", "-Xmx512m", "-XX:+UseSerialGC"]
        return self._java(*heap, "kafka.Kafka", str(self._properties))

    def answers(self) -> bool:
        """The broker is registered and not fenced: it may lead partitions."""
        return living_brokers(HOST, self.port) == 1

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _java(self, *arguments: str) -> list[str]:
        return [tool("java"), "-cp", f"{jars()}{os.sep}*", *_LOGGING, *arguments]


def jars() -> Path:
    """Return the folder with the broker's jars, after Maven has filled it if need be."""
    tool("java")
    pom = hashlib.sha256(_POM.read_bytes()).hexdigest()[:8]
    return cached(f"kafka-{VERSION}-{pom}", _copy_jars)


def _copy_jars(folder: Path) -> None:
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={folder}", "-DincludeScope=runtime"]
    build([tool("mvn"), "-q", "-B", "-f", str(_POM), *goal])
