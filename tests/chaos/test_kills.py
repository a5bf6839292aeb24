"""Workers that are killed, stopped, and that come and go: the state and the ledger stay exact."""

import random
import signal
import time

import pytest

from tests.support.chaos_events import instants
from tests.support.chaos_faults import FLUSH_POINTS
from tests.support.chaos_trial import PROMISED, SLACK

GIVING_UP = "Revoking previously assigned partitions"
"""What the client library logs when it enters a rebalance."""

ALL_POINTS = (*FLUSH_POINTS, "before-fold", "after-fold")


@pytest.mark.chaos(long=3_000_000, quick=60_000)
def test_kill(scenario, broker, trial_on):
    """`kill -9` at ten random instants (three in `make test`), each time started again.

    Were state and offset not committed together, a key's count would differ; were outputs not in the
    same commit, the ledger would overlap where a batch was told twice.
    """
    trial = trial_on(broker)
    worker = trial.worker("a", BACKBEAT_GROUP_INSTANCE_ID="a")
    trial.wait_owned(worker, 4)
    trial.feed()
    shares = instants(scenario.seed, 10 if scenario.is_long else 3)
    for share in shares:
        trial.wait_done(share)
        worker.kill(signal.SIGKILL)
        worker.start_with()
    scenario.must_be_exact(trial.finish(), kills=len(shares))


@pytest.mark.chaos(long=300_000, quick=40_000)
def test_kill_at_every_point(scenario, broker, trial_on):
    """The worker kills itself at each point of a flush in turn: begun, written, committing, committed,
    before and after the fold.

    A point whose kill loses or repeats a batch leaves a gap or an overlap at exactly that batch.
    """
    trial = trial_on(broker)
    worker = trial.worker("a", f"{ALL_POINTS[0]}:4", BACKBEAT_GROUP_INSTANCE_ID="a")
    trial.feed(ahead=2_000)  # batches of 500, so that there are enough of them for every point
    for point in (*ALL_POINTS[1:], ""):
        assert trial.wait_end(worker) == -signal.SIGKILL
        worker.start_with(f"{point}:4" if point else "")
    trial.feed()
    scenario.must_be_exact(trial.finish(), kills=len(ALL_POINTS))


@pytest.mark.chaos(long=300_000, quick=40_000)
def test_one_of_two_stopped_the_other_killed(scenario, broker, trial_on):
    """Two workers share the partitions; one is stopped by SIGTERM, a third comes, the second is killed.

    A partition that changes hands before its flush is over would be counted by both, or by neither.
    """
    trial = trial_on(broker)
    first, second = trial.worker("a"), trial.worker("b")
    trial.wait_owned(first, 2)
    trial.wait_owned(second, 2)
    trial.feed()
    trial.wait_done(0.25)
    stopped = trial.dismiss(first)
    trial.wait_done(0.4)
    third = trial.worker("c")
    trial.wait_owned(third, 2)
    trial.wait_done(0.7)
    trial.remove(second)
    trial.wait_owned(third, 4)
    scenario.must_be_exact(trial.finish(), seconds_to_stop=stopped)


@pytest.mark.chaos(long=100_000)
def test_sigterm_in_a_rebalance(scenario, broker, trial_on):
    """SIGTERM to a worker in the middle of a rebalance, which lasts because another member is frozen: it
    is gone in 10 s with code 0, and nothing is lost.

    The client library would wait for the group, and the group waits for the frozen member.
    """
    trial = trial_on(broker, BACKBEAT_SESSION_TIMEOUT="20")
    first, frozen = trial.worker("a"), trial.worker("b")
    trial.wait_owned(first, 2)
    trial.wait_owned(frozen, 2)
    trial.feed(0.5)
    trial.wait_done(0.3)
    frozen.send(signal.SIGSTOP)
    rebalances = first.log.read_text().count(GIVING_UP)
    trial.worker("c")
    trial.wait(lambda: first.log.read_text().count(GIVING_UP) > rebalances, "a in a rebalance")
    began = time.monotonic()
    code = trial.remove(first, signal.SIGTERM)
    took = time.monotonic() - began
    assert took < PROMISED + SLACK
    assert code == 0
    frozen.send(signal.SIGCONT)
    trial.feed()
    scenario.must_be_exact(trial.finish(), seconds_to_leave=took, exit_code=code)


@pytest.mark.chaos(long=300_000)
@pytest.mark.parametrize("more", range(5))
def test_churn(scenario, broker, trial_on, more):
    """Workers join and leave four times each, by SIGTERM and by SIGKILL, over five seeds.

    An owner that goes on after its partition was given away shows as overlaps, one that starts from a
    stale state as keys with too few events.
    """
    rng = random.Random(scenario.seed + more)
    trial = trial_on(broker)
    trial.worker("w0")
    trial.worker("w1")
    trial.feed()
    codes = []
    turns = ["join", "leave"] * 4
    for number, (share, turn) in enumerate(
        zip(instants(scenario.seed + more, len(turns)), turns, strict=True)
    ):
        trial.wait_done(share)
        if turn == "join":
            newcomer = trial.worker(f"w{number + 2}")
            if rng.random() < 0.5:  # or it may be gone before it has begun
                trial.wait(lambda worker=newcomer: worker.is_up, "the newcomer at work")
        else:
            how = rng.choice([signal.SIGTERM, signal.SIGKILL])
            codes.append(str(trial.remove(rng.choice(trial.workers), how)))
    scenario.must_be_exact(
        trial.finish(), left_by_themselves=len(trial.exits), exit_codes=" ".join(codes)
    )
