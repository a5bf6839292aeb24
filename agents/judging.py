"""The judge: where windows meet detectors and rules. Pure; called once for each publication.

It stands here because only the edges may know both ``ml`` and ``alerts``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.structs import replace

from agents import evidence, health, verdicts
from agents.detectors import SPECIAL, DetectorChoice
from agents.forecasting import FORECASTERS, Trained, Watched, outlooks
from agents.modelbook import ModelBook
from agents.snapshots import SNAPSHOTS
from agents.succession import Succession
from agents.trials import COMPARISONS, Trials
from alerts import rulestate
from alerts.conditions import abandon, advance
from alerts.rules import Rule
from alerts.rulestate import RuleState
from alerts.selection import RuleIndex
from ml import registry
from ml.protocol import Detector
from models.config import WindowSpec
from models.errors import StateError
from models.flow import Counters, Output, State, StoreSpec
from models.records import Value, Window
from models.releases import HOUR
from storage.series_rows import parse_group
from tables.publishing import Gone
from tables.watermarks import Held

log = logging.getLogger("backbeat.models")

DETECTORS = "detectors"
RULES = "rules"


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def _stored(dump: Callable[[Any], bytes], load: Callable[[bytes], Any], name: str) -> StoreSpec:
    """A store of dicts of things, each of which crosses the changelog by itself.

    What ``load`` gives up (None) is left out, and begins anew.
    """

    def encode(things: dict[str, Any]) -> bytes:
        return _pack({key: dump(thing) for key, thing in things.items()})

    def decode(data: bytes) -> dict[str, Any]:
        loaded = {key: load(thing) for key, thing in _unpack(data).items()}
        return {key: thing for key, thing in loaded.items() if thing is not None}

    return StoreSpec(name, encode, decode)


def _dump(detector: Detector) -> bytes:
    return detector.dump()


def _load(state: bytes) -> Detector:
    """A detector of another version is refused, and begins anew: it must not stop the worker."""
    try:
        return registry.load(state)
    except StateError as exc:
        log.error("detector begins anew: %s", exc)  # noqa: TRY400
        return registry.create()


JUDGE_STORES = (
    _stored(_dump, _load, DETECTORS),
    _stored(rulestate.encode, rulestate.decode, RULES),
    SNAPSHOTS,
    COMPARISONS,
    _stored(Watched.dump, Watched.load, FORECASTERS),
)
"""Of detectors and rules one entry per group instance, stream and window size: what is judged together
is dropped together."""


class Models:
    """The models' part in judging: what is in force before a window, what it brought after."""

    def __init__(
        self, records: Any, counters: Counters, choice: DetectorChoice | None = None
    ) -> None:
        book = ModelBook(records, counters)
        configured = (choice or DetectorChoice()).configured
        self.succession = Succession(book, counters, series_key, configured)
        self.trials = Trials(book, counters, series_key)
        self.trained = Trained(book, counters, series_key)


class RuleBook:
    """The rules in force: those of the configuration, overruled by those that users saved."""

    def __init__(self, configured: Sequence[Rule], saved: Any = None) -> None:
        self._configured = tuple(configured)
        self._saved = saved
        self._version = -1
        self._index = RuleIndex(self._configured)

    def index(self) -> RuleIndex:
        """The rules by what they look at; made anew when a saved rule has changed."""
        if self._saved is not None and self._saved.version != self._version:
            self._version = self._saved.version
            rules = {(rule.tenant, rule.id): rule for rule in self._configured}
            rules |= {(rule.tenant, rule.id): rule for rule in self._saved.values()}
            self._index = RuleIndex(rules.values())
        return self._index


