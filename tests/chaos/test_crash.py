"""The crash test: worker and API killed three times in the middle of the plays, on real Kafka.

What goes in is judged a second time by a batch job (``tests.support.oracle``) that reads the same
topic; what came out, from SQLite to a webhook, is compared with its answer. The flush is at least
once, so windows may exceed the answer by what the last unacknowledged batches held: the test says by
how much, and that it is no more. If something were lost, a window would be ``missing`` or ``short``,
with its key and both numbers; if something were made up, ``foreign``.

20,000 plays by default; ``CHAOS_PLAYS=300000`` is the full size. ``-s`` shows the figures.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from collections import defaultdict
from dataclasses import dataclass

import msgspec
import pytest

from engine.hooks import MAX_CHUNK
from models.records import (
    decode_alert,
    decode_dead_letter,
    decode_late,
    decode_notification,
    decode_window,
)
from tests.chaos.stack import PATIENCE, Background, Stack
from tests.support import oracle
from tests.support.comparison import (
    Comparison,
    Found,
    compare,
    compare_spreads,
    of_sqlite,
    refuse_foreign,
)
from tests.support.oracle import Definitions, Expected, Stored, Verdicts, WindowKey
from tests.support.plays import HOUR, MINUTE, Plan, Sent, closing_plays, end_markers, make_plays
from tests.support.topics import read_topic, values_of
from tests.support.webhook import Request, WebhookRecorder
from tests.support.worker import ROOT

PLAYS = int(os.environ.get("CHAOS_PLAYS", "20000"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
KILLS = 3
MAX_BATCH = max(2_000, MAX_CHUNK)
"""Records of one batch at most: as configured, or one chunk."""

TENANTS = ("demo", "acme")
pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(3 * PATIENCE)]


@dataclass
class Plans:
    """What is sent: most plays to Kafka, some of them a replay, and some through the API."""

    live: Plan
    replay: Plan
    posted: Plan

    @classmethod
    def of(cls, count: int, now: int) -> Plans:
        """A split of so many plays, over the last hours: they must be within retention."""
        begin = (now - 4 * HOUR) // (10 * MINUTE) * (10 * MINUTE)
        listeners = max(300, count // 60)
        live = Plan(SEED, count * 88 // 100, listeners, begin)
        replay = Plan(
            SEED + 1, count // 10, 200, begin - 5 * HOUR, 10 * MINUTE, stream="replay", very_late=0
        )
        posted = Plan(
            SEED + 2, count // 50, 200, begin, tenants=("demo",),
            duplicates=0, garbage=0, anonymous=0, very_late=0,
        )  # fmt: skip
        return cls(live, replay, posted)

    def records(self) -> list[Sent]:
        """Live plays and the replay's, side by side."""
        both = [
            ((sent.at - plan.begin) / plan.span, sent)
            for plan in (self.live, self.replay) for sent in make_plays(plan)
        ]  # fmt: skip
        return [sent for _, sent in sorted(both, key=lambda item: item[0])]


@dataclass
class Aftermath:
    """What is there when all is done."""

    verdicts: Verdicts
    wanted: dict[WindowKey, Expected]
    found: dict[WindowKey, Found]
    comparison: Comparison
    distinct_error: float
    letters: list[tuple[str, int, int, str]]
    late: list[tuple[int, int]]
    sent: list[Sent]
    stored: list[list[Stored]]
    acknowledged: list[str]
    requests: list[Request]
    notifications: dict[str, tuple[str, str]]
    alerts: list[dict[str, object]]
    shown: list[dict[str, object]]
    published: list[str]


