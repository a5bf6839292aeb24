"""The checks can fail: a weaker flush is caught by them, and so is every kind of tampering."""

import json
import signal

import pytest

from tests.support import chaos_results
from tests.support.chaos_app import Line
from tests.support.chaos_events import Plan
from tests.support.chaos_ledger import Verdict, compare_sums, follow_chains

PLAN = Plan(seed=3, events=5_000)


@pytest.mark.chaos(long=300_000, quick=20_000)
def test_plain_flush_repeats(scenario, broker, trial_on):
    """The control: the same kill with `BACKBEAT_FLUSH=plain`, between outputs and state. The checks
    must report repeats, and no loss.

    If they reported none, they could not see any in the other scenarios either.
    """
    trial = trial_on(broker, BACKBEAT_FLUSH="plain")
    worker = trial.worker("a", "before-commit:8", BACKBEAT_GROUP_INSTANCE_ID="a")
    trial.feed()
    assert trial.wait_end(worker) == -signal.SIGKILL
    worker.start_with()
    verdict = trial.finish()
    scenario.note(verdict)
    assert verdict.faults
    assert verdict.doubled > 0
    assert verdict.lost == 0


def lines(batch=100):
    """The ledger of a run without faults."""
    found, totals = [], {}
    for begin in range(0, PLAN.events, batch):
        before = {}
        for event in PLAN.make(begin, begin + batch):
            key = event.key.decode()
            count, total = totals.get(key, (0, 0))
            before.setdefault(key, (count, total))
            totals[key] = (count + 1, total + event.amount)
        found += [Line(key, 0, was, totals[key]) for key, was in before.items()]
    return found


def followed(ledger):
    verdict = Verdict()
    follow_chains(verdict, ledger, PLAN.expected().tally)
    return verdict


def test_a_true_ledger_is_believed():
    verdict = followed(lines())
    assert verdict.faults == []
    assert (verdict.lost, verdict.doubled, verdict.lines) == (0, 0, len(lines()))


@pytest.mark.parametrize("at", [0, 700, -1])
def test_a_line_that_is_missing_is_a_loss(at):
    ledger = lines()
    gone = ledger.pop(at)
    verdict = followed(ledger)
    assert verdict.lost == gone.after[0] - gone.before[0]
    assert verdict.doubled == 0


@pytest.mark.parametrize("at", [0, 700, -1])
def test_a_line_that_is_repeated_is_a_repeat(at):
    ledger = lines()
    again = ledger[at]
    verdict = followed([*ledger[: at % len(ledger) + 1], again, *ledger[at % len(ledger) + 1 :]])
    assert verdict.doubled == again.after[0] - again.before[0]
    assert verdict.lost == 0


def test_a_wrong_sum_is_found_where_the_count_is_right():
    expected = PLAN.expected().panes
    key, (count, total) = next(iter(expected.items()))
    verdict = Verdict()
    compare_sums(verdict, "panes", expected | {key: (count, total + 1)}, expected)
    assert verdict.faults == [f"panes of {key} is {(count, total + 1)}, should be {(count, total)}"]


def test_counts_that_are_off_are_lost_or_doubled():
    expected = PLAN.expected().tally
    (one, (n, s)), (other, (m, t)) = list(expected.items())[:2]
    verdict = Verdict()
    compare_sums(verdict, "tally", expected | {one: (n - 1, s), other: (m + 2, t)}, expected)
    assert (verdict.lost, verdict.doubled) == (1, 2)


def test_any_part_of_a_plan_is_the_same():
    whole = list(PLAN.make())
    assert list(PLAN.make(1_234, 3_210)) == whole[1_234:3_210]
    assert [*PLAN.make(0, 77), *PLAN.make(77)] == whole


def test_the_page_is_what_the_results_say():
    """Written by ``make chaos``; by hand it would drift."""
    table = json.loads(chaos_results.TABLE.read_text())
    assert chaos_results.page(table) == chaos_results.PAGE.read_text()
