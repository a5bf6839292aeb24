"""One series' forecaster: members that learn side by side, the best of them believed, kept honest."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from ml.forecasting.calibration import RUNGS, Calibration, Floats
from ml.forecasting.members import DEFAULT, create
from ml.forecasting.protocol import seasons_of
from ml.forecasting.selection import Selection
from ml.protocol import finite
from models.errors import ConfigurationError, StateError

HORIZON = 48
LONGEST_HORIZON = 500
GOLDEN, SILVER = (math.sqrt(5) - 1) / 2, math.sqrt(2) - 1
"""Notes are taken every so many slots and ``GOLDEN`` of one, and of the horizons of a band one after the
other by ``SILVER`` of its width: at irrational distances they come evenly at all phases of whatever
period the series has. (Every fourth slot saw three of the twelve phases of an hour in steps of five
minutes, and horizons of 12, 24 and 48 slots are all whole hours: intervals held for those alone.)
"""

LEAST = 20
"""Outcomes that a horizon must have had before anything is said of it."""

LEVELS = tuple(round(high - low, 3) for low, high in zip(RUNGS, reversed(RUNGS), strict=True))[:5]
"""The levels that can be asked for: 0.99, 0.95, 0.9, 0.8 and 0.5."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode


class Forecast(NamedTuple):
    """What will be, from the slot that starts ``at`` (epoch ms) on, ``step_ms`` apart.

    ``points`` are medians, one a slot; ``intervals`` level -> (lower ends, upper ends). Both are empty
    while ``learning``. ``member`` is the one believed most for the last slot, "" while learning.
    """

    at: int
    step_ms: int
    learning: bool
    points: list[float]
    intervals: dict[float, tuple[list[float], list[float]]]
    member: str = ""


class Crossing(NamedTuple):
    """Whether a limit will be reached: ``probability``, None while learning, and in how many ms.

    ``ahead`` is the time until it is as likely as not to have been reached, None where that is not
    within the time asked about; 0 if the last value is there already.
    """

    probability: float | None
    ahead: int | None = None