@pytest.fixture(scope="module")
def after(kafka_server, tmp_path_factory):
    """Run it all, once."""
    folder = tmp_path_factory.mktemp("chaos")
    plans = Plans.of(PLAYS, time.time_ns() // 1_000_000)
    with WebhookRecorder() as hook:
        stack = Stack(kafka_server, f"chaos{uuid.uuid4().hex[:8]}", folder, hook, PLAYS // 8)
        try:
            records = _run(stack, plans)
            yield _examine(stack, hook, records)
        finally:
            stack.worker.kill()
            stack.api.kill()


def _run(stack: Stack, plans: Plans) -> list[Sent]:
    """Everything that is sent and killed. Returns what was sent to Kafka directly."""
    rng = random.Random(SEED)
    records = plans.records()
    begun, rest = records[: len(records) // 20], records[len(records) // 20 :]
    stack.start()
    # So many at once that every partition has some: one that stays empty would count as idle.
    stack.feed(begun, paced=False)
    stack.wait_flushed(len(begun))
    feeder = Background(lambda: stack.feed(rest, already=len(begun)))
    poster = Background(lambda: stack.post(make_plays(plans.posted), len(records)))
    feeder.start()
    poster.start()
    shares = [(k + rng.uniform(0.3, 0.9)) / KILLS * 0.9 for k in range(KILLS)]
    stack.crash([int(share * len(records)) for share in shares], rng)
    stack.wait_flushed(len(records))
    feeder.finish()
    poster.finish()
    last = closing_plays(plans.live, 25 * MINUTE) + end_markers(plans.replay)
    stack.feed(last, paced=False)
    return records + last


def _examine(stack: Stack, hook: WebhookRecorder, sent: list[Sent]) -> Aftermath:
    """Wait until all is done, then gather what there is and what should be."""
    known = Definitions.read(ROOT / "config" / "series.toml")
    stored = [
        [Stored(r.offset, r.timestamp, r.value, r.headers) for r in partition]
        for partition in read_topic(stack.bootstrap, stack.topic("plays"))
    ]
    verdicts = oracle.judge(stored, known, TENANTS)
    wanted = oracle.expected(verdicts, known, len(stored))

    def is_done() -> bool:
        if not stack.is_caught_up():
            return False
        result = compare(of_sqlite(stack.database), wanted, known.measures)
        return not result.missing and not result.short

    try:
        stack.worker.wait(is_done, 120 + PLAYS / 1000, "every window in the store")
    except AssertionError as exc:
        print(f"\n{exc}")  # the comparison below says what is missing
    found = of_sqlite(stack.database)
    comparison = compare(found, wanted, known.measures)
    refuse_foreign(comparison, found, wanted)
    error = 0.0
    for kind in known.kinds:
        if kind.size <= MINUTE:
            spreads = (
                (k, s) for k, s in oracle.spreads(verdicts.plays, known, kind) if k in wanted
            )
            error = max(error, compare_spreads(found, spreads, comparison))
    notifications = _notifications(stack)
    stack.worker.wait(
        lambda: {r.key for r in hook.accepted()} >= notifications.keys(), 120, "all webhooks sent"
    )
    letters = [
        decode_dead_letter(v) for v in values_of(stack.bootstrap, stack.topic("dead-letters"))
    ]
    lates = [decode_late(v) for v in values_of(stack.bootstrap, stack.topic("late"))]
    return Aftermath(
        verdicts=verdicts, wanted=wanted, found=found, comparison=comparison, distinct_error=error,
        letters=[(d.topic, d.partition, d.offset, d.reason) for d in letters],
        late=[(e.partition, e.offset) for e in lates],
        sent=sent, stored=stored, acknowledged=stack.acknowledged, requests=list(hook.requests),
        notifications=notifications, alerts=_alerts(stack),
        shown=stack.api.get("/api/v1/alerts?limit=500")["items"],
        published=_published(stack, comparison),
    )  # fmt: skip


def _published(stack: Stack, comparison: Comparison) -> list[str]:
    """Every version of the first few windows that lack plays, in the order they were published."""
    wanted = {key for key, _, _ in comparison.short[:3]} | set(comparison.missing[:3])
    if not wanted:
        return []
    found = []
    for value in values_of(stack.bootstrap, stack.topic("windows")):
        w = decode_window(value)
        if (key := (w.group, w.stream, w.size, w.slide, w.start)) in wanted:
            found.append(f"{key}: revision {w.revision}, {w.count} plays, {w.late} late")
    return found


def _notifications(stack: Stack) -> dict[str, tuple[str, str]]:
    values = values_of(stack.bootstrap, stack.topic("notifications"))
    found = [decode_notification(value) for value in values]
    return {n.id: (n.alert.id, n.transition) for n in found}


def _alerts(stack: Stack) -> list[dict[str, object]]:
    values = values_of(stack.bootstrap, stack.topic("alerts"))
    last: dict[str, object] = {}
    for alert in sorted(map(decode_alert, values), key=lambda a: a.revision):
        last[alert.id] = msgspec.to_builtins(alert)
    return list(last.values())


# -- what must hold -----------------------------------------------------------------------------------


def test_everything_that_was_sent_is_in_the_topic(after):
    """Else the rest would be compared with too little. What the API acknowledged is there, too."""
    values = [{r.value for r in partition} for partition in after.stored]
    assert not [s for s in after.sent if s.value is not None and s.value not in values[s.partition]]
    there = {
        msgspec.json.decode(r.value).get("event_id")
        for partition in after.stored for r in partition
        if r.value and b'"live-%d-' % (SEED + 2) in r.value
    }  # fmt: skip
    assert len(after.acknowledged) == PLAYS // 50
    assert set(after.acknowledged) <= there
    counts = after.verdicts.counts()
    assert min(counts.values()) > 0, counts


def test_no_window_is_missing_or_short_or_wrong(after):
    assert after.comparison.faults + after.published == []
    assert after.distinct_error < 0.016


def test_windows_exceed_only_by_unacknowledged_batches(after, capsys):
    """A kill repeats at most the batch that was being flushed: one a step, of MAX_BATCH records."""
    excess = after.comparison.excess
    twice = after.comparison.counted_twice(10_000)
    with capsys.disabled():
        print(
            f"\n{PLAYS} plays, {KILLS} kills, {after.verdicts.counts()}: {after.comparison.compared} "
            f"windows compared, {len(excess)} exceed by {sum(excess.values())} plays "
            f"(at most {max(excess.values(), default=0)} each); {twice} plays were counted twice; "
            f"{len(after.letters) - len(set(after.letters))} dead letters and "
            f"{len(after.requests) - len({r.key for r in after.requests})} webhooks came again; "
            f"distinct listeners are off by {after.distinct_error:.2%} (rms)"
        )
    assert twice <= KILLS * MAX_BATCH
    assert max(excess.values(), default=0) <= KILLS * MAX_BATCH


def test_every_rejected_record_is_a_dead_letter(after):
    """By place in ``plays``: all that the batch job rejects and nothing else, repeats apart."""
    places = {
        (partition, offset) for topic, partition, offset, _ in after.letters if topic == "plays"
    }
    assert places == after.verdicts.rejected
    assert {topic for topic, _, _, _ in after.letters} == {"plays"}
    assert set(after.late) == after.verdicts.beyond


def test_the_incident_is_alerted_once(after):
    """What fails in the data is found, once, in spite of the kills; and nothing else fails."""
    errors = [a for a in after.alerts if a["rule"] == "playback-errors" and a["stream"] == "live"]
    assert {tuple(sorted(a["tags"].items())) for a in errors} == {
        (("country", "FR"), ("platform", "ios"))
    }
    assert sum(a["tenant"] == "demo" for a in errors) == 1


def test_a_transition_has_one_key_and_a_key_one_content(after):
    """A receiver that honours the key sees each transition once; repeats under a key are allowed."""
    contents = defaultdict(list)
    transitions = defaultdict(set)
    for request in after.requests:
        content = request.content
        if content not in contents[request.key]:
            contents[request.key].append(content)
        transitions[content["alert"]["id"], content["transition"]].add(request.key)
    assert [c for c in contents.values() if len(c) > 1] == []
    assert [t for t, keys in transitions.items() if len(keys) > 1] == []
    assert contents.keys() == after.notifications.keys()
    assert contents


def test_the_api_shows_what_was_published(after):
    mine = {a["id"]: a["state"] for a in after.alerts if a["tenant"] == "demo"}
    assert {a["id"]: a["state"] for a in after.shown} == mine
    assert mine


def test_the_comparison_can_fail(after):
    """Take a window away, or a play, or add one: each is noticed, under its own name."""
    key = next(k for k, w in after.wanted.items() if w.certain and k not in after.comparison.excess)
    got, want = after.found[key], after.wanted[key]
    without = {k: v for k, v in after.found.items() if k != key}
    assert compare(without, after.wanted, ()).missing == [key]
    less = after.found | {key: got._replace(count=want.n - 1)}
    assert compare(less, after.wanted, ()).short == [(key, want.n - 1, want.n)]
    more = after.found | {key: got._replace(count=want.n + 3)}
    assert compare(more, after.wanted, ()).excess == after.comparison.excess | {key: 3}
    fewer = {k: v for k, v in after.wanted.items() if k != key}
    strange = Comparison()
    refuse_foreign(strange, after.found, fewer)
    assert (key, got.count) in strange.foreign
