"""Brokers that go away and come back, one of one and one of three, while a worker runs."""

import signal
import threading
import time

import pytest

from tests.support import chaos_broker
from tests.support.chaos_app import EVENTS
from tests.support.chaos_trial import LEFT, PROMISED, SLACK


def interrupt_twice(scenario, trial, interrupt):
    """Interrupt the broker at a third and at two thirds of one worker's work."""
    worker = trial.worker("a")
    trial.wait_owned(worker, 4)
    trial.feed()
    for share in (0.3, 0.6):
        trial.wait_done(share)
        interrupt()
    scenario.must_be_exact(trial.finish(), left_with_70=len(trial.exits))


@pytest.mark.chaos(long=300_000)
def test_broker_restart(scenario, own_broker, trial_on):
    """The only broker is stopped and started again twice while the worker runs; a supervisor starts
    a worker that left with code 70.

    A flush that the broker had taken and not answered would be repeated, or given up for lost.
    """
    interrupt_twice(scenario, trial_on(own_broker), own_broker.restart)


@pytest.mark.chaos(long=300_000, quick=40_000)
def test_broker_kill(scenario, own_broker, trial_on):
    """The only broker is killed with `kill -9` and started again twice while the worker runs.

    As in `broker_restart`; an open transaction must end by itself when the broker is back.
    """

    def kill_and_start():
        own_broker.kill()
        own_broker.start()

    interrupt_twice(scenario, trial_on(own_broker), kill_and_start)


@pytest.mark.chaos(long=300_000)
def test_broker_away(scenario, own_broker, trial_on):
    """The broker is away for 60 s in the middle of the work: the worker leaves
    with code 70 in 10 s, tries again as often as its supervisor lets it, and loses nothing.

    A worker that lives on without its group would be seen as a live process that does nothing.
    """
    trial = trial_on(own_broker)
    worker = trial.worker("a")
    trial.wait_owned(worker, 4)
    trial.feed()
    trial.wait_done(0.3)
    own_broker.kill()
    began = time.monotonic()
    assert trial.wait_end(worker) == LEFT, worker.tail()
    left = time.monotonic() - began
    assert left < PROMISED + SLACK
    assert worker.last_words(), worker.tail()
    trial.forgive = frozenset({LEFT, 1})  # it cannot even start
    until = began + 60
    trial.wait(lambda: time.monotonic() > until, "the outage's end", 90)
    own_broker.start()
    scenario.must_be_exact(trial.finish(), seconds_to_leave=left, starts_again=len(trial.exits))


@pytest.mark.chaos(long=300_000)
def test_sigterm_while_the_broker_is_away(scenario, own_broker, trial_on):
    """SIGTERM to a worker whose broker has just been killed: it is gone in 10 s; what it had not
    flushed is done by the next one.

    A worker that waits for its broker must be killed by hand, or by the orchestrator after minutes.
    """
    trial = trial_on(own_broker)
    worker = trial.worker("a")
    trial.wait_owned(worker, 4)
    trial.feed()
    trial.wait_done(0.3)
    own_broker.kill()
    threading.Event().wait(0.5)  # so that the loss is noticed before the signal comes, or is not
    worker.supervised = False
    began = time.monotonic()
    worker.send(signal.SIGTERM)
    code = trial.wait_end(worker)
    took = time.monotonic() - began
    assert took < PROMISED + SLACK
    assert code in {0, LEFT}
    own_broker.start()
    worker.supervised = True
    worker.start_with()
    scenario.must_be_exact(trial.finish(), seconds_to_leave=took, exit_code=code)


@pytest.mark.chaos(long=300_000)
def test_leader_lost(scenario, cluster, trial_on):
    """Three brokers, everything on all of them: the one that leads a source partition is killed with
    `kill -9`, comes back, then the one that leads a changelog partition.

    Acknowledged records that only the lost leader had would be missing from state or ledger.
    """
    trial = trial_on(cluster, BACKBEAT_REPLICATION="3")
    worker = trial.worker("a")
    trial.wait_owned(worker, 4)
    trial.feed()
    for share, topic in ((0.3, trial.topic(EVENTS)), (0.6, trial.changelog)):
        trial.wait_done(share)
        leader = chaos_broker.leaders(trial.bootstrap, topic)[0]
        node = next(n for n in cluster.nodes if n.node == leader)
        node.kill()
        trial.wait_done(share + 0.15)
        node.start()
    scenario.must_be_exact(trial.finish(), left_with_70=len(trial.exits))
