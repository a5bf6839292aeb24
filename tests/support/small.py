"""A small configuration and two small streams, on which thousands of schedules can be tried.

The *restless* variant has many late plays and a rule on empty windows, so that late plays take back what
the rule has begun to see.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.support.pipeline import Pipeline, Tally, shipped_steps
from tests.support.plays import DAY, MINUTE, Plan, Sent, closing_plays, end_markers, make_plays

TENANTS = ("demo", "acme")
SERIES: dict[str, Any] = {
    "time": {"pane": "10s", "lateness": "10s", "idle": "5s", "future": "5m"},
    "windows": [
        {"size": "10s", "slide": "10s", "grace": "1h", "detect": True, "retention": "2d"},
        {"size": "1m", "slide": "10s", "grace": "1h", "retention": "2d"},
        {"size": "5m", "slide": "1m", "grace": "24h", "retention": "2d"},
    ],
    "limits": {"groups_per_tenant": 100, "metrics_per_tenant": 10},
    "plays": {
        "groups": [[], ["platform"], ["country", "platform"]],
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
            "id": "unusual", "when": "anomaly(plays) >= 0.1", "window": "10s", "severity": "ticket",
            "group": [],
        },
    ],
    "receivers": [{"name": "webhook", "kind": "webhook", "streams": ["live", "replay"]}],
}  # fmt: skip
LIVE_PLAN = Plan(
    plays=800, listeners=60, span=12 * MINUTE, tenants=TENANTS, late=0.04, very_late=0.01,
    incident=(5 * MINUTE, 8 * MINUTE),
)  # fmt: skip
REPLAY_PLAN = Plan(
    seed=2, plays=200, listeners=20, span=6 * MINUTE, tenants=("demo",), stream="replay", late=0.04,
    incident=(2 * MINUTE, 4 * MINUTE),
)  # fmt: skip
NOW = LIVE_PLAN.begin + LIVE_PLAN.span + DAY
"""A processing time at which a stream counts as idle only after five minutes of silence."""

RESTLESS_PLAN = replace(LIVE_PLAN, late=0.08)
RESTLESS_RULES: dict[str, Any] = RULES | {
    "rules": [
        {
            "id": "silent", "when": "plays < 1 for 40s", "window": "10s", "severity": "page",
            "group": ["platform", "country"],
        },
    ],
}  # fmt: skip


def records(plan: Plan = LIVE_PLAN) -> list[Sent]:
    """Both streams side by side; the replay ends, the live one goes on for a while."""
    live = make_plays(plan) + closing_plays(plan, 3 * MINUTE)
    both = sorted(live + make_plays(REPLAY_PLAN), key=lambda sent: sent.at)
    return [*both, *end_markers(REPLAY_PLAN)]


def make_pipeline(tally: Tally | None = None, *, restless: bool = False) -> Pipeline:
    """A worker that has everything before it."""
    rules = RESTLESS_RULES if restless else RULES
    pipeline = Pipeline(shipped_steps(SERIES, rules, TENANTS, tally), NOW)
    pipeline.send("plays", records(RESTLESS_PLAN if restless else LIVE_PLAN))
    return pipeline