class RuleJudge:
    """Scores a window's values where its kind is detected on, then lets the rules look at it.

    A detector scores every window and learns from those that do not overlap (a sliding window
    repeats most of the one before). It learns from first publications only; a revision keeps the
    band of the first one, and scores 0 if its value is now inside that band. On a special day
    windows are judged, and learned, by detectors of that kind of day.
    """

    def __init__(
        self,
        book: RuleBook,
        sizes: Iterable[int],
        choice: DetectorChoice | None = None,
        models: Models | None = None,
    ) -> None:
        self._book = book
        self._sizes = frozenset(sizes)
        self._choice = choice or DetectorChoice()
        self._models = models

    def __call__(
        self,
        window: Window,
        spec: WindowSpec,
        state: State,
        previous: Mapping[str, Value] | None = None,
    ) -> tuple[Window, list[Output]]:
        """The window with scores and bands, and the findings it brings."""
        told: list[Output] = []
        if spec.detect:
            judged = (
                self._rescore(window, previous)
                if window.revision
                else self._score(window, state, told)
            )
            window = replace(window, values=judged)
        outputs = self._findings(window, state)
        measures = self._book.index().attributed(window.tenant, window.size)
        outputs += evidence.rows_output(window, measures)
        if window.size == HOUR and (asked := self._book.index().released(window.tenant)):
            outputs += evidence.hour_output(window, asked)
        return window, [*outputs, *told]

    def passed(self, tenant: str, stream: str, at: int, partition: int) -> list[Output]:
        """All windows up to ``at`` were judged: what waits for that is told."""
        return [evidence.passed_output(tenant, stream, at, partition)]

    def held(self, held: Held) -> list[Output]:
        """A source partition holds windows back, or does so no more."""
        return [health.held_output(held)]

    def forget(self, gone: Gone, state: State) -> list[Output]:
        """The group instance was dropped: so are its detectors and what its rules remember.

        An incident that goes on ends with it: nobody will see whether it does.
        """
        told: list[Output] = []
        for size in sorted(self._sizes | {gone.size}):
            key = _key(gone.group, gone.stream, size)
            told += self._end_incidents(gone, size, state[RULES].get(key) or {})
            if self._models is not None:
                self._models.succession.forget(key, state[DETECTORS].get(key) or {}, state)
            state[DETECTORS].pop(key + SPECIAL, None)
            for store in (DETECTORS, RULES, FORECASTERS):
                state[store].pop(key, None)
        return told

    def _end_incidents(
        self, gone: Gone, size: int, states: Mapping[str, RuleState]
    ) -> Iterable[Output]:
        window = Window(
            gone.tenant, gone.group, gone.stream, gone.at - size, gone.at, size, size, 0, {}
        )
        rules = {
            rule.id: rule for rule in self._book.index().rules if rule.tenant in {"", gone.tenant}
        }
        for rule_id, held in states.items():
            if (rule := rules.get(rule_id)) is not None:
                series = series_key(gone.group, rule.measure)
                why = "silent" if gone.why == "silent" else "ended"
                for finding in abandon(rule, held, window, series, why):
                    yield evidence.finding_output(rule, window, Value(), finding)

    def _score(self, window: Window, state: State, told: list[Output]) -> dict[str, Value]:
        day = self._choice.day(window)
        key = _key(window.group, window.stream, window.size) + (SPECIAL if day else "")
        detectors = state[DETECTORS].get(key) or {}
        learns = window.start % window.size == 0
        models = None if day else self._models  # which serve ordinary days
        moved = models is not None and models.succession.arrange(key, window, detectors, state)
        judged = {}
        for measure, value in window.values.items():
            if value.value is None:
                judged[measure] = value
                continue
            name = f"{day}/{measure}" if day else measure
            detector = self._choice.choose(window.group, measure, detectors.get(name))
            detectors[name] = detector
            verdict = detector.score(value.value, window.start)
            judged[measure] = verdicts.judged(value, verdict, getattr(detector, "model", ""))
            if learns:
                detector.learn(value.value, window.start)
        if learns or moved:
            state[DETECTORS][key] = self._choice.in_calendar(detectors) if day else detectors
        if learns and models is not None:
            models.succession.snapshot(key, window, detectors, state)
            told += models.trials.outputs(window, detectors, state)
        return judged

    def _rescore(self, window: Window, previous: Mapping[str, Value] | None) -> dict[str, Value]:
        if previous is None:
            return window.values
        return {m: verdicts.rejudged(v, previous.get(m)) for m, v in window.values.items()}

    def _findings(self, window: Window, state: State) -> list[Output]:
        key = _key(window.group, window.stream, window.size)
        states = state[RULES].get(key) or {}
        found: list[Output] = []
        changed = False
        rules = self._book.index().rules_for(window)
        trained = None if self._models is None else self._models.trained
        expected = outlooks(rules, window, state[FORECASTERS], key, trained)
        for rule in rules:
            value = expected.get(rule.id) or window.values.get(rule.measure)
            if value is None:
                continue
            series = series_key(window.group, rule.measure)
            before = states.get(rule.id)
            after, findings = advance(rule, before, window, value, series)
            if after is not before:
                changed = True
                if after is None:
                    del states[rule.id]
                else:
                    states[rule.id] = after
            found += [evidence.finding_output(rule, window, value, f) for f in findings]
        if changed and states:
            state[RULES][key] = states
        elif changed:
            state[RULES].pop(key, None)
        return found


def _key(group: str, stream: str, size: int) -> str:
    return f"{stream}/{size}@{group}"


@lru_cache(maxsize=100_000)
def series_key(group: str, measure: str) -> str:
    """The key of one measure of a group instance."""
    return parse_group(group).series_key(measure)
