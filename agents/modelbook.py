"""Which models are in force on which series, as the topic ``models`` has it now.

Asked for every window, so the answer is remembered by group until what is in force has changed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from operator import is_
from typing import Any, NamedTuple

from ml import life
from models.errors import ConfigurationError, StateError
from models.flow import Counters
from models.learning import Model, ModelState, Rollback
from models.records import Window
from models.series import parse_key
from storage.series_rows import parse_group

log = logging.getLogger("backbeat.models")

ROLLBACKS = 100
"""Latest roll-backs of a tenant that are looked at: older ones have long been applied."""

_REMEMBERED = 50_000


class Plan(NamedTuple):
    """What one series is to be judged by.

    ``active``: None for the configured default. ``holds``: the active model cannot be used (it is
    not what was sealed, or its states have not all come yet): what serves the series stays.
    ``rollbacks``: by time, oldest first.
    """

    active: Model | None = None
    holds: bool = False
    shadows: tuple[Model, ...] = ()
    rollbacks: tuple[Rollback, ...] = ()


_NOTHING = Plan()


class ModelBook:
    """The models in force. ``records`` is the global store ``models``: a mapping with a ``version``.

    Several active models may select a series: the one that was activated last serves it. Of their
    shadows a series has at most two, the ones that began last; the others are counted
    (``shadows_left_out`` {over_limit}), and so is a model that is not what was sealed
    (``models_refused`` {changed}).
    """

    def __init__(self, records: Any, counters: Counters) -> None:
        self.models: dict[tuple[str, str], Model] = {}
        self._records = records
        self._counters = counters
        self._version = -1
        self._active: list[Model] = []
        self._forecasters: list[Model] = []
        self._held: set[tuple[str, str]] = set()
        self._shadows: list[Model] = []
        self._rollbacks: list[Rollback] = []
        self._known: dict[tuple[str, str, int], Mapping[str, Plan] | None] = {}
        self._foretold: dict[tuple[str, str, str], Model | None] = {}
        self._refused: set[tuple[str, str, str]] = set()
        self._sealed: dict[tuple[str, str], tuple[list[object], bool]] = {}

    def plans(self, window: Window) -> Mapping[str, Plan] | None:
        """Plans by measure; None where nothing is in force, which is usual."""
        if self._records.version != self._version:
            self._refresh()
        if not self._active and not self._shadows and not self._rollbacks:
            return None
        asked = (window.group, window.stream, len(window.values))
        if asked not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[asked] = self._select(window)
        return self._known[asked]

    def forecaster(self, window: Window, measure: str) -> Model | None:
        """The forecaster that was activated last of those that select a series."""
        if self._records.version != self._version:
            self._refresh()
        if not self._forecasters:
            return None
        asked = (window.group, window.stream, measure)
        if asked not in self._foretold:
            if len(self._foretold) >= _REMEMBERED:
                self._foretold.clear()
            named = _tags_and_names(window, (measure,))
            self._foretold[asked] = next(
                (m for m in self._forecasters for _, tags, name in named
                 if _selects(m, window, tags, name)), None,
            )  # fmt: skip
        return self._foretold[asked]

    def state_of(self, model: Model, series: str, size: int) -> ModelState | None:
        """What a model learned of a series when it was trained; None if it did not look at it.

        Raises:
            StateError: the body is not what was sealed.
        """
        state = self._records.get(f"{model.tenant}:{model.id}:{size}:{series}")
        if not isinstance(state, ModelState):
            return None
        life.verify_state(state)
        return state

    def is_shadow(self, tenant: str, model_id: str) -> bool:
        """Whether a model is a shadow now."""
        model = self.models.get((tenant, model_id))
        return model is not None and model.state == "shadow"

    # -- what is in force ---------------------------------------------------------------------------

    def _refresh(self) -> None:
        self._version = self._records.version
        self._foretold.clear()
        before = (self._active, self._held, self._shadows, self._rollbacks)
        self.models = {}
        states: dict[tuple[str, str], list[ModelState]] = {}
        rollbacks = []
        for record in self._records.values():
            if isinstance(record, Model):
                self.models[record.tenant, record.id] = record
            elif isinstance(record, ModelState):
                states.setdefault((record.tenant, record.model), []).append(record)
            elif isinstance(record, Rollback):
                rollbacks.append(record)
        by_activation = sorted(
            self.models.values(), key=lambda m: (m.activated_at, m.id), reverse=True
        )
        detectors = [m for m in by_activation if m.kind == "detector"]
        self._active = [m for m in detectors if m.state == "active"]
        unusable = {
            (m.tenant, m.id)
            for m in by_activation
            if m.state in {"active", "shadow"}
            and not self._is_usable(m, states.get((m.tenant, m.id), []))
        }
        self._held = {(m.tenant, m.id) for m in self._active} & unusable
        self._forecasters = [
            m for m in by_activation
            if m.kind == "forecaster" and m.state == "active" and (m.tenant, m.id) not in unusable
        ]  # fmt: skip
        self._shadows = sorted(
            (m for m in detectors if m.state == "shadow" and (m.tenant, m.id) not in unusable),
            key=lambda m: (m.changed_at, m.id), reverse=True,
        )  # fmt: skip
        self._rollbacks = _latest(rollbacks)
        if before != (self._active, self._held, self._shadows, self._rollbacks):
            self._known.clear()

    def _is_usable(self, model: Model, states: list[ModelState]) -> bool:
        """As :meth:`_is_sealed`, remembered while the records are the same objects."""
        key = (model.tenant, model.id)
        asked: list[object] = [model, *states]
        known = self._sealed.get(key)
        if known is not None and len(known[0]) == len(asked) and all(map(is_, known[0], asked)):
            return known[1]
        answer = self._is_sealed(model, states)
        self._sealed[key] = (asked, answer)
        return answer

    def _is_sealed(self, model: Model, states: list[ModelState]) -> bool:
        """Whether all states have come and the seal holds. Bodies are checked where they are used."""
        if len(states) < model.states:
            return False  # the rest is on its way: the topic has several partitions
        try:
            life.verify_seal(model, states)
        except StateError as exc:
            known = (model.tenant, model.id, model.sha256)
            if known not in self._refused:
                self._refused.add(known)
                self._counters.count("models_refused", "changed")
                log.error("model refused, what serves its series stays: %s", exc)  # noqa: TRY400
            return False
        return True

    def _select(self, window: Window) -> Mapping[str, Plan] | None:
        plans = {
            measure: self._plan(window, tags, name)
            for measure, tags, name in _tags_and_names(window, window.values)
        }
        return None if all(plan == _NOTHING for plan in plans.values()) else plans

    def _plan(self, window: Window, tags: Mapping[str, str], name: str) -> Plan:
        def selected(models: list[Model]) -> list[Model]:
            return [m for m in models if _selects(m, window, tags, name)]

        active = next(iter(selected(self._active)), None)
        shadows = selected(self._shadows)
        if len(shadows) > life.SHADOWS:
            left_out = len(shadows) - life.SHADOWS
            self._counters.count("shadows_left_out", "over_limit", left_out)
        holds = active is not None and (active.tenant, active.id) in self._held
        rollbacks = tuple(
            r for r in self._rollbacks
            if r.tenant == window.tenant and life.selects(r.selector, tags, name, window.stream)
        )  # fmt: skip
        return Plan(None if holds else active, holds, tuple(shadows[: life.SHADOWS]), rollbacks)


def _latest(rollbacks: Iterable[Rollback]) -> list[Rollback]:
    """By time, the last of each tenant: one that goes back often does not push out another's."""
    by_tenant: dict[str, list[Rollback]] = {}
    for rollback in sorted(rollbacks, key=lambda r: (r.at, r.id)):
        by_tenant.setdefault(rollback.tenant, []).append(rollback)
    return [rollback for each in by_tenant.values() for rollback in each[-ROLLBACKS:]]


def _tags_and_names(
    window: Window, measures: Iterable[str]
) -> list[tuple[str, Mapping[str, str], str]]:
    """(measure, tags of its group, name that selectors see) of each; none of a key that is none."""
    try:
        group = parse_group(window.group)
        tags = dict(parse_key(window.group).tags)
    except ConfigurationError:
        return []
    return [(measure, tags, group.name if group.metric else measure) for measure in measures]


def _selects(model: Model, window: Window, tags: Mapping[str, str], name: str) -> bool:
    return model.tenant == window.tenant and life.selects(model.selector, tags, name, window.stream)
