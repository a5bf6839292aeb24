"""The worker's four steps in one process: the same folds on the same state, and no broker.

Topics are lists, a batch is a call, and a crash is an exception that is not thrown: state is read back
from its changelog, as after ``kill -9``. Who folds next and how much is asked of a
schedule, so that one input can be run in thousands of ways within seconds.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from agents.attributing import EVIDENCE_STORES, AttributionConfig, fold_evidence
from agents.judging import JUDGE_STORES, RuleBook, RuleJudge
from agents.meeting import MeetingConfig
from agents.releases import ReleasesConfig
from alerts.incidents import INCIDENT_STORES, IncidentConfig, fold_findings
from alerts.rules import parse_rules
from engine.flush import partition_of
from engine.store import PartitionState, last_values
from models.config import parse_series_config
from models.flow import TIMERS, Batch, Due, Fold, Output, Record, StoreSpec
from models.records import (
    Alert,
    Finding,
    Window,
    decode_alert,
    decode_dead_letter,
    decode_finding,
    decode_late,
    decode_notification,
    decode_window,
)
from tables.ingest import METRIC_STORES, PLAY_STORES, IngestConfig, fold_metrics, fold_plays
from tables.windowing import WINDOW_STORES, WindowsConfig, fold_windows
from tests.support.plays import MINUTE, Sent

PARTITIONS = 4
QUIET_ROUNDS = 4
"""So many rounds of empty batches without any output mean that all is done."""


class Step(NamedTuple):
    """One step of the worker: the topic it folds, and how."""

    name: str
    source: str
    stores: Sequence[StoreSpec]
    fold: Fold


class Tally:
    """The counters of all folds, in a dict: (name, reason) -> n."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def count(self, name: str, reason: str, n: int = 1) -> None:
        """Add ``n``."""
        self.counts[name, reason] += n


def shipped_steps(
    series: Mapping[str, Any],
    rules: Mapping[str, Any],
    tenants: Iterable[str],
    tally: Tally | None = None,
) -> list[Step]:
    """The steps of the worker, wired as ``agents.topology`` does it, from read configurations."""
    counters = tally or Tally()
    config = parse_series_config(dict(series))
    parsed, receivers = parse_rules(dict(rules), config)
    ingest = IngestConfig(
        series=config, tenants=frozenset(tenants), partials=PARTITIONS, sources=PARTITIONS,
        forwarding=True, counters=counters,
    )  # fmt: skip
    sources = {"plays": PARTITIONS, "metrics": PARTITIONS}
    windows = WindowsConfig(series=config, sources=sources, counters=counters)
    book = RuleBook(parsed)
    judge = RuleJudge(book, (w.size for w in config.windows))
    limit = config.limits.entities_per_tenant
    meeting = MeetingConfig(config.joints, PARTITIONS, limit, book, counters)
    released = ReleasesConfig(config.limits.releases_per_tenant, book, counters)
    judged = AttributionConfig(PARTITIONS, counters, meeting, released)
    return [
        Step("plays", "plays", PLAY_STORES, partial(fold_plays, config=ingest)),
        Step("metrics", "metrics", METRIC_STORES, partial(fold_metrics, config=ingest)),
        Step(
            "windows", "partials", (*WINDOW_STORES, *JUDGE_STORES),
            partial(fold_windows, config=windows, judge=judge),
        ),
        Step(
            "attribution", "evidence", EVIDENCE_STORES,
            partial(fold_evidence, config=judged),
        ),
        Step(
            "alerts", "findings", INCIDENT_STORES,
            partial(fold_findings, config=IncidentConfig(receivers=receivers, counters=counters)),
        ),
    ]  # fmt: skip


class Place(NamedTuple):
    """One source partition of one step."""

    step: str
    partition: int


