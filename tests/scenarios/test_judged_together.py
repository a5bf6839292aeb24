"""Metrics of one host break how they go together: one alert, the same whatever the batches."""

from __future__ import annotations

from functools import cache, partial

import pytest

from models.records import Window
from tests.support import small
from tests.support.hosts import (
    BEGIN,
    HOSTS,
    METRICS,
    MINUTES,
    closing,
    end_markers,
    records,
)
from tests.support.pipeline import Pipeline, Results, Schedule, Tally, at_once, shipped_steps
from tests.support.plays import MINUTE
from tests.support.same import assert_same

SERIES = small.SERIES | {
    "joint": [{"name": "host_health", "metrics": METRICS, "window": "1m", "tags": ["host"]}],
    "limits": {"groups_per_tenant": 100, "metrics_per_tenant": 100},
}
RULES = {
    "rules": [
        {"id": "apart", "when": "joint(host_health) >= 4 for 2m", "severity": "page"},
        {"id": "young", "when": "joint(host_health) >= 3", "severity": "info", "min_history": "2h",
         "reopen": "auto", "match": {"host": "db-*"}, "min_weight": 3},
    ],
    "receivers": [{"name": "webhook", "kind": "webhook", "streams": ["live", "replay"]}],
}  # fmt: skip


def run(schedule: Schedule, tally: Tally | None = None) -> Results:
    steps = shipped_steps(SERIES, RULES, small.TENANTS, tally)
    pipeline = Pipeline(steps, BEGIN + 2 * 86_400_000)
    both = records() + records("replay", MINUTES, seed=2)
    pipeline.send("metrics", sorted(both, key=lambda s: s.at))
    pipeline.send("metrics", closing() + end_markers())
    pipeline.run(schedule)
    return pipeline.results()


reference = cache(partial(at_once, run))


def together(found: Results, host: str, stream: str = "live") -> list[Window]:
    return found.windows_of(f"demo|metric:joint:host_health{{host={host}}}", stream)


@pytest.mark.parametrize("stream", ["live", "replay"])
def test_one_host_breaks_and_its_alert_says_how(stream):
    found, _ = reference()
    mine = [a for a in found.alerts.values() if a.rule == "apart" and a.stream == stream]
    fired, resolved = sorted(mine, key=lambda a: a.revision)
    assert fired.tags == {"host": "db-1"}
    assert fired.series == "demo|joint:host_health{host=db-1}"
    assert (fired.kind, fired.state, resolved.state) == ("joint", "firing", "resolved")
    assert BEGIN + 150 * MINUTE <= fired.started_at <= BEGIN + 151 * MINUTE
    assert BEGIN + 160 * MINUTE <= resolved.resolved_at <= BEGIN + 164 * MINUTE
    assert fired.reason.startswith(
        "cpu, memory and requests of db-1 do not go together as they did: a joint surprise of "
    )
    assert ", mostly requests (" in fired.reason
    name, share = next(iter(fired.contributions.items()))
    assert (name, share > 0.5) == ("requests", True)
    assert sum(fired.contributions.values()) == pytest.approx(1, abs=0.02)


def test_every_minute_of_both_hosts_is_judged_once_and_learning_is_said():
    found, _ = reference()
    for host in HOSTS:
        windows = together(found, host)
        assert [w.start for w in windows] == [BEGIN + m * MINUTE for m in range(MINUTES)]
        assert not any(w.revision for w in windows)
        learning = [w.values["value"].learning for w in windows]
        assert learning == [m < 100 for m in range(MINUTES)]
    assert {w.values["value"].weight for w in together(found, "db-2")[60:]} == {2.0}
    assert not [f for f in found.findings.values() if "db-2" in f.series]


def test_late_samples_are_counted_and_not_learned():
    found, tally = reference()
    joint = {reason: n for (name, reason), n in tally.counts.items() if name == "joint"}
    assert set(joint) == {"late"}
    assert joint["late"] > 20
    taken = sum(
        w.count for host in HOSTS for s in ("live", "replay") for w in together(found, host, s)
    )
    assert taken + joint["late"] == len(records()) + len(records("replay", MINUTES, seed=2))


@pytest.mark.parametrize("seed", range(1, 13))
def test_batches_restarts_and_interleaving_change_nothing(seed):
    schedule = Schedule(
        seed, (1, 7, 100, 1_000), (0.01, 0.3, 1.0)[seed % 3], restarts=0.1 * (seed % 2), tick=100
    )
    tally = Tally()
    assert_same(run(schedule, tally), reference()[0])
    assert tally.counts["joint", "late"] == reference()[1].counts["joint", "late"]
