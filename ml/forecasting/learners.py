"""The forecaster whose members learn value by value: River's, seasonal naive ones, the best believed."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Self

import numpy as np

from ml.forecasting.bands import GOLDEN, RUNGS, Floats, looked_at, middles, nodes_of
from ml.forecasting.calibration import Calibration
from ml.forecasting.forecaster import HORIZON, Forecaster
from ml.forecasting.members import DEFAULT, create
from ml.forecasting.selection import Selection

LEAST = 20
"""Outcomes that a horizon must have had before anything is said of it."""


class MemberForecaster(Forecaster):
    """Forecasts of one series by members that learn one value at a time; see :class:`Forecaster`.

    It costs fifty times what :class:`ml.forecasting.blocks.BlockForecaster` does and, on the series of
    ``bench.forecast``, errs more; but any member can be had, River's adaptive random forest among them.

    Every few slots each member's forecasts and the quantiles around their weighted mean are put aside
    for one horizon of each band; when its time has come, errors choose the band's weights
    (:class:`Selection`) and misses move its quantiles (:class:`Calibration`).

    Raises:
        ConfigurationError: as :class:`Forecaster`, and for a member that there is not.
    """

    name: ClassVar[str] = "member_forecaster/1"

    def __init__(
        self, step_ms: int, horizon: int = HORIZON, members: tuple[str, ...] = DEFAULT
    ) -> None:
        super().__init__(step_ms, horizon)
        self._wanted = tuple(members)
        self._nodes = nodes_of(horizon)
        self._middles = middles(self._nodes)
        self._apart = horizon // 12 + GOLDEN if horizon >= 24 else 1.0
        self._begin()

    def _begin(self) -> None:
        self._members = create(self._wanted, self._seasons)
        m, n, kept = len(self._members), len(self._nodes), int(self.horizon / self._apart) + 2
        self._selection, self._calibration = Selection(m, n), Calibration(n)
        self._time = 0
        self._due = np.full((kept, n), -1, dtype=np.int64)
        self._said = np.full((kept, m, n), np.nan)
        self._points = np.full((kept, n), np.nan)
        self._issued = np.full((kept, n, len(RUNGS)), np.nan)

    # -- learning -----------------------------------------------------------------------------------

    def _settle(self, value: float) -> None:
        """What was said of this slot is held against it."""
        places, due = np.nonzero(self._due == self._time)
        due, first = np.unique(due, return_index=True)  # of a band one: both would move it at once
        places = places[first]
        points = self._points[places, due]
        known = ~np.isnan(points)
        if not known.all():
            due, places, points = due[known], places[known], points[known]
        if len(due):
            self._selection.learn(due, np.abs(self._said[places, :, due].T - value))
            self._calibration.learn(due, value, points, self._issued[places, due])

    def _take(self, value: float, slot: int, *, known: bool) -> None:
        """Let the members learn the slot, and put aside what they say of the next ones."""
        if known:
            self._settle(value)
        for member in self._members.values():
            member.learn(value, slot * self.step_ms)
        number = math.ceil(self._time / self._apart)
        if int(number * self._apart) == self._time:
            said, weights = self._say(self.horizon)
            place, ahead = number % len(self._said), looked_at(np.array(number), self._nodes)
            self._due[place] = self._time + ahead
            self._said[place] = said = said[:, ahead - 1]
            self._points[place] = points = _mix(said, weights)
            self._issued[place] = points[:, None] + self._calibration.issue()
        self._time += 1

    # -- forecasting --------------------------------------------------------------------------------

    def _learns(self, slots: int) -> bool:
        far = int(np.searchsorted(self._nodes, slots))
        return bool(self._calibration.seen[: far + 1].min() < LEAST)

    def _say(self, horizon: int) -> tuple[Floats, Floats]:
        """(what each member says, members x slots; the members' weights, members x nodes)."""
        said = np.full((len(self._members), horizon), np.nan)
        for row, member in zip(said, self._members.values(), strict=True):
            path = member.forecast(horizon)
            if path is not None:
                row[:] = path
        said[~np.isfinite(said).all(axis=1)] = np.nan
        return said, self._selection.weights(~np.isnan(said[:, 0]))

    def _quantiles(self, slots: int) -> Floats:
        said, weights = self._say(slots)
        ahead = np.arange(1, slots + 1)
        points = _mix(said, weights[:, np.searchsorted(self._nodes, ahead)])
        offsets = self._calibration.issue()
        return np.stack([points + np.interp(ahead, self._middles, row) for row in offsets.T])

    def _believed(self, slots: int) -> str:
        weights = self._say(slots)[1][:, np.searchsorted(self._nodes, slots)]
        return list(self._members)[int(weights.argmax())]

    # -- state --------------------------------------------------------------------------------------

    @classmethod
    def _made(cls, step_ms: int, horizon: int, state: list[Any]) -> Self:
        return cls(step_ms, horizon, tuple(state[0]))

    def _dump(self) -> list[Any]:
        return [
            self._wanted, self._time,
            [[member.name, member.dump()] for member in self._members.values()],
            self._selection.dump(), self._calibration.dump(),
            self._due.tobytes(), self._said.tobytes(), self._points.tobytes(), self._issued.tobytes(),
        ]  # fmt: skip

    def _restore(self, state: list[Any]) -> None:
        _, self._time, members, selection, calibration, due, said, points, issued = state
        for member, (name, held) in zip(self._members.values(), members, strict=True):
            if name != member.name:
                raise ValueError(f"a member is {name!r}, this program has {member.name!r}")
            member.restore(held)
        self._selection.restore(selection)
        self._calibration.restore(calibration)
        self._due[:] = np.frombuffer(due, dtype=np.int64).reshape(self._due.shape)
        for mine, data in ((self._said, said), (self._points, points), (self._issued, issued)):
            mine[:] = np.frombuffer(data).reshape(mine.shape)


def _mix(said: Floats, weights: Floats) -> Floats:
    """The weighted mean of members that say something; nought where none does."""
    mixed: Floats = np.where(weights > 0, said * weights, 0.0).sum(axis=0)
    return mixed
