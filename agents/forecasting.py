"""Forecasts in the judge: which series have a forecaster, what it sees, what rules make of it."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Any

from alerts.outlook import Outlook
from alerts.rules import Rule
from ml.forecasting import Crossing, Forecaster
from ml.forecasting.protocol import DAY
from models.records import Window

FORECASTERS = "forecasters"

_SLOTS = 48
"""Into so many slots the time that a rule looks ahead is cut, where windows are short enough."""


class Watched:
    """A series' forecaster, and what it has already been asked since it last learned."""

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster = forecaster
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
        """The forecaster's state; answers follow from it."""
        return self.forecaster.dump()

    @classmethod
    def load(cls, state: bytes) -> Watched:
        """What was dumped; StateError if it is damaged."""
        return cls(Forecaster.load(state))


def outlooks(
    rules: Iterable[Rule], window: Window, store: MutableMapping[str, Any], key: str
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
        watched = used.get(name) or held.get(name) or Watched(Forecaster(step, slots))
        if name not in used and value.value is not None and window.end % step == 0:
            watched.learn(value.value, window.end - step)
            has_learned = True
        used[name] = watched
        expected[rule.id] = _outlook(rule, watched, window, step * slots)
    if has_learned or used.keys() != held.keys():
        store[key] = used
    return expected


def slots_of(within: int, size: int) -> tuple[int, int]:
    """(length in ms, number) of the slots in which windows of ``size`` ms are seen that far ahead.

    At most 48, each a whole number of windows and, where there is one near, a whole part of a day,
    for the day's sake.
    """
    least = max(1, -(-within // (_SLOTS * size)))
    whole = (k for k in range(least, 2 * least + 1) if DAY % (k * size) == 0)
    step = next(whole, least) * size
    return step, max(1, within // step)


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
