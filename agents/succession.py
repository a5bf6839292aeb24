"""One model after another on the series of a partition: swaps, shadows, roll-backs, snapshots.

Called by the judge before a window is scored and after it was learned. Pure but for ``state``.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from agents.modelbook import ModelBook, Plan
from agents.snapshots import DAY, SNAPSHOTS, Snapshots
from ml import registry, specs
from ml.protocol import Detector
from ml.served import REFUSED, ServedDetector, Shadow
from models.errors import BackbeatError, StateError
from models.flow import Counters, State
from models.learning import Model, Rollback
from models.records import Window

log = logging.getLogger("backbeat.models")


class _Place(NamedTuple):
    """One series of a window: its key in the stores, its series key."""

    key: str
    series: str
    measure: str
    window: Window


SeriesOf = Callable[[str, str], str]
Configured = Callable[[str, str], Detector]
"""A new detector for a group's measure, as the configuration has it."""

Detectors = dict[str, Detector]


class Succession:
    """Makes the detectors of a window agree with the models in force.

    Counts ``model_states_refused`` {changed, foreign}, ``models_refused`` {spec} and
    ``rollbacks_skipped`` {no_snapshot}; each refusal is logged with what differs.
    """

    def __init__(
        self, book: ModelBook, counters: Counters, series_of: SeriesOf, configured: Configured
    ) -> None:
        self.book = book
        self._counters = counters
        self._series_of = series_of
        self._configured = configured
        self._days: dict[str, int] = {}
        self._moved = False

    def arrange(self, key: str, window: Window, detectors: Detectors, state: State) -> bool:
        """Have each series judged by what is in force; whether any detector was exchanged."""
        plans = self.book.plans(window)
        if plans is None and not any(type(d) is ServedDetector for d in detectors.values()):
            return False
        self._moved = False
        for measure, value in window.values.items():
            if value.value is None:
                continue
            plan = (plans or {}).get(measure, Plan())
            series = self._series_of(window.group, measure)
            place = _Place(f"{key}/{measure}", series, measure, window)
            before = detectors.get(measure)
            after = self._follow(plan, before, place, state)
            if after is not before and after is not None:
                detectors[measure] = after
                self._moved = True
        return self._moved

    def snapshot(self, key: str, window: Window, detectors: Detectors, state: State) -> None:
        """Once a day of event time, at a time that differs by group, keep what was learned."""
        day = (window.end - _offset(key)) // DAY
        known = self._days.get(key)
        if known == day:
            return
        self._days[key] = day
        for measure, detector in detectors.items():
            name = f"{key}/{measure}"
            kept: Snapshots = state[SNAPSHOTS.name].get(name) or Snapshots()
            last = kept.day
            # Without any, a worker that has just started cannot know whether the series has been
            # there for a day; were all taken at once, the first batch would be a long one.
            if (known is None) if last is None else (last - _offset(key)) // DAY >= day:
                continue
            kept.take(detector.dump(), window.end, is_daily=True)
            state[SNAPSHOTS.name][name] = kept

    def forget(self, key: str, detectors: Mapping[str, Detector], state: State) -> None:
        """The group instance was dropped."""
        self._days.pop(key, None)
        for measure in detectors:
            state[SNAPSHOTS.name].pop(f"{key}/{measure}", None)

    # -- one series ---------------------------------------------------------------------------------

    def _follow(
        self, plan: Plan, detector: Detector | None, place: _Place, state: State
    ) -> Detector | None:
        """What judges the series from now on: the same object if nothing changes."""
        has_learned = detector is not None
        if plan.rollbacks:
            before, detector = detector, self._roll_back(plan, detector, place, state)
            has_learned = has_learned and detector is before  # what went back is a snapshot itself
        served = detector if isinstance(detector, ServedDetector) else None
        if served is None and plan.active is None and not plan.shadows:
            return detector
        if served is None:
            served = ServedDetector("", detector or self._new(place))
        if served.refused:
            self._refuse("foreign", place, served.refused)
            served.refused = ""
        wanted = "" if plan.active is None else plan.active.id
        if plan.holds and served.model != REFUSED:
            wanted = served.model
        if served.model != wanted:
            served = self._succeed(plan.active, served, place, state, keep=has_learned)
        if not wanted and not plan.shadows:
            return served.active
        self._shadow(plan.shadows, served, place)
        return served

    def _succeed(
        self, model: Model | None, served: ServedDetector, place: _Place, state: State,
        *, keep: bool,
    ) -> ServedDetector:  # fmt: skip
        """The next active model's detector in the place of the present one, of which a snapshot may be kept."""
        model_id = "" if model is None else model.id
        successor = self._warmed(model_id, served, place, state)
        if keep and served.model != REFUSED:
            self._keep(served, place, state)
        if successor is None:
            successor = self._made(model, served, place)
        after = ServedDetector(model_id, successor)
        after.recent = served.recent
        after.shadows = {m: s for m, s in served.shadows.items() if m != model_id}
        after.drift = None if model is None else specs.drift_of(model.spec)
        return after

    def _warmed(
        self, model_id: str, served: ServedDetector, place: _Place, state: State
    ) -> Detector | None:
        """The model's own detector as it was last: as a shadow, or when it was replaced."""
        shadow = served.shadows.get(model_id)
        if shadow is not None:
            return shadow.detector
        kept: Snapshots | None = state[SNAPSHOTS.name].get(place.key)
        for snapshot in reversed(kept.kept if kept else []):
            found = self._read(snapshot.body, place)
            detector = None if found is None else _part_of(found, model_id)
            if detector is not None:
                return served.catch_up(detector, snapshot.at - 1)
        return None

    def _made(self, model: Model | None, served: ServedDetector, place: _Place) -> Detector:
        """A detector from the model's trained state, else a new one; both learn the kept values."""
        if model is None:
            return served.catch_up(self._new(place))
        try:
            trained = self.book.state_of(model, place.series, place.window.size)
        except StateError as exc:
            self._refuse("changed", place, str(exc))
            trained = None
        if trained is not None:
            detector = self._read(trained.body, place)
            if detector is not None:
                return served.catch_up(detector, trained.at)
        return served.catch_up(self._create(model, place))

    def _create(self, model: Model, place: _Place) -> Detector:
        try:
            specs.check_features(model.spec, model.features)
            return specs.detector_of(model.spec)
        except BackbeatError as exc:
            self._counters.count("models_refused", "spec", 1)
            log.error("model %s refused on %s: %s", model.id, place.series, exc)  # noqa: TRY400
            return self._new(place)

    def _new(self, place: _Place) -> Detector:
        return self._configured(place.window.group, place.measure)

    def _shadow(self, wanted: tuple[Model, ...], served: ServedDetector, place: _Place) -> None:
        for gone in served.shadows.keys() - {m.id for m in wanted}:
            del served.shadows[gone]
            self._moved = True
        for model in wanted:
            if model.id not in served.shadows:
                detector = self._made(model, served, place)
                served.shadows[model.id] = Shadow(detector, specs.threshold_of(model.spec))
                self._moved = True

    # -- going back ---------------------------------------------------------------------------------

    def _roll_back(
        self, plan: Plan, detector: Detector | None, place: _Place, state: State
    ) -> Detector | None:
        kept: Snapshots = state[SNAPSHOTS.name].get(place.key) or Snapshots()
        due = [r for r in plan.rollbacks if r.id not in kept.applied]
        if not due:
            return detector
        for rollback in due:
            if detector is not None:  # a new series has nothing to go back from
                detector = self._restored(rollback, plan, detector, kept, place)
        kept.applied = [r.id for r in plan.rollbacks]
        state[SNAPSHOTS.name][place.key] = kept
        return detector

    def _restored(
        self, rollback: Rollback, plan: Plan, detector: Detector, kept: Snapshots, place: _Place
    ) -> Detector:
        wanted = "" if plan.active is None else plan.active.id
        if plan.holds and isinstance(detector, ServedDetector):
            wanted = detector.model
        for snapshot in reversed(kept.kept):
            if snapshot.at > rollback.before:
                continue
            found = self._read(snapshot.body, place)
            if found is not None and _part_of(found, wanted) is not None:
                kept.take(detector.dump(), place.window.start, is_daily=False)
                log.info("%s: back to %d, roll-back %s", place.series, snapshot.at, rollback.id)
                return found
        self._counters.count("rollbacks_skipped", "no_snapshot", 1)
        return detector

    def _keep(self, served: ServedDetector, place: _Place, state: State) -> None:
        kept: Snapshots = state[SNAPSHOTS.name].get(place.key) or Snapshots()
        kept.take(served.dump(), place.window.start, is_daily=False)
        state[SNAPSHOTS.name][place.key] = kept

    def _read(self, body: bytes, place: _Place) -> Detector | None:
        try:
            return registry.load(body)
        except StateError as exc:
            self._refuse("foreign", place, str(exc))
            return None

    def _refuse(self, reason: str, place: _Place, detail: str) -> None:
        self._counters.count("model_states_refused", reason, 1)
        log.error("state for %s refused, rebuilt from what is kept: %s", place.series, detail)


def _part_of(detector: Detector, model_id: str) -> Detector | None:
    """A model's own detector within what a snapshot held; None if it was not there."""
    if not isinstance(detector, ServedDetector):
        return None if model_id else detector
    if detector.model == model_id:
        return detector.active
    shadow = detector.shadows.get(model_id)
    return None if shadow is None else shadow.detector


@lru_cache(maxsize=50_000)
def _offset(key: str) -> int:
    """When in the day a group's snapshots are taken: not all at midnight."""
    return zlib.crc32(key.encode()) % DAY
