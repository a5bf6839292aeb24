"""Where metrics of one thing meet: the part of the attribution step that judges them together.

Readings come from the source partitions of ``metrics``, each in its own order, with watermarks between
them. A window is judged once all partitions are past it by the joint's ``wait``; what its own
partition was past by then is late and left out, and nothing is ever learned twice. Windows are judged
in the order of event time, so what comes out does not depend on batches or on which partition was
faster.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from agents import verdicts
from agents.judging import RuleBook
from alerts import rulestate
from alerts.conditions import LONG_GAP
from alerts.outlook import Together, beside
from alerts.rulestate import RuleState
from ml.joint import JointDetector, JointVerdict
from models.config import JointSpec
from models.errors import StateError
from models.evidence import Sampled
from models.flow import Counters, Output, State, StoreSpec, struct_store
from models.records import LIVE, REMARKABLE, Value, Watermark, Window, to_msgpack
from storage.series_rows import METRIC_MEASURE, parse_group
from tables import sketches
from tables.gathering import DROPPED
from tables.walking import ABANDONED
from tables.watermarks import END_OF_TIME, WATERMARKS, WHOLE_PARTITIONS, StreamClock, clock_key

log = logging.getLogger("backbeat.models")

MOST_OPEN = 512
"""Windows of one thing that wait at once. More come only if one source partition is read so far ahead
of another; those are dropped and counted.
"""

FORGOTTEN = 7 * 86_400_000
"""A thing without a window for so long, ms of event time, begins anew."""

UNWATCHED = 86_400_000
"""What fires on a thing without a window for so long, and for ``LONG_GAP`` windows, ends: nobody sees
whether it goes on. As of plays.
"""

_HOUR = 3_600_000
_VERSION = 1
_LEAST = 0.005
"""Shares below half a hundredth are not told."""


class Entity:
    """What is kept of one thing: its detector (None: begins anew), what rules remember of it, and the
    end of its newest window, epoch ms.
    """

    __slots__ = ("detector", "last", "rules")

    def __init__(
        self, detector: JointDetector | None, rules: dict[str, RuleState], last: int
    ) -> None:
        self.detector = detector
        self.rules = rules
        self.last = last

    def encode(self) -> bytes:
        """The state for the changelog, msgpack."""
        rules = {name: rulestate.encode(state) for name, state in self.rules.items()}
        detector = None if self.detector is None else self.detector.dump()
        return to_msgpack(_Saved(_VERSION, self.last, detector, rules))

    @classmethod
    def decode(cls, data: bytes) -> Entity:
        """The state again. A detector of another version begins anew: it must not stop the worker.

        Raises:
            StateError: the bytes are damaged or of another version.
        """
        try:
            saved = _decode_saved(data)
        except msgspec.DecodeError as exc:
            msg = f"joint state of {len(data)} bytes: {exc}"
            raise StateError(msg) from exc
        if saved.version != _VERSION:
            msg = f"joint state has version {saved.version}; this reads {_VERSION}"
            raise StateError(msg)
        detector = None
        if saved.detector is not None:
            try:
                detector = JointDetector.load(saved.detector)
            except StateError as exc:
                log.error("joint detector begins anew: %s", exc)  # noqa: TRY400
        rules = {name: rulestate.decode(state) for name, state in saved.rules.items()}
        return cls(detector, rules, saved.last)


class _Saved(msgspec.Struct, array_like=True):
    version: int
    last: int
    detector: bytes | None
    rules: dict[str, bytes]


_decode_saved = msgspec.msgpack.Decoder(_Saved).decode

Open = dict[int, dict[str, list[Any]]]
"""The windows of one thing that are not judged yet: end -> metric -> moments."""

CLOCKS = StoreSpec("joint-clocks", WATERMARKS.encode, WATERMARKS.decode)
WAITING = struct_store("joint-windows", Open)
ENTITIES = StoreSpec("joint-entities", Entity.encode, Entity.decode)
JOINT_STORES = (CLOCKS, WAITING, ENTITIES)


@dataclass(frozen=True, slots=True)
class MeetingConfig:
    """``sources``: partitions of ``metrics``; ``limit``: things per tenant, stream and joint."""

    joints: Sequence[JointSpec]
    sources: int
    limit: int
    book: RuleBook
    counters: Counters


class Meeting:
    """The meeting in one batch of the step. Counts ``joint`` {late, crowded, over_limit: samples;
    silent: things that begin anew; reconfigured: those whose metrics changed, and samples of tables
    that are gone}.
    """

    def __init__(self, state: State, now: int, config: MeetingConfig) -> None:
        self._clocks: MutableMapping[str, StreamClock] = state[CLOCKS.name]
        self._waiting: MutableMapping[str, Open] = state[WAITING.name]
        self._entities: MutableMapping[str, Entity] = state[ENTITIES.name]
        self._joints = {joint.series: joint for joint in config.joints}
        self._now = now
        self._config = config
        self._full: dict[tuple[str, str], int] = {}

    def take(self, told: Sampled | Watermark, heard: int) -> list[Output]:
        """Take in what a source partition tells, at this time of Kafka's, and judge what nobody is waited for any more."""
        if isinstance(told, Sampled):
            self._add(told)
            return []
        clock = self._clock(told.tenant, told.stream)
        clock.hear(told, heard)
        clock.touched = self._now
        self._clocks[clock.key] = clock
        moved = sorted(self._clocks) if clock.key == WHOLE_PARTITIONS else [clock.key]
        return [o for k in moved if k in self._clocks for o in self._advance(self._clocks[k])]

    def _clock(self, tenant: str, stream: str) -> StreamClock:
        key = clock_key(tenant, stream)
        return self._clocks.get(key) or StreamClock(tenant, stream, self._now)

    def _joint(self, group: str) -> JointSpec | None:
        """The table a group is of; None where the configuration has it no more."""
        return self._joints.get(parse_group(group).name)

    def _add(self, told: Sampled) -> None:
        """Put readings to their windows."""
        clock = self._clock(told.tenant, told.stream)
        source = clock.sources.get(told.partition)
        passed = clock.combined if source is None else max(clock.combined, source.at)
        for reading in told.readings:
            joint = self._joint(reading.group)
            n = reading.moments[0]
            if joint is None:
                self._count("reconfigured", n)
                continue
            if reading.end + joint.wait <= passed:
                self._count("late", n)
                continue
            key = _key(clock, reading.group)
            windows = self._waiting.get(key) or {}
            if reading.end not in windows and len(windows) >= MOST_OPEN:
                self._count("crowded", n)
                continue
            metrics = windows.setdefault(reading.end, {})
            before = metrics.get(reading.metric)
            metrics[reading.metric] = (
                sketches.merge_moments(before, reading.moments) if before else reading.moments
            )
            self._waiting[key] = windows

    def _advance(self, clock: StreamClock) -> Iterator[Output]:
        """Judge the windows that a stream's watermark has passed, in order."""
        whole = self._clocks.get(WHOLE_PARTITIONS)
        before = clock.combined
        idle = whole.idle_partitions if whole is not None else ()
        if clock.key == WHOLE_PARTITIONS or not clock.combine(self._config.sources, idle):
            return
        self._clocks[clock.key] = clock
        moved = [
            joint for joint in self._config.joints
            if (clock.combined - joint.wait) // joint.window > (before - joint.wait) // joint.window
        ]  # fmt: skip
        due = sorted(self._due(clock)) if moved else []
        for end, group in due:
            key = _key(clock, group)
            windows = self._waiting[key]
            metrics = windows.pop(end)
            if windows:
                self._waiting[key] = windows
            else:
                del self._waiting[key]
            yield from self._judge(clock, group, end, metrics)
        if clock.combined >= END_OF_TIME:
            yield from self._end_incidents(clock, "ended")
            self._forget(clock)
        elif clock.combined // _HOUR > before // _HOUR:
            yield from self._end_incidents(clock, "silent")
            self._sweep(clock)

    def _due(self, clock: StreamClock) -> Iterator[tuple[int, str]]:
        for key, windows in self._waiting.items():
            if key.startswith(_key(clock, "")):
                group = key.removeprefix(_key(clock, ""))
                joint = self._joint(group)
                wait = 0 if joint is None else joint.wait
                for end in windows:
                    if end + wait <= clock.combined:
                        yield end, group

    def _judge(
        self, clock: StreamClock, group: str, end: int, metrics: Mapping[str, list[Any]]
    ) -> Iterator[Output]:
        """One window of one thing: scored, learned, looked at by the rules."""
        joint = self._joint(group)
        samples = sum(moments[0] for moments in metrics.values())
        before = self._entities.get(_key(clock, group))
        if joint is not None and before is not None and end - before.last > _unwatched(joint):
            last = before.last + _unwatched(joint)
            yield from self._abandon(clock, group, joint, last, "silent")
        entity = None if joint is None else self._entity(clock, group, end, joint)
        if joint is None or entity is None:
            self._count("reconfigured" if joint is None else "over_limit", samples)
            return
        detector = entity.detector
        if detector is None or detector.metrics != joint.metrics:
            if detector is not None:
                self._count("reconfigured", 1)
            detector = entity.detector = JointDetector(joint.metrics)
        start, entity.last = end - joint.window, end
        values = {m: sketches.mean(metrics[m]) for m in joint.metrics if m in metrics}
        verdict = detector.score(values, start)
        detector.learn(values, start)
        value = _value(verdict, len(values))
        window = Window(
            clock.tenant, group, clock.stream, start, end, joint.window, joint.window, samples,
            {METRIC_MEASURE: value},
        )  # fmt: skip
        yield verdicts.published(window)
        rules = self._config.book.index().joint(joint.name, group)
        series = parse_group(group).series_key(METRIC_MEASURE)
        entity.rules, found = verdicts.looked_at(
            rules, entity.rules, window, beside(Together, value, missing=verdict.missing), series
        )
        yield from found
        self._entities[_key(clock, group)] = entity

    def _end_incidents(self, clock: StreamClock, why: str) -> Iterator[Output]:
        """End what fires on things of a stream that has ended, or that have been silent for long."""
        prefix = _key(clock, "")
        for key in sorted(key for key, it in self._entities.items() if it.rules):
            entity, group = self._entities[key], key.removeprefix(prefix)
            joint = self._joint(group) if key.startswith(prefix) else None
            if joint is None:
                continue
            after = 0 if why == "ended" else _unwatched(joint)
            if clock.combined - joint.wait - entity.last >= after:
                yield from self._abandon(clock, group, joint, entity.last + after, why)

    def _abandon(
        self, clock: StreamClock, group: str, joint: JointSpec, end: int, why: str
    ) -> Iterator[Output]:
        """Nothing is to be seen of a thing any more, or was for long: what fires on it ended then."""
        entity = self._entities[_key(clock, group)]
        window = Window(
            clock.tenant, group, clock.stream, end - joint.window, end, joint.window, joint.window,
            0, {},
        )  # fmt: skip
        series = parse_group(group).series_key(METRIC_MEASURE)
        rules = self._config.book.index().joint(joint.name, group)
        yield from verdicts.abandoned(rules, entity.rules, window, series, why)
        entity.rules = {}
        self._entities[_key(clock, group)] = entity

    def _entity(self, clock: StreamClock, group: str, end: int, joint: JointSpec) -> Entity | None:
        """What is kept of a thing, made if it is new; None where the tenant has too many.

        Decided at the window, so that who is let in follows from event time.
        """
        found = self._entities.get(_key(clock, group))
        if found is not None and end - found.last > FORGOTTEN:
            self._count("silent", 1)
            found = None
        elif found is None and not self._has_room(clock, joint, end):
            return None
        return found or Entity(JointDetector(joint.metrics), {}, end)

    def _has_room(self, clock: StreamClock, joint: JointSpec, end: int) -> bool:
        """Whether one more thing of a joint can be kept at this window, silent ones being forgotten.

        Each joint has its own room, for joints of different ``wait`` come in an order that depends
        on batches.
        """
        place = clock.key, joint.name
        if self._full.get(place) == end:
            return False
        if self._number(clock, joint) < self._config.limit:
            return True
        self._drop_silent(clock, end)
        if self._number(clock, joint) < self._config.limit:
            return True
        self._full[place] = end
        return False

    def _number(self, clock: StreamClock, joint: JointSpec) -> int:
        prefix = _key(clock, "")
        mine = (key.removeprefix(prefix) for key in self._entities if key.startswith(prefix))
        return sum(parse_group(group).name == joint.series for group in mine)

    def _drop_silent(self, clock: StreamClock, at: int) -> None:
        prefix = _key(clock, "")
        for key in [key for key in self._entities if key.startswith(prefix)]:
            if at - self._entities[key].last > FORGOTTEN:
                del self._entities[key]
                self._count("silent", 1)

    def _sweep(self, clock: StreamClock) -> None:
        """Once an hour of event time: forget silent things, and streams of which nothing is heard."""
        waits = max((joint.wait for joint in self._config.joints), default=0)
        self._drop_silent(clock, clock.combined - waits)
        for other in list(self._clocks.values()):
            is_other = other.tenant == clock.tenant and other.stream not in {LIVE, clock.stream}
            if is_other and self._now - other.touched > ABANDONED:
                self._forget(other)

    def _forget(self, clock: StreamClock) -> None:
        """Delete all that is kept of a stream."""
        prefix = _key(clock, "")
        stores: tuple[MutableMapping[str, Any], ...] = (self._waiting, self._entities)
        for store in stores:
            for key in [key for key in store if key.startswith(prefix)]:
                del store[key]
        self._clocks.pop(clock.key, None)

    def _count(self, reason: str, n: int) -> None:
        self._config.counters.count(DROPPED, reason, n)


def _key(clock: StreamClock, group: str) -> str:
    return f"{clock.key}\x1f{group}"


def _unwatched(joint: JointSpec) -> int:
    """After how many ms of silence what fires on a thing ends: before it is forgotten."""
    return min(max(UNWATCHED, LONG_GAP * joint.window), FORGOTTEN)


def _value(verdict: JointVerdict, weight: int) -> Value:
    """A surprise as the value of a window; shares only where it is remarkable, as elsewhere."""
    score, tail = verdict.score, verdict.tail
    value = Value(score, float(weight), score, learning=score is None)
    if score is not None and score >= REMARKABLE:
        value.tail = None if tail is None else float(f"{tail:.2g}")
        value.contributions = {m: round(s, 2) for m, s in verdict.shares if s >= _LEAST}
    return value