@dataclass
class Schedule:
    """Who folds next and how many records, decided by a seed.

    ``sizes`` are the batch sizes to choose from. ``fair``: the chance that any place may be next;
    otherwise the one that is being read goes on until it has nothing left. ``restarts`` and
    ``crashes``: the chance, per batch, that the place is read back from its changelog after the flush,
    or in the middle of it. ``tick``: processing time between two batches is less than so many ms.
    """

    seed: int
    sizes: Sequence[int] = (1, 7, 100, 1_000)
    fair: float = 1.0
    restarts: float = 0.0
    crashes: float = 0.0
    max_crashes: int = 1_000_000
    tick: int = 1
    rng: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def next_place(self, waiting: Sequence[Place], last: Place | None) -> Place:
        """The place whose batch is folded now."""
        if last in waiting and self.rng.random() >= self.fair:
            return last
        return self.rng.choice(waiting)

    def next_size(self) -> int:
        """How many records it gets."""
        return self.rng.choice(self.sizes)

    def next_tick(self) -> int:
        """The ms until the next batch."""
        return self.rng.randrange(self.tick)

    def restart(self) -> bool:
        """Whether the worker stops and starts after this flush."""
        return self.rng.random() < self.restarts

    def crash(self) -> bool:
        """Whether it is killed in the middle of this flush."""
        if self.max_crashes <= 0 or self.rng.random() >= self.crashes:
            return False
        self.max_crashes -= 1
        return True


class _Held:
    """A source partition: its state, its changelog, and the next offset."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.changelog: dict[bytes, bytes] = {}
        self.state = PartitionState(step.stores)
        self.next_offset = 0

    def take_due(self, now: int) -> list[Due]:
        """Timers that have come due; they are removed, as the engine does it."""
        timers = self.state.stores[TIMERS]
        due = sorted(Due(key, at) for key, at in timers.items() if at <= now)
        for timer in due:
            del timers[timer.key]
        return due

    def flush(self, next_offset: int, now: int) -> None:
        changes = self.state.freeze(next_offset, now)
        for key, value in changes:
            if value is None:
                self.changelog.pop(key, None)
            else:
                self.changelog[key] = value
        self.next_offset = next_offset

    def restore(self) -> None:
        entries = last_values(self.changelog.items())
        self.state = PartitionState.restored(self.step.stores, entries)
        self.next_offset = self.state.meta.next_offset if self.state.meta else 0


class Pipeline:
    """Topics and state of a whole worker. ``now`` is the processing time of the first batch.

    Time stops before the five minutes are over after which a stream that is far behind would be idle.
    """

    def __init__(self, steps: Sequence[Step], now: int) -> None:
        self.now = now
        self._latest = now + 4 * MINUTE
        self.steps = {step.name: step for step in steps}
        self.topics: dict[str, list[list[Record]]] = {}
        self.held = {Place(s.name, p): _Held(s) for s in steps for p in range(PARTITIONS)}
        self.crashed: list[int] = []

    def topic(self, name: str) -> list[list[Record]]:
        """The partitions of a topic."""
        return self.topics.setdefault(name, [[] for _ in range(PARTITIONS)])

    def send(self, topic: str, records: Iterable[Sent]) -> None:
        """Append records that somebody produced."""
        partitions = self.topic(topic)
        for sent in records:
            log = partitions[sent.partition]
            log.append(Record(len(log), sent.at, sent.key, sent.value, sent.headers))

    def run(self, schedule: Schedule) -> None:
        """Fold until nothing is left, and empty batches bring nothing new either."""
        last: Place | None = None
        quiet = 0
        while quiet < QUIET_ROUNDS:
            waiting = [place for place in self.held if self._lag(place)]
            if waiting:
                quiet = 0
                self.now = min(self.now + schedule.next_tick(), self._latest)
                last = schedule.next_place(waiting, last)
                self._fold(last, schedule)
                continue
            said = [self._fold(place, None) for place in self.held]
            quiet = 0 if any(said) else quiet + 1

    def _lag(self, place: Place) -> int:
        held = self.held[place]
        return len(self.topic(held.step.source)[place.partition]) - held.next_offset

    def _fold(self, place: Place, schedule: Schedule | None) -> int:
        """Fold and flush one batch; how many outputs it had."""
        held = self.held[place]
        log = self.topic(held.step.source)[place.partition]
        begin = held.next_offset
        end = min(len(log), begin + (schedule.next_size() if schedule else 0))
        due = held.take_due(self.now)
        batch = Batch(
            held.step.source, place.partition, log[begin:end], at_end=end == len(log), due=due
        )
        outputs = held.step.fold(batch, held.state.stores, self.now)
        if schedule is not None and schedule.crash():
            self.crashed.append(end - begin)
            self._write(outputs, _some_partitions(schedule.rng))
            held.restore()
            return len(outputs)
        self._write(outputs)
        if end > begin or outputs or held.state.is_dirty:
            held.flush(end, self.now)
        if schedule is not None and schedule.restart():
            held.restore()
        return len(outputs)

    def _write(
        self, outputs: Sequence[Output], reaches: Callable[[str, int], bool] | None = None
    ) -> None:
        for out in outputs:
            target = partition_of(out.key, PARTITIONS) if out.partition is None else out.partition
            if reaches is None or reaches(out.topic, target):
                log = self.topic(out.topic)[target]
                log.append(Record(len(log), self.now, out.key, out.value, out.headers))

    # -- what came out ------------------------------------------------------------------------------

    def left_of(self, stream: str) -> set[tuple[Any, str, str]]:
        """(place, store, key) of all state whose key has the stream's name in it."""
        return {
            (place, name, key)
            for place, held in self.held.items()
            for name, store in held.state.stores.items()
            for key in store
            if stream in key
        }

    def values(self, topic: str) -> list[bytes]:
        """All values of a topic, partition by partition."""
        return [r.value or b"" for log in self.topic(topic) for r in log]

    def results(self) -> Results:
        """Everything that was published."""
        return Results.of({name: self.values(name) for name in RESULT_TOPICS})


