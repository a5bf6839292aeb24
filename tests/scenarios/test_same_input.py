"""Same input, same result: what is published does not depend on batches, restarts or interleaving."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.pipeline import Pipeline, Results, Schedule, shipped_steps
from tests.support.plays import MINUTE, Plan, closing_plays, end_markers, make_plays

SERIES: dict[str, Any] = {
    "time": {"pane": "10s", "lateness": "10s", "idle": "5s", "future": "5m"},
    "windows": [
        {"size": "10s", "slide": "10s", "grace": "1h", "detect": True, "retention": "2d"},
        {"size": "1m", "slide": "10s", "grace": "1h", "detect": True, "retention": "2d"},
        {"size": "5m", "slide": "1m", "grace": "24h", "retention": "2d"},
    ],
    "limits": {"groups_per_tenant": 100, "metrics_per_tenant": 10},
    "plays": {
        "groups": [[], ["platform"], ["platform", "country"]],
        "measures": [
            {"name": "plays", "kind": "count"},
            {"name": "eligible_plays", "kind": "count", "where": "eligible"},
            {"name": "listeners", "kind": "distinct", "of": "listener_id"},
            {"name": "error_rate", "kind": "ratio", "where": "failed"},
            {"name": "startup_p95", "kind": "quantile", "of": "startup_ms", "q": 0.95},
            {"name": "completion", "kind": "mean", "of": "completion"},
        ],
    },
    "metrics": {"pane_min": "10s", "pane_max": "1d"},
}
RULES: dict[str, Any] = {
    "rules": [
        {
            "id": "errors", "when": "error_rate > 0.2 for 20s", "window": "10s", "severity": "page",
            "group": ["platform", "country"], "min_weight": 2,
        },
        {
            "id": "silent", "when": "plays < 1 for 60s", "window": "10s", "severity": "page",
            "group": ["platform"],
        },
        {
            "id": "unusual", "when": "anomaly(plays) >= 2", "window": "10s", "severity": "ticket",
            "group": [],
        },
    ],
    "receivers": [{"name": "webhook", "kind": "webhook", "streams": ["live", "replay"]}],
}  # fmt: skip
LIVE_PLAN = Plan(
    plays=1_500, listeners=60, span=20 * MINUTE, late=0.04, very_late=0.01,
    incident=(8 * MINUTE, 12 * MINUTE),
)  # fmt: skip
REPLAY_PLAN = Plan(
    seed=2, plays=300, listeners=20, span=8 * MINUTE, stream="replay", late=0.04,
    incident=(3 * MINUTE, 5 * MINUTE),
)  # fmt: skip
NOW = LIVE_PLAN.begin + LIVE_PLAN.span + 30 * MINUTE


def run(schedule: Schedule) -> Results:
    """The whole pipeline over two streams with an incident each."""
    pipeline = Pipeline(shipped_steps(SERIES, RULES, LIVE_PLAN.tenants), NOW)
    plays = make_plays(LIVE_PLAN) + closing_plays(LIVE_PLAN, 5 * MINUTE)
    plays = sorted(plays + make_plays(REPLAY_PLAN), key=lambda sent: sent.at)
    pipeline.send("plays", [*plays, *end_markers(REPLAY_PLAN)])
    pipeline.run(schedule)
    return pipeline.results()


@cache
def reference() -> Results:
    """The run that others are compared with: everything at once, one partition after the other."""
    return run(Schedule(0, sizes=(1_000_000,), fair=0.0))


def differences(ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> list[str]:
    """What two mappings disagree about, the first few, for a message that can be read."""
    keys = sorted(ours.keys() | theirs.keys(), key=str)
    found = [k for k in keys if ours.get(k) != theirs.get(k)]
    return [f"{k}:\n  {ours.get(k)}\n  {theirs.get(k)}" for k in found[:5]]


def same(ours: Results, theirs: Results) -> None:
    """Assert that two runs published the same."""
    assert differences(ours.first, theirs.first) == []
    assert differences(ours.last, theirs.last) == []
    assert differences(ours.findings, theirs.findings) == []
    assert differences(ours.alerts, theirs.alerts) == []
    assert ours.notifications == theirs.notifications
    assert ours.dead == theirs.dead
    assert ours.late == theirs.late


def test_the_reference_holds_what_the_test_is_about():
    found = reference()
    assert len(found.first) > 5_000
    revised = [w for name, w in found.last.items() if w.late]
    assert len(revised) > 100
    states = {(f.rule, f.state) for f in found.findings.values()}
    assert states >= {("errors", s) for s in ("pending", "firing", "resolved")}
    assert {rule for rule, _ in states} == {"errors", "silent", "unusual"}
    assert {f.stream for f in found.findings.values() if f.rule == "errors"} == {"live", "replay"}
    assert found.dead
    assert found.late
    assert found.notifications


@settings(max_examples=15)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.sampled_from([(1, 2, 5), (1, 7, 100, 1_000), (30,), (1_000_000,)]),
    fair=st.sampled_from([0.01, 0.3, 1.0]),
    restarts=st.sampled_from([0.0, 0.1]),
)
def test_batches_restarts_and_interleaving_change_nothing(seed, sizes, fair, restarts):
    same(run(Schedule(seed, sizes, fair, restarts)), reference())
