"""``backbeat doctor``: what is there, what is not, and what to do about it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import sqlite3
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

import httpx
import typer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.text import Text

from cli.parts import broker_binary, valkey_binary
from cli.probes import http_status, port_is_free
from cli.run import Run, check_config, load_settings
from models.errors import ConfigurationError
from models.settings import Settings
from models.topics import TOPICS

_PATIENCE = 5.0

# What is pinned because we rely on its inside or its stored format.
_PINNED = {
    "faust-streaming": "0.15.3",
    "mode-streaming": "0.7.1",
    "aiokafka": "0.14.0",
    "river": "0.26.1",
}


class Check(NamedTuple):
    """One thing that was looked at; ``advice`` says what to do where it is not ``ok``."""

    level: Literal["ok", "warn", "fail"]
    what: str
    detail: str
    advice: str = ""


class FoundTopic(NamedTuple):
    """A topic as the broker has it; ``policy`` None where the broker does not tell."""

    partitions: int
    policy: str | None


def command() -> None:
    """Check this machine, the configuration, the broker, the topics, the store, the worker and the API."""
    settings, run = load_settings()
    checks = [*_machine(), config(settings), *asyncio.run(_outside(settings, run))]
    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        console.print(_line(check))
    if any(check.level == "fail" for check in checks):
        raise typer.Exit(1)


def _line(check: Check) -> Text:
    mark, colour = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "red")}[
        check.level
    ]
    text = Text(f"{mark} {check.level:<5}", colour).append(f"{check.what:<17}", "bold default")
    text.append(check.detail, "default")
    if check.advice:
        text.append(f"\n        → {check.advice}", "default")
    return text


def _machine() -> list[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    checks = [
        Check("ok", "python", found)
        if good
        else Check("fail", "python", found, "use Python 3.11 or newer")
    ]
    checks += [pinned(name, version, _installed(name)) for name, version in sorted(_PINNED.items())]
    checks += [_server("tansu", broker_binary), _server("valkey", valkey_binary)]
    return checks


def pinned(name: str, wanted: str, installed: str | None) -> Check:
    """Whether a package is there in the one version that was tested."""
    if installed is None:
        return Check("fail", name, "is not installed", "make setup")
    if installed != wanted:
        return Check("fail", name, f"is {installed}, not {wanted}", "make setup installs the lock")
    return Check("ok", name, installed)


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _server(name: str, find: Callable[[], Path]) -> Check:
    try:
        return Check("ok", name, str(find()))
    except ConfigurationError as exc:
        return Check("warn", name, str(exc), "only `backbeat up` needs it")


def config(settings: Settings) -> Check:
    """Whether the worker can use the series and rules it would read."""
    try:
        series, rules = check_config(settings)
    except ConfigurationError as exc:
        advice = "mend the file: neither worker nor API starts with it"
        return Check("fail", "config", str(exc), advice)
    counts = f"{len(series.measures)} measures, {len(series.windows)} windows"
    return Check(
        "ok",
        "config",
        f"{settings.series_config}: {counts}; {settings.rules_config}: {len(rules)} rules",
    )


async def _outside(settings: Settings, run: Run | None) -> list[Check]:
    demo = Check("ok", "demo", f"running as process {run.pid}, {run.page}") if run else None
    worker, broker, api = await asyncio.gather(_worker(settings), _broker(settings), _api(settings))
    return [*([demo] if demo else []), *broker, store(settings.sqlite_file), worker, api]


async def _broker(settings: Settings) -> list[Check]:
    where = settings.bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=where, request_timeout_ms=int(_PATIENCE * 1000))
    try:
        async with asyncio.timeout(2 * _PATIENCE):
            await admin.start()
            cluster = await admin.describe_cluster()
            present = await _topics(admin, settings)
    except (KafkaError, OSError, TimeoutError) as exc:
        advice = "start it, or set BACKBEAT_BROKER=kafka://host:port; `make demo` brings its own"
        return [Check("fail", "broker", f"{where} does not answer: {exc!r}", advice)]
    finally:
        await admin.close()
    count = len(cluster["brokers"])
    detail = f"{where}: {count} broker(s), cluster {cluster['cluster_id']}"
    return [Check("ok", "broker", detail), *topics(settings, present)]


async def _topics(admin: Any, settings: Settings) -> dict[str, FoundTopic]:
    ours = [settings.topic(name) for name in TOPICS]
    names = sorted(set(await admin.list_topics()) & set(ours))
    if not names:
        return {}
    described = await admin.describe_topics(names)
    policies = await _policies(admin, names)
    return {
        t["topic"]: FoundTopic(len(t["partitions"]), policies.get(t["topic"])) for t in described
    }


async def _policies(admin: Any, names: Iterable[str]) -> dict[str, str]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    try:
        answers = await admin.describe_configs(resources)
    except (KafkaError, OSError):
        return {}
    return {
        resource[3]: entry[1]
        for answer in answers
        for resource in answer.resources
        for entry in resource[4]
        if entry[0] == "cleanup.policy" and entry[1]
    }


def topics(settings: Settings, present: Mapping[str, FoundTopic]) -> list[Check]:
    """Compare the broker's topics with the topic table."""
    missing, wrong = [], []
    for name, topic in TOPICS.items():
        full = settings.topic(name)
        found = present.get(full)
        policy = topic.config()["cleanup.policy"]
        if found is None:
            missing.append(full)
        elif found.partitions != settings.partitions:
            wrong.append(
                Check(
                    "fail",
                    "topics",
                    f"{full} has {found.partitions} partitions, the settings say {settings.partitions}",
                    f"set BACKBEAT_PARTITIONS={found.partitions}, or use another BACKBEAT_TOPIC_PREFIX",
                )
            )
        elif found.policy is not None and found.policy != policy:
            wrong.append(
                Check(
                    "fail" if topic.compacted else "warn",
                    "topics",
                    f"{full} has cleanup.policy={found.policy}, it needs {policy}",
                    f"kafka-configs --alter --topic {full} --add-config cleanup.policy={policy}",
                )
            )
    if missing:
        wrong.append(
            Check("warn", "topics", f"not there yet: {', '.join(missing)}", "a worker creates them")
        )
    if not wrong:
        return [Check("ok", "topics", f"all {len(TOPICS)}, {settings.partitions} partitions each")]
    return wrong


