"""Records that nobody can use and code that fails: set aside once, with everything else counted."""

import pytest

from tests.support.chaos_events import KEY_PLACES, Plan

RARE = KEY_PLACES[-1][1]


def positions(plan, spread=3_000):
    """First, last, three that are neighbours in one partition, and one in every ``spread``."""
    middle = plan.events // 2
    neighbours = [
        i for i, e in enumerate(plan.make(middle, middle + 100), middle) if e.partition == 1
    ]
    return frozenset(
        {0, plan.events - 1, *neighbours[:3], *range(spread // 2, plan.events, spread)}
    )


@pytest.mark.chaos(long=300_000, quick=20_000)
def test_poison(scenario, broker, trial_on):
    """Records that cannot be decoded: first, neighbours, one in many batches, last and alone. Each is a
    dead letter once, under its own place; all others are counted once.

    A batch that is given up for one bad record loses its others; one that is tried again without being
    undone counts them twice.
    """
    plan = Plan(scenario.seed, scenario.events, positions(scenario.plan()))
    trial = trial_on(broker, plan=plan)
    trial.worker("a")
    almost = (plan.events - 1) / plan.events
    trial.feed(almost)
    trial.wait(lambda: trial.done == trial.fed == int(almost * plan.events), "all but the last")
    trial.feed_all()
    scenario.must_be_exact(trial.finish(), poison=len(plan.poison))


@pytest.mark.chaos(long=60_000)
def test_handler_fails_on_one_key(scenario, broker, trial_on):
    """The fold raises on every record of one key: these are dead letters, once each; the others of
    their batches are counted once.

    What the failed fold did before it raised must not stay, or keys that came earlier count twice.
    """
    trial = trial_on(broker, CHAOS_BROKEN_KEY=RARE.decode())
    trial.worker("a")
    trial.feed()
    expected = trial.plan.expected(broken_key=RARE)
    assert expected.dead
    scenario.must_be_exact(trial.finish(expected), dead_letters=len(expected.dead))


@pytest.mark.chaos(long=300_000)
def test_handler_fails_once(scenario, broker, trial_on):
    """The fold raises in the middle of the work, once: the batch is folded again, nothing is set aside.

    A dead letter here would be a good record thrown away.
    """
    trial = trial_on(broker, CHAOS_BROKEN_ONCE="5")
    worker = trial.worker("a")
    trial.feed()
    verdict = trial.finish()
    assert "the handler fails this once" in worker.log.read_text()
    scenario.must_be_exact(verdict)
