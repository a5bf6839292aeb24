"""Forecasts in the judge: which series have a forecaster, what it sees, what rules make of it.

A series' forecaster begins with the first window that a rule looks at, or goes on from what a model of
the registry was trained to: the active one of those that select the series.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

import msgspec

from agents.modelbook import ModelBook
from alerts.outlook import Outlook
from alerts.rules import Rule
from ml import specs
from ml.forecasting import Crossing, Forecaster, create
from ml.forecasting.slots import slots_of
from models.errors import StateError
from models.flow import Counters
from models.learning import Model
from models.records import Window

log = logging.getLogger("backbeat.models")

FORECASTERS = "forecasters"

_SERVED = "served/1"
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[str, str, bytes]).decode


class Watched:
    """A series' forecaster, the model it is of, and what it has been asked since it last learned.

    ``model`` is the id of the model in force when it began or was last looked at, "" for none.
    """

    def __init__(self, forecaster: Forecaster, model: str = "") -> None:
        self.forecaster = forecaster
        self.model = model
        self._answers: dict[tuple[float, str, int], Crossing] = {}

    def learn(self, value: float, at: int) -> None:
        """Take in a window's value; old answers are void."""
        self.forecaster.learn(value, at)
        self._answers.clear()

    def crossing(self, limit: float, direction: str, within: int) -> Crossing:
        """See :meth:`ml.forecasting.Forecaster.crossing`; asked once for all windows of a slot."""
        asked = (limit, direction, within)
        if asked not in self._answers:
            self._answers[asked] = self.forecaster.crossing(*asked)
        return self._answers[asked]

    def dump(self) -> bytes:
        """The forecaster's state, with the model's id if there is one; answers follow from it."""
        state = self.forecaster.dump()
        return _encode((_SERVED, self.model, state)) if self.model else state

    @classmethod
    def load(cls, state: bytes) -> Watched | None:
        """What was dumped; None, logged, if this program cannot read it: it begins anew."""
        model = ""
        try:
            name, model, state = _decode(state)
            if name != _SERVED:
                log.error("forecaster begins anew: its state is of %r", name)
                return None
        except msgspec.DecodeError:
            pass  # a forecaster's own state
        try:
            return cls(Forecaster.load(state), model)
        except StateError as exc:
            log.error("forecaster begins anew: %s", exc)  # noqa: TRY400
            return None


class _Place(NamedTuple):
    """A forecaster's place: the window and measure that it is of, and its slots."""

    window: Window
    measure: str
    step: int
    slots: int


class Trained:
    """The forecasters that were trained and promoted.

    Counts ``model_states_refused`` {changed, foreign, too_old}; each refusal is logged.
    """

    def __init__(
        self, book: ModelBook, counters: Counters, series_of: Callable[[str, str], str]
    ) -> None:
        self._book = book
        self._counters = counters
        self._series_of = series_of

    def in_force(self, held: Watched | None, place: _Place) -> Watched | None:
        """What serves this place: the one that is held, or that of a model that is new to it."""
        model = self._book.forecaster(place.window, place.measure)
        if model is not None and not _fits(model, place):
            model = None
        if model is None or (held is not None and held.model == model.id):
            if held is not None and model is None:
                held.model = ""  # what it has learned since it is the series' own
            return held
        forecaster = self._read(model, place)
        if forecaster is not None:
            return Watched(forecaster, model.id)
        held = held or Watched(create(place.step, place.slots))
        held.model = model.id  # not asked again for every window
        return held

    def _read(self, model: Model, place: _Place) -> Forecaster | None:
        """What a model was trained to; None where it is of no use here."""
        window, series = place.window, self._series_of(place.window.group, place.measure)
        reason = "changed"
        try:
            trained = self._book.state_of(model, series, window.size)
            if trained is None:
                return None
            reason = "foreign"
            forecaster = Forecaster.load(trained.body)
            reason = "too_old"
            missed = (window.end - trained.at - window.size) // place.step
            if missed > place.slots:
                msg = f"{missed} slots were not learned, more than the {place.slots} it looks ahead"
                raise StateError(msg)
        except StateError as exc:
            self._counters.count("model_states_refused", reason, 1)
            log.error("model %s refused for %s: %s", model.id, series, exc)  # noqa: TRY400
            return None
        return forecaster


def _fits(model: Model, place: _Place) -> bool:
    """Whether a model looks as far ahead, in the same slots, as a rule does."""
    slots = slots_of(specs.within_of(model.spec), place.window.size)
    return slots == (place.step, place.slots)


def outlooks(
    rules: Iterable[Rule],
    window: Window,
    store: MutableMapping[str, Any],
    key: str,
    trained: Trained | None = None,
) -> dict[str, Outlook]:
    """What each forecast rule (by id) is to look at, after the window has been learned.

    Only series that such a rule looks at have a forecaster. It learns, of first publications, the
    window that ends each of its slots: its values are then those of single windows, which is what
    the limit is for. A revision or a window without a value is no news of the future.
    """
    asked = [rule for rule in rules if rule.kind == "forecast"]
    if not asked or window.revision:
        return {}
    held: dict[str, Watched] = store.get(key) or {}
    expected: dict[str, Outlook] = {}
    used: dict[str, Watched] = {}
    has_learned = False
    for rule in asked:
        value = window.values.get(rule.measure)
        if value is None:
            continue
        step, slots = slots_of(rule.within, window.size)
        name = f"{rule.measure}/{step}/{slots}"
        if name not in used:
            watched = held.get(name)
            if trained is not None:
                watched = trained.in_force(watched, _Place(window, rule.measure, step, slots))
            used[name] = watched = watched or Watched(create(step, slots))
            if value.value is not None and window.end % step == 0:
                watched.learn(value.value, window.end - step)
                has_learned = True
        expected[rule.id] = _outlook(rule, used[name], window, step * slots)
    if has_learned or used != held:
        store[key] = used
    return expected


def _outlook(rule: Rule, watched: Watched, window: Window, within: int) -> Outlook:
    value = window.values[rule.measure]
    if value.value is None:
        return Outlook(None, value.weight)
    direction = "up" if rule.op == ">=" else "down"
    crossing = watched.crossing(rule.threshold, direction, within)
    return Outlook(
        value.value, value.weight, score=crossing.probability,
        learning=crossing.probability is None, ahead=crossing.ahead,
    )  # fmt: skip