def at_once(run: Callable[[Schedule, Tally], Results]) -> tuple[Results, Tally]:
    """What a run of everything at once publishes, one partition after the other, and counts."""
    tally = Tally()
    return run(Schedule(0, sizes=(1_000_000,), fair=0.0), tally), tally


def _some_partitions(rng: random.Random) -> Callable[[str, int], bool]:
    """A crash in the middle of a flush: what goes to some partitions is written, the rest is not."""
    reached: dict[tuple[str, int], bool] = {}
    return lambda topic, partition: reached.setdefault((topic, partition), rng.random() < 0.7)


RESULT_TOPICS = ("windows", "findings", "alerts", "notifications", "dead-letters", "late")


@dataclass
class Results:
    """What a run published, in a form that two runs can be compared by.

    ``windows``: every publication, by the window's id and the number of its revision. Left out is what
    is said of the run and not of the input (kind ``health``).
    """

    windows: dict[tuple[str, int], Window]
    findings: dict[tuple[str, int, str], Finding]
    alerts: dict[tuple[str, int], Alert]
    notifications: set[str]
    dead: set[tuple[str, int, int, str]]
    late: set[tuple[str, int, int]]

    @classmethod
    def of(cls, values: Mapping[str, Sequence[bytes]]) -> Results:
        """From the values of the output topics."""
        windows = [decode_window(value) for value in values["windows"]]
        findings = [decode_finding(value) for value in values["findings"]]
        alerts = [decode_alert(value) for value in values["alerts"]]
        told = [decode_notification(value) for value in values["notifications"]]
        letters = [decode_dead_letter(value) for value in values["dead-letters"]]
        lates = [decode_late(value) for value in values["late"]]
        return cls(
            windows={(w.id, w.revision): w for w in windows},
            findings={(f.incident, f.at, f.state): f for f in findings if f.kind != "health"},
            alerts={
                (a.id, a.revision): _without(a, seen_at=0) for a in alerts if a.kind != "health"
            },
            notifications={n.id for n in told if n.alert.kind != "health"},
            dead={(d.topic, d.partition, d.offset, d.reason) for d in letters},
            late={(e.topic, e.partition, e.offset) for e in lates},
        )

    def windows_of(self, group: str, stream: str) -> list[Window]:
        """The windows of one group instance by their starts."""
        mine = (w for w in self.windows.values() if (w.group, w.stream) == (group, stream))
        return sorted(mine, key=lambda w: w.start)

    @property
    def first(self) -> dict[str, Window]:
        """Windows as they were first published, by id; what holds only late events never was."""
        return {name: window for (name, revision), window in self.windows.items() if not revision}

    @property
    def last(self) -> dict[str, Window]:
        """Windows with all their revisions, by id."""
        return {name: window for (name, _), window in sorted(self.windows.items(), key=_place)}


def _place(item: tuple[tuple[str, int], Window]) -> tuple[str, int]:
    return item[0]


def _without(record: Any, **neutral: Any) -> Any:
    from msgspec.structs import replace

    return replace(record, **neutral)
