"""Metrics judged together by a real worker: what the folds alone make of them, and what is served."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.hosts import end_markers, records
from tests.support.judged import judged
from tests.support.worker import ROOT

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


def configured(folder: Path) -> tuple[Path, Path]:
    """The shipped configuration, with one table and one rule more."""
    made = []
    for name, more in (("series.toml", JOINT), ("rules.toml", RULE)):
        path = folder / name
        path.write_text((ROOT / "config" / name).read_text(encoding="utf-8") + more, "utf-8")
        made.append(path)
    return made[0], made[1]


def test_a_worker_judges_together_what_the_folds_do_and_stores_it(
    any_broker, unique_name, tmp_path
):
    config, sent = configured(tmp_path), records("replay") + end_markers()
    with judged(any_broker, unique_name, tmp_path, config, "metrics", sent, "joint") as (
        alert,
        api,
    ):
        series = quote("demo|joint:host_health{host=db-1}", safe="")
        span = "from=2026-01-01T00:00:00Z&to=2026-01-01T03:00:00Z"
        found = api.get(f"/api/v1/series/{series}/windows?stream=replay&size=detect&{span}")
    assert (alert["kind"], alert["state"]) == ("joint", "resolved")
    assert alert["reason"].startswith("cpu, memory and requests of db-1 go together again: ")
    assert alert["contributions"]["requests"] > 0.5
    points = found["points"]
    assert [p["learning"] for p in points] == [n < 100 for n in range(len(points))]
    assert max(p["value"] or 0 for p in points) == pytest.approx(alert["peak"])