def store(path: Path) -> Check:
    """Whether the embedded store can be read."""
    if not path.exists():
        return Check(
            "warn", "store", f"{path} is not there yet", "a worker with role sqlite makes it"
        )
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2)) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_master WHERE type='table'").fetchone()
    except sqlite3.Error as exc:
        advice = "move it away; a worker makes a new one and reads the topics again"
        return Check("fail", "store", f"{path}: {exc}", advice)
    size = path.stat().st_size / 1e6
    return Check("ok", "store", f"{path}: {tables[0]} tables, {size:.1f} MB")


async def _worker(settings: Settings) -> Check:
    if settings.metrics_port == 0:
        return Check("warn", "worker", "has no health port", "set BACKBEAT_METRICS_PORT")
    url = f"http://{settings.metrics_host}:{settings.metrics_port}/health/ready"
    try:
        async with httpx.AsyncClient(timeout=_PATIENCE, trust_env=False) as client:
            answer = await client.get(url)
    except httpx.HTTPError:
        return Check(
            "fail", "worker", f"nothing answers on {url}", "faust -A faust_app worker -l info"
        )
    if answer.status_code != 200:
        return Check("fail", "worker", f"{url} says {answer.status_code}: not ready", "see its log")
    broker = answer.json().get("broker", {})
    guarantee = broker.get("guarantee", "")
    kind = " ".join(x for x in (broker.get("kind", ""), f"({guarantee})" if guarantee else "") if x)
    return Check("ok", "worker", f"ready; broker is {kind}" if kind else "ready")


async def _api(settings: Settings) -> Check:
    host, port = settings.api_host, settings.api_port
    url = f"http://{host}:{port}/health/ready"
    status = await http_status(url)
    if status == 200:
        return Check("ok", "api", f"ready on http://{host}:{port}/")
    if status is not None:
        return Check("fail", "api", f"{url} says {status}", "see its log")
    if port_is_free(host, port):
        advice = f"uvicorn --factory api.app:create_default_api --host {host} --port {port}"
        return Check("fail", "api", f"nothing answers on {url}", advice)
    advice = "set BACKBEAT_API_PORT, or end the program that has it"
    return Check("fail", "api", f"another program has port {port} on {host}", advice)
