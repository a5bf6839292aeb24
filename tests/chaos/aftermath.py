"""One run of the shipped system with worker and API killed in the middle, and what is there afterwards.

What goes in is judged a second time by a batch job (``tests.support.oracle``) that reads the same
topic; what came out, from SQLite to the notifications, is put beside its answer.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from models.records import (
    Notification,
    decode_alert,
    decode_dead_letter,
    decode_late,
    decode_notification,
    decode_window,
)
from tests.chaos.stack import Background, Stack
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
from tests.support.process import ServerProcess
from tests.support.topics import read_topic, values_of
from tests.support.webhook import Request, WebhookRecorder
from tests.support.worker import ROOT

TENANTS = ("demo", "acme")


@dataclass
class Plans:
    """What is sent: most plays to Kafka, some of them a replay, and some through the API."""

    live: Plan
    replay: Plan
    posted: Plan

    @classmethod
    def of(cls, count: int, seed: int, *, twice: bool = False) -> Plans:
        """A split of so many plays, over the last hours: they must be within retention.

        With ``twice`` a producer delivers every play that has an id again, soon or minutes later; and
        all have one.
        """
        now = time.time_ns() // 1_000_000
        begin = (now - 4 * HOUR) // (10 * MINUTE) * (10 * MINUTE)
        listeners = max(300, count // 60)
        live = Plan(seed, count * 88 // 100, listeners, begin)
        replay = Plan(
            seed + 1, count // 10, 200, begin - 5 * HOUR, 10 * MINUTE, stream="replay", very_late=0
        )
        posted = Plan(
            seed + 2, count // 50, 200, begin, tenants=("demo",),
            duplicates=0, garbage=0, anonymous=0, very_late=0,
        )  # fmt: skip
        if twice:
            live, replay = (replace(p, duplicates=1.0, anonymous=0.0) for p in (live, replay))
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
    notified: list[str]
    alerts: list[dict[str, object]]
    shown: list[dict[str, object]]
    published: list[str]
    left: int

    def lost_on_the_way(self) -> list[Sent]:
        """What was sent and is not in the topic: the rest would be compared with too little."""
        values = [{r.value for r in partition} for partition in self.stored]
        return [s for s in self.sent if s.value is not None and s.value not in values[s.partition]]

    def repeats(self) -> dict[str, int]:
        """Records on topics, and plays in windows, that are there more often than once."""
        return {
            "plays counted twice": self.comparison.counted_twice(10_000),
            "windows that exceed": len(self.comparison.excess),
            "dead letters again": _again(self.letters),
            "late events again": _again(self.late),
            "notifications again": _again(self.notified),
        }

    def figures(self) -> dict[str, int]:
        """What was looked at, and how often it was repeated."""
        webhooks = [request.key for request in self.requests]
        return {
            "plays": sum(map(len, self.stored)), "windows compared": self.comparison.compared,
            "dead letters": len(self.letters), "late events": len(self.late),
            "notifications": len(self.notified), "left with 70": self.left,
            "webhooks posted again": _again(webhooks),
            **self.repeats(),
        }  # fmt: skip


def _again(things: Sequence[Hashable]) -> int:
    return len(things) - len(set(things))


@contextmanager
def crashed(broker: ServerProcess, folder: Path, plans: Plans, kills: int) -> Iterator[Aftermath]:
    """Send the plays through the whole system, killing worker and API so often; what is left."""
    total = plans.live.plays + plans.replay.plays
    with WebhookRecorder() as hook:
        stack = Stack(broker, f"chaos{uuid.uuid4().hex[:8]}", folder, hook, total // 8)
        try:
            records = _run(stack, plans, kills)
            yield _examine(stack, hook, records)
        finally:
            stack.worker.kill()
            stack.api.kill()


def _run(stack: Stack, plans: Plans, kills: int) -> list[Sent]:
    """Everything that is sent and killed. Returns what was sent to Kafka directly."""
    rng = random.Random(plans.live.seed)
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
    shares = [(k + rng.uniform(0.3, 0.9)) / kills * 0.9 for k in range(kills)]
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
        stack.worker.wait(is_done, 120 + len(sent) / 1000, "every window in the store")
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
    notified = _notifications(stack)
    notifications = {n.id: (n.alert.id, n.transition) for n in notified}
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
        notifications=notifications, notified=[n.id for n in notified], alerts=_alerts(stack),
        shown=stack.api.get("/api/v1/alerts?limit=500")["items"],
        published=_published(stack, comparison), left=stack.worker.left,
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


def _notifications(stack: Stack) -> list[Notification]:
    values = values_of(stack.bootstrap, stack.topic("notifications"))
    return [decode_notification(value) for value in values]


def _alerts(stack: Stack) -> list[dict[str, object]]:
    values = values_of(stack.bootstrap, stack.topic("alerts"))
    last: dict[str, object] = {}
    for alert in sorted(map(decode_alert, values), key=lambda a: a.revision):
        last[alert.id] = msgspec.to_builtins(alert)
    return list(last.values())