class Forecaster:
    """Forecasts of one series with intervals, learned online; one owner, bounded memory.

    Values stand in slots of ``step_ms``. Of several in one slot the first is learned, and none that is
    older than the newest; ``skipped`` counts the others. Missing slots are filled with the
    forecaster's own points, of which nothing is concluded (``filled`` counts); after a gap longer
    than a season and than the horizon everything begins anew (``restarts``). ``horizon`` is the
    farthest slot ahead. Given the same calls it gives the same answers, also after
    ``load(dump())`` at any point.

    Horizons are followed in bands. Every few slots each member's forecasts and the quantiles around
    their weighted mean are put aside for one horizon of each band; when its time has come, errors choose
    the band's weights (:class:`Selection`) and misses move its quantiles (:class:`Calibration`).
    """

    name: ClassVar[str] = "forecaster/3"

    def __init__(
        self, step_ms: int, horizon: int = HORIZON, members: tuple[str, ...] = DEFAULT
    ) -> None:
        if step_ms <= 0:
            raise ConfigurationError(f"a step of {step_ms} ms is none; slots have a length")
        if not 1 <= horizon <= LONGEST_HORIZON:
            msg = f"a horizon of {horizon} slots is not between 1 and {LONGEST_HORIZON}"
            raise ConfigurationError(msg)
        self.step_ms, self.horizon, self._wanted = step_ms, horizon, tuple(members)
        self.skipped = self.filled = self.restarts = 0
        self._seasons = seasons_of(step_ms)
        self._nodes = _nodes(horizon)
        self._middles = (np.append(0, self._nodes[:-1]) + 1 + self._nodes) / 2
        self._apart = horizon // 12 + GOLDEN if horizon >= 24 else 1.0
        self._slot: int | None = None
        self._value = 0.0
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

    def learn(self, value: float, at: int) -> None:
        """Take in the value of the slot in which ``at`` (epoch ms) lies.

        Raises:
            ValueError: the value is not finite.
        """
        value, slot = finite(value), at // self.step_ms
        if self._slot is not None:
            if slot <= self._slot:
                self.skipped += 1
                return
            self._bridge(slot)
        self._settle(value)
        self._advance(value, slot)

    def forecast(self, horizon: int | None = None, levels: tuple[float, ...] = (0.9,)) -> Forecast:
        """The next ``horizon`` slots (all, unless said) with intervals of these levels.

        Raises:
            ConfigurationError: the horizon is not between 1 and the forecaster's own, or a level is
                none of :data:`LEVELS`.
        """
        horizon = self.horizon if horizon is None else horizon
        if not 1 <= horizon <= self.horizon:
            msg = f"a horizon of {horizon} slots is not between 1 and this forecaster's {self.horizon}"
            raise ConfigurationError(msg)
        rungs = {level: _rungs(level) for level in levels}
        at = (self._slot + 1) * self.step_ms if self._slot is not None else 0
        if self._learns(horizon):
            return Forecast(at, self.step_ms, True, [], {})
        ladder, weights = self._ladder(horizon)
        columns = {
            level: (ladder[:, low].tolist(), ladder[:, high].tolist())
            for level, (low, high) in rungs.items()
        }
        member = list(self._members)[int(np.argmax(weights[:, -1]))]
        middle = ladder[:, RUNGS.index(0.5)].tolist()
        return Forecast(at, self.step_ms, False, middle, columns, member)

    def crossing(self, limit: float, direction: str, within: int) -> Crossing:
        """How likely the series reaches ``limit``, going ``up`` or ``down``, within so many ms.

        The probability is that of the likeliest single slot: a lower bound of that of ever getting
        there, whatever the dependence between slots; it is told from the quantiles, so it is
        between 0.0025 and 0.9975 unless the last value is there already.

        Raises:
            ConfigurationError: no such direction, or a time that is not between one slot and the
                horizon.
        """
        if direction not in {"up", "down"}:
            raise ConfigurationError(f"there is no direction {direction!r}; there are up and down")
        slots = within // self.step_ms
        if not 1 <= slots <= self.horizon:
            msg = (
                f"{within} ms are {slots} slots, not between 1 and this forecaster's {self.horizon}"
            )
            raise ConfigurationError(msg)
        sign = 1.0 if direction == "up" else -1.0
        if self._slot is not None and sign * self._value >= sign * limit:
            return Crossing(1.0, 0)
        if self._learns(slots):
            return Crossing(None)
        ladder, _ = self._ladder(slots)
        paths = sign * ladder if sign > 0 else sign * ladder[:, ::-1]
        chances = np.maximum.accumulate([_beyond(path, sign * limit) for path in paths])
        reached = int(np.argmax(chances >= 0.5))
        ahead = (reached + 1) * self.step_ms if chances[-1] >= 0.5 else None
        return Crossing(float(chances[-1]), ahead)

    def dump(self) -> bytes:
        """The state, msgpack."""
        return _encode([
            self.name, self.step_ms, self.horizon, self._wanted, self.skipped, self.filled,
            self.restarts, self._slot, self._value, self._time,
            [[member.name, member.dump()] for member in self._members.values()],
            self._selection.dump(), self._calibration.dump(),
            self._due.tobytes(), self._said.tobytes(), self._points.tobytes(), self._issued.tobytes(),
        ])  # fmt: skip

    @classmethod
    def load(cls, state: bytes) -> Forecaster:
        """The forecaster that was dumped; it continues identically.

        Raises:
            StateError: the bytes are damaged, or of a version this program does not know.
        """
        try:
            name, step_ms, horizon, wanted, *rest = _decode(state)
            if name != cls.name:
                raise ValueError(f"it is of {name!r}")
            it = cls(step_ms, horizon, tuple(wanted))
            it._restore(rest)
        except (
            msgspec.DecodeError, TypeError, ValueError, LookupError, ConfigurationError,
        ) as exc:  # fmt: skip
            msg = f"state of {cls.name} of {len(state)} bytes is damaged: {exc}"
            raise StateError(msg) from exc
        return it

    def _restore(self, rest: list[Any]) -> None:
        (
            self.skipped, self.filled, self.restarts, self._slot, self._value, self._time,
            members, selection, calibration, due, said, points, issued,
        ) = rest  # fmt: skip
        for member, (name, held) in zip(self._members.values(), members, strict=True):
            if name != member.name:
                raise ValueError(f"a member is {name!r}, this program has {member.name!r}")
            member.restore(held)
        self._selection.restore(selection)
        self._calibration.restore(calibration)
        self._due[:] = np.frombuffer(due, dtype=np.int64).reshape(self._due.shape)
        for mine, data in ((self._said, said), (self._points, points), (self._issued, issued)):
            mine[:] = np.frombuffer(data).reshape(mine.shape)

    # -- learning -----------------------------------------------------------------------------------

    def _bridge(self, slot: int) -> None:
        """Fill the slots that are missing before this one, or begin anew."""
        assert self._slot is not None  # noqa: S101 - the caller has looked
        missing = slot - self._slot - 1
        if missing > max(self.horizon, self._seasons.shortest or 0):
            self.restarts += 1
            self._begin()
            return
        while missing:
            some = min(missing, self.horizon)
            middle: list[float] = self._ladder(some)[0][:, RUNGS.index(0.5)].tolist()
            for value in middle:
                self._advance(value, self._slot + 1)
            self.filled += some
            missing -= some

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

    def _advance(self, value: float, slot: int) -> None:
        """Let the members learn the slot, and put aside what they say of the next ones."""
        for member in self._members.values():
            member.learn(value, slot * self.step_ms)
        self._slot, self._value = slot, value
        number = math.ceil(self._time / self._apart)
        if int(number * self._apart) == self._time:
            said, weights = self._say(self.horizon)
            place, ahead = number % len(self._said), self._ahead(number)
            self._due[place] = self._time + ahead
            self._said[place] = said = said[:, ahead - 1]
            self._points[place] = points = _mix(said, weights)
            self._issued[place] = points[:, None] + self._calibration.issue()
        self._time += 1

    def _ahead(self, number: int) -> NDArray[np.int64]:
        """The horizons that a note is about: one of each band."""
        first = np.append(0, self._nodes[:-1]) + 1
        turn = (number * SILVER + np.arange(len(first)) * GOLDEN) % 1.0
        ahead: NDArray[np.int64] = first + (turn * (self._nodes - first + 1)).astype(np.int64)
        return ahead

    # -- forecasting --------------------------------------------------------------------------------

    def _learns(self, horizon: int) -> bool:
        far = int(np.searchsorted(self._nodes, horizon))
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

    def _ladder(self, horizon: int) -> tuple[Floats, Floats]:
        """(quantiles, slots x rungs; the members' weights, members x nodes)."""
        said, weights = self._say(horizon)
        slots = np.arange(1, horizon + 1)
        weights = weights[:, np.searchsorted(self._nodes, slots)]
        points = _mix(said, weights)
        offsets = self._calibration.issue()
        columns = [points + np.interp(slots, self._middles, column) for column in offsets.T]
        return np.stack(columns, axis=1), weights


