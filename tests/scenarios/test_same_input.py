"""Same input, same result: what is published does not depend on batches, restarts or interleaving."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support import small
from tests.support.pipeline import Results, Schedule
from tests.support.same import assert_same


def run(schedule: Schedule, *, restless: bool = False) -> Results:
    """The whole pipeline over two streams with an incident each."""
    pipeline = small.make_pipeline(restless=restless)
    pipeline.run(schedule)
    return pipeline.results()


@cache
def reference() -> Results:
    """The run that others are compared with: everything at once, one partition after the other."""
    return run(Schedule(0, sizes=(1_000_000,), fair=0.0))


def test_the_reference_holds_what_the_test_is_about():
    found = reference()
    assert len(found.first) > 3_000
    revised = [w for name, w in found.last.items() if w.late]
    assert len(revised) > 100
    states = {(f.rule, f.state) for f in found.findings.values()}
    assert states >= {("errors", s) for s in ("pending", "firing", "resolved")}
    assert {rule for rule, _ in states} == {"errors", "silent", "unusual"}
    assert {f.stream for f in found.findings.values() if f.rule == "errors"} == {"live", "replay"}
    assert found.dead
    assert found.late
    assert found.notifications


@settings(
    max_examples=10,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a seed has nothing to shrink
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.sampled_from([(2, 7), (1, 7, 100, 1_000), (30,), (1_000_000,)]),
    fair=st.sampled_from([0.01, 0.3, 1.0]),
    restarts=st.sampled_from([0.0, 0.1]),
    tick=st.sampled_from([1, 100, 1_000]),
)
def test_batches_restarts_and_interleaving_change_nothing(seed, sizes, fair, restarts, tick):
    assert_same(run(Schedule(seed, sizes, fair, restarts, tick=tick)), reference())


@pytest.mark.parametrize("seed", range(1, 13))
def test_late_plays_take_back_the_same_incidents_whatever_the_batches(seed):
    """What rules make of late plays on the way depends on their place in event time alone."""
    schedule = Schedule(seed, (1, 7, 100, 1_000), tick=100, restarts=0.1 * (seed % 2))
    assert_same(run(schedule, restless=True), restless_reference())


@cache
def restless_reference() -> Results:
    """Everything at once, with many late plays and a rule that they take incidents back from."""
    found = run(Schedule(0, sizes=(1_000_000,), fair=0.0), restless=True)
    assert {f.state for f in found.findings.values()} == {
        "pending", "firing", "resolved", "retracted",
    }  # fmt: skip
    return found
