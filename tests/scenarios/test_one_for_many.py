"""A slice breaks, rules on every group see it, and one alert speaks for all, however batches are cut."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from models.records import Alert
from tests.support import small
from tests.support.pipeline import Pipeline, Results, Schedule, shipped_steps
from tests.support.same import assert_same

GROUPS = ([], ["platform"], ["platform", "country"])


def rules(*, attribute: bool) -> dict[str, Any]:
    """A rule on the errors of each group, and one on their surprise; so low that everything fires."""
    errors = [
        {"id": f"errors-{len(g)}", "when": "error_rate > 0.2 for 20s", "window": "10s", "group": g,
         "severity": "page", "attribute": attribute}
        for g in GROUPS
    ]  # fmt: skip
    return small.RULES | {"rules": errors}


def run(schedule: Schedule, *, attribute: bool = True) -> Results:
    steps = shipped_steps(small.SERIES, rules(attribute=attribute), small.TENANTS)
    pipeline = Pipeline(steps, small.NOW)
    pipeline.send("plays", small.records())
    pipeline.run(schedule)
    return pipeline.results()


@cache
def reference() -> Results:
    return run(Schedule(0, sizes=(1_000_000,), fair=0.0))


def firing(found: Results) -> dict[str, Alert]:
    return {a.id: a for (_, revision), a in found.alerts.items() if not revision}


def test_the_same_alerts_fire_and_fewer_are_told():
    """Attribution adds who speaks for whom; it neither makes nor loses an incident."""
    plain = run(Schedule(0, sizes=(1_000_000,), fair=0.0), attribute=False)
    found = firing(reference())
    assert found.keys() == firing(plain).keys()
    assert {f.state for f in reference().findings.values()} >= {"firing", "resolved"}
    children = [a for a in found.values() if a.parent]
    assert children
    assert all(found[a.parent].cause for a in children)
    assert len(reference().notifications) < len(plain.notifications)


@pytest.mark.parametrize("seed", range(1, 9))
def test_batches_restarts_and_interleaving_change_nothing(seed):
    schedule = Schedule(
        seed, (2, 7, 100, 1_000), (0.01, 0.3, 1.0)[seed % 3], restarts=0.1 * (seed % 2), tick=100
    )
    assert_same(run(schedule), reference())