def _nodes(horizon: int) -> NDArray[np.int64]:
    """The last horizon of each band: 1, 2, 3, 4, 6, 8, 12, 16, ... and the very last."""
    powers = [2**k for k in range(horizon.bit_length())]
    halves = [3 * power // 2 for power in powers[1:]]
    return np.array(sorted({*(n for n in powers + halves if n < horizon), horizon}), dtype=np.int64)


def _mix(said: Floats, weights: Floats) -> Floats:
    """The weighted mean of members that say something; NaN where none does."""
    mixed: Floats = np.where(weights > 0, said * weights, 0.0).sum(axis=0)
    return mixed


def _rungs(level: float) -> tuple[int, int]:
    if level not in LEVELS:
        possible = ", ".join(map(str, sorted(LEVELS)))
        msg = f"a level of {level} is not followed; possible are {possible}"
        raise ConfigurationError(msg)
    low = LEVELS.index(level)
    return low, len(RUNGS) - 1 - low


def _beyond(quantiles: Floats, limit: float) -> float:
    """The probability of at least ``limit``, from quantiles in rising order."""
    if limit <= quantiles[0]:
        return 1.0 - RUNGS[0] / 2
    if limit > quantiles[-1]:
        return RUNGS[0] / 2
    return float(1.0 - np.interp(limit, quantiles, RUNGS)) if math.isfinite(limit) else 0.0
