"""Metrics judged together by a real worker: what the folds alone make of them, and what is served."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.api_process import ApiProcess
from tests.support.hosts import BEGIN, end_markers, records
from tests.support.pipeline import RESULT_TOPICS, Pipeline, Results, Schedule, shipped_steps
from tests.support.same import assert_same
from tests.support.topics import produce, values_of
from tests.support.worker import ROOT, Worker

pytestmark = [pytest.mark.integration, pytest.mark.server, pytest.mark.timeout(300)]

JOINT = """
[[joint]]
name = "host_health"
metrics = ["cpu", "memory", "requests"]
tags = ["host"]
window = "1m"
"""
RULE = """
[[rules]]
id = "host-health"
when = "joint(host_health) >= 4 for 2m"
severity = "ticket"
"""


def of_the_joint(found: Results) -> Results:
    """The windows, findings and alerts that this is about."""
    found.windows = {k: w for k, w in found.windows.items() if "metric:joint:" in w.group}
    found.findings = {k: f for k, f in found.findings.items() if f.kind == "joint"}
    found.alerts = {k: a for k, a in found.alerts.items() if a.kind == "joint"}
    found.notifications = set()
    return found


def configured(folder: Path) -> tuple[Path, Path]:
    """The shipped configuration, with one table and one rule more."""
    made = []
    for name, more in (("series.toml", JOINT), ("rules.toml", RULE)):
        path = folder / name
        path.write_text((ROOT / "config" / name).read_text(encoding="utf-8") + more, "utf-8")
        made.append(path)
    return made[0], made[1]


def by_the_folds(series: Path, rules: Path) -> Results:
    raw = [tomllib.loads(path.read_text(encoding="utf-8")) for path in (series, rules)]
    pipeline = Pipeline(shipped_steps(*raw, ("demo",)), BEGIN + 2 * 86_400_000)
    pipeline.send("metrics", records("replay") + end_markers())
    pipeline.run(Schedule(0, sizes=(1_000_000,), fair=0.0))
    return of_the_joint(pipeline.results())


def test_a_worker_judges_together_what_the_folds_do_and_stores_it(
    any_broker, unique_name, tmp_path
):
    series, rules = configured(tmp_path)
    expected = by_the_folds(series, rules)
    assert expected.alerts
    prefix, database = f"{unique_name}-", tmp_path / "backbeat.db"
    env = {
        "BACKBEAT_BROKER": any_broker.url,
        "BACKBEAT_APP_ID": unique_name,
        "BACKBEAT_TOPIC_PREFIX": prefix,
        "BACKBEAT_ROLES": "ingest,windows,alerts,sqlite",
        "BACKBEAT_SERIES_CONFIG": str(series),
        "BACKBEAT_RULES_CONFIG": str(rules),
        "BACKBEAT_SQLITE_PATH": str(database),
    }
    with Worker("faust_app", tmp_path, **env) as worker:
        worker.wait_ready(120)
        produce(any_broker.bootstrap, f"{prefix}metrics", records("replay") + end_markers())
        last = max(window.end for window in expected.windows.values())

        def is_done() -> bool:
            made = read(any_broker, prefix)
            return sum(w.end == last for w in made.windows.values()) == 2 and worker.is_settled()

        worker.wait(is_done, 120, "the last window of both hosts")
        assert_same(read(any_broker, prefix), expected)
        with ApiProcess(tmp_path, **env) as api:
            api.wait_live()
            worker.wait(lambda: served(api), 60, "the alert over HTTP")
            (alert,) = served(api)
            series = quote("demo|joint:host_health{host=db-1}", safe="")
            span = "from=2026-01-01T00:00:00Z&to=2026-01-01T03:00:00Z"
            found = api.get(f"/api/v1/series/{series}/windows?stream=replay&size=detect&{span}")
    assert (alert["kind"], alert["state"]) == ("joint", "resolved")
    assert alert["reason"].startswith("cpu, memory and requests of db-1 go together again: ")
    assert alert["contributions"]["requests"] > 0.5
    points = found["points"]
    assert [p["learning"] for p in points] == [n < 100 for n in range(len(points))]
    assert max(p["value"] or 0 for p in points) == pytest.approx(alert["peak"])


def served(api: ApiProcess) -> list[dict[str, Any]]:
    """The incidents of the replay that are over."""
    found = api.get("/api/v1/alerts?stream=replay")["items"]
    return [alert for alert in found if alert["state"] == "resolved"]


def read(broker, prefix: str) -> Results:
    values = {topic: values_of(broker.bootstrap, prefix + topic) for topic in RESULT_TOPICS}
    return of_the_joint(Results.of(values))
