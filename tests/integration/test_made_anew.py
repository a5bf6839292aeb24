"""An embedded broker that lost its memory: stores that outlive it begin its new topics anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models.config import load_series_config
from models.errors import StorageUnavailableError
from models.records import to_json
from storage.protocols import AlertFilter
from storage.sqlite_queries import SqliteQueries
from tests.storage.rows import alert
from tests.support.plays import Sent
from tests.support.tansu import TansuServer
from tests.support.topics import produce
from tests.support.worker import ROOT, Worker

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.timeout(180)]

SERIES = load_series_config(ROOT / "config" / "series.toml")


def stored(path: Path) -> set[str]:
    """Ids of the alerts in the file; none while there is no file."""

    async def ask() -> set[str]:
        queries = SqliteQueries(path, SERIES)
        try:
            found, _ = await queries.alerts("acme", AlertFilter(), 100, None)
        finally:
            await queries.close()
        return {each.id for each in found}

    try:
        return asyncio.run(ask())
    except StorageUnavailableError:
        return set()


def test_a_store_follows_the_topics_of_a_broker_that_lost_its_memory(tmp_path: Path):
    """Its positions lie beyond the new ends: from there on nothing would ever come."""
    server = TansuServer(tmp_path / "broker").start()
    path = tmp_path / "backbeat.db"
    env = {
        "BACKBEAT_BROKER": server.url, "BACKBEAT_BROKER_KIND": "tansu", "BACKBEAT_ROLES": "sqlite",
        "BACKBEAT_SQLITE_PATH": str(path),
    }  # fmt: skip
    try:
        with Worker("faust_app", tmp_path, **env) as worker:
            worker.wait_ready()
            old = {f"old-{n}" for n in range(4)}
            produce(server.bootstrap, "alerts", _records(sorted(old)))
            worker.wait(lambda: stored(path) == old, 60, "the old alerts")
            worker.kill()
            server.kill()
            server.start()
            worker.start().wait_ready()
            new = {"new-0", "new-1"}
            produce(server.bootstrap, "alerts", _records(sorted(new)))
            worker.wait(lambda: stored(path) == old | new, 60, "the new alerts")
            metrics = worker.get("/metrics")[1].decode()
        said = 'name="sink_position",reason="none_of_this_cluster"'
        assert said in metrics
    finally:
        server.stop()


def _records(names: list[str]) -> list[Sent]:
    begin = 1_760_000_000_000
    return [Sent(name, 0, begin + n, b"acme", to_json(alert(name))) for n, name in enumerate(names)]
