"""The shipped agents under chaos: from plays through windows and alerts to SQLite and a webhook."""

import pytest

from tests.chaos.aftermath import Plans, crashed


def see(scenario, after):
    """Compare with the batch job: nothing missing, nothing wrong, nothing twice."""
    scenario.note(**after.figures())
    print(f"\n{scenario.name}: {scenario.figures}")
    assert after.lost_on_the_way() == []
    assert after.comparison.faults + after.published == []
    assert set(after.repeats().values()) == {0}, after.repeats()
    rejected = {(p, o) for topic, p, o, _ in after.letters if topic == "plays"}
    assert rejected == after.verdicts.rejected
    assert set(after.late) == after.verdicts.beyond


@pytest.mark.chaos(long=300_000)
def test_shipped_agents(scenario, broker, tmp_path):
    """The whole system, worker and API killed ten times: every window, dead letter and notification is
    what a batch job makes of the same plays, and none is there twice.

    A loss is a window that is missing or short, a repeat one that exceeds. (In `make test` on 20,000
    plays, as `tests/chaos/test_crash.py`.)
    """
    plans = Plans.of(scenario.events, scenario.seed)
    with crashed(broker, tmp_path, plans, kills=10) as after:
        see(scenario, after)


@pytest.mark.chaos(long=60_000)
def test_everything_delivered_twice(scenario, broker, tmp_path):
    """A producer delivers every play twice, within ten minutes, and the worker is killed three times:
    the shipped deduplication leaves each play once.

    What the deduplication has seen is state like any other: were it lost in a kill, windows would exceed.
    """
    plans = Plans.of(scenario.events, scenario.seed, twice=True)
    with crashed(broker, tmp_path, plans, kills=3) as after:
        see(scenario, after)
