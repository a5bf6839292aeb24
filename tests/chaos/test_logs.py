"""What happens to the logs: a changelog that was compacted, group offsets that expired, a source cut off."""

import re

import pytest

from tests.support import chaos_broker
from tests.support.chaos_app import EVENTS
from tests.support.chaos_broker import OFTEN_COMPACTED
from tests.support.chaos_events import PARTITIONS, Place


def stop_all(trial):
    for worker in list(trial.workers):
        trial.dismiss(worker)


@pytest.mark.chaos(long=3_000_000)
def test_compacted_changelog(scenario, broker, trial_on):
    """The log cleaner has removed most of the changelog, as seen by its offsets; a worker with nothing
    on disk restores from what is left and goes on.

    A reader that takes a gap for an end, or an aborted record for state, starts with wrong counts.
    """
    trial = trial_on(broker)
    chaos_broker.create(trial.bootstrap, trial.changelog, OFTEN_COMPACTED)
    trial.worker("a")
    trial.feed(0.4)
    trial.wait_done(0.4)
    survived = trial.wait_compacted(trial.totals_written(), until=0.9)
    stop_all(trial)
    trial.worker("cold")
    trial.feed()
    scenario.must_be_exact(trial.finish(), percent_left_of_the_changelog=100 * survived)


@pytest.mark.chaos(long=300_000)
def test_expired_offsets(scenario, broker, trial_on):
    """The group and its offsets are deleted while no worker runs: the next one goes on from the
    changelog's own offset.

    Were the group believed, everything would be counted a second time.
    """
    trial = trial_on(broker)
    trial.worker("a")
    trial.feed(0.5)
    trial.wait_done(0.5)
    stop_all(trial)
    chaos_broker.delete_group(trial.bootstrap, trial.name)
    assert chaos_broker.committed(trial.bootstrap, trial.name, trial.topic(EVENTS)) == [-1] * 4
    trial.worker("b")
    trial.feed()
    scenario.must_be_exact(trial.finish())


@pytest.mark.chaos(long=300_000, quick=20_000)
def test_truncated_source(scenario, broker, trial_on):
    """Records are deleted from the source before anybody read them, while no worker runs: the next one
    counts them, says so for each partition, and goes on with the first that is left.

    Silence would be a loss that nobody sees; waiting for the lost offset would last for ever.
    """
    trial = trial_on(broker)
    trial.worker("a")
    trial.feed(0.4)
    trial.wait_done(0.4)
    stop_all(trial)
    topic = trial.topic(EVENTS)
    reached = chaos_broker.ends(trial.bootstrap, topic)
    trial.feed_all(0.8)
    first = [
        (a + b) // 2
        for a, b in zip(reached, chaos_broker.ends(trial.bootstrap, topic), strict=True)
    ]
    chaos_broker.delete_records(trial.bootstrap, topic, dict(enumerate(first)))
    lost = {Place(p, o) for p in range(PARTITIONS) for o in range(reached[p], first[p])}
    worker = trial.worker("b")
    trial.feed()
    trial.wait_done(1.0)
    counted = re.findall(
        rb"^backbeat_source_records_truncated_total\S* (\S+)$",
        worker.get("/metrics")[1],
        re.MULTILINE,
    )
    said = worker.log.read_text().count(f"source {topic}[")
    verdict = trial.finish(trial.plan.expected(lost=lost))
    scenario.must_be_exact(verdict, truncated=len(lost))
    assert sum(map(float, counted)) == len(lost)
    assert said == PARTITIONS
