"""Workers that are frozen, replaced, and thaw: the old owner is fenced and the state stays exact."""

import signal
import time

import pytest

from tests.support import chaos_broker
from tests.support.chaos_app import LEDGER
from tests.support.chaos_broker import OFTEN_COMPACTED
from tests.support.chaos_trial import LEFT, PATIENCE, SESSION


def early(scenario):
    """A number of batches that are done well before half of the events are."""
    return min(20, max(5, scenario.events // 8_000))


def freeze(trial, fault, share=1.0):
    """Start a worker, feed it, and wait until it has stopped itself."""
    old = trial.worker("old", fault)
    trial.wait_owned(old, 4)
    trial.feed(share)
    trial.wait(lambda: old.is_frozen, f"{old.label} frozen at {fault}")
    return old


def replace(trial, until):
    """Have another worker take over, and wait until this share is done."""
    new = trial.worker("new")
    trial.wait_owned(new, 4)
    trial.wait_done(until)
    return new


def thaw_and_see_it_leave(trial, old):
    """The thawed worker is fenced: it leaves with 70 and one line that says so."""
    old.send(signal.SIGCONT)
    assert trial.wait_end(old) == LEFT, old.tail()
    assert old.last_words(), old.tail()
    words = old.last_words()[-1]
    assert "fenced" in words
    return words


@pytest.mark.chaos(long=3_000_000)
def test_zombie(scenario, broker, trial_on):
    """SIGSTOP between fold and flush past the session time-out, another worker takes over and is half
    way, SIGCONT: the old one leaves with code 70 and says why.

    Unfenced, it writes the state of its last batch over the new owner's: keys lose what came since.
    """
    trial = trial_on(broker)
    old = freeze(trial, f"after-fold:{early(scenario)}:freeze")
    replace(trial, until=0.6)
    words = thaw_and_see_it_leave(trial, old)
    scenario.must_be_exact(trial.finish(), it_said=words)


@pytest.mark.chaos(long=300_000, quick=40_000, quick_of="[before-commit]")
@pytest.mark.parametrize("point", ["before-commit", "in-commit"])
def test_zombie_inside_a_transaction(scenario, broker, trial_on, point):
    """As `zombie`, frozen when all of its flush is on the broker but not committed, or the commit is
    on its way: the new owner's first act aborts the transaction or completes it.

    Were the state read before the old transaction is over, its batch would be missing or told twice.
    """
    trial = trial_on(broker)
    old = freeze(trial, f"{point}:{early(scenario)}:freeze")
    replace(trial, until=0.6)
    words = thaw_and_see_it_leave(trial, old)
    scenario.must_be_exact(trial.finish(), it_said=words)


@pytest.mark.chaos(long=3_000_000, quick=60_000)
def test_zombie_with_compaction(scenario, broker, trial_on):
    """As `zombie`, and the changelog is compacted before the thaw, and on and on after it; then a worker
    with nothing on disk restores from what is left and goes on.

    The cleaner keeps the last record of a key in log order: one stale write would stay for good.
    """
    trial = trial_on(broker)
    chaos_broker.create(trial.bootstrap, trial.changelog, OFTEN_COMPACTED)
    old = freeze(trial, f"after-fold:{early(scenario)}:freeze", 0.6)
    before = trial.totals_written()
    replace(trial, until=0.5)
    survived = trial.wait_compacted(before, until=0.8)
    words = thaw_and_see_it_leave(trial, old)
    trial.feed(0.9)
    trial.wait_done(0.9)
    for worker in list(trial.workers):
        trial.dismiss(worker)
    trial.worker("cold")
    trial.feed()
    scenario.must_be_exact(
        trial.finish(), it_said=words, percent_left_of_the_changelog=100 * survived
    )


@pytest.mark.chaos(long=300_000, quick=40_000, quick_of="[in-assigned]")
@pytest.mark.parametrize("callback", ["in-assigned", "in-revoked"])
def test_zombie_in_its_callback(scenario, broker, trial_on, callback):
    """Frozen inside its rebalance callback when a second worker joins, which then gets everything;
    thawed while that is half way. Whoever loses the partition leaves with code 70 and is restarted.

    It thaws believing that partitions are its own: unfenced it restores and counts beside the owner.
    """
    trial = trial_on(broker)
    # The first time is when it comes itself, the second when somebody joins.
    old = trial.worker("old", f"{callback}:2:freeze")
    trial.wait_owned(old, 4)
    trial.feed()
    trial.wait_done(0.2)
    new = trial.worker("new")
    trial.wait(lambda: old.is_frozen, f"frozen {callback}")
    trial.wait_owned(new, 4)
    trial.wait_done(0.5)
    old.send(signal.SIGCONT)
    trial.wait_owned(old, 2)
    trial.wait_owned(new, 2)
    verdict = trial.finish()
    left = sum(code == LEFT for _, code in trial.exits)
    scenario.must_be_exact(verdict, left_with_70=left)


@pytest.mark.chaos(long=100_000, quick=40_000, quick_of="[with_another]")
@pytest.mark.parametrize("with_another", [False, True], ids=["alone", "with_another"])
def test_stalled_transaction(scenario, broker, trial_on, with_another):
    """Frozen inside a transaction: how long readers of committed records are held back, alone until
    the transaction times out, with another worker until that takes over.

    Without an end the reader would wait for ever; the test would not come to its figure.
    """
    trial = trial_on(broker)
    if with_another:
        trial.worker("other")
    old = trial.worker("old", f"before-commit:{early(scenario)}:freeze")
    trial.wait(lambda: trial.owned(old) == (2 if with_another else 4), "partitions shared")
    # Nobody asks the workers how far they are: one that freezes as it answers would take up most of the
    # transaction's time. So the producer goes ahead by itself.
    trial.feed(ahead=scenario.events)
    old.wait(lambda: old.is_frozen, PATIENCE, "frozen in its flush")
    topic = trial.topic(LEDGER)
    written = chaos_broker.ends(trial.bootstrap, topic)
    shown = chaos_broker.ends(trial.bootstrap, topic, "read_committed")
    assert shown != written, "nothing was in the transaction"

    def is_shown() -> bool:
        now = chaos_broker.ends(trial.bootstrap, topic, "read_committed")
        return all(a >= b for a, b in zip(now, written, strict=True))

    trial.wait(is_shown, "readers go on")
    waited = time.time() - old.fault_at
    old.send(signal.SIGCONT)
    scenario.must_be_exact(trial.finish(), seconds_readers_waited=waited, session=SESSION)
