"""What a forecaster of one series is: slots, gaps, forecasts with intervals, crossings, state."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
import numpy as np

from ml.forecasting.bands import LEVELS, RUNGS, Floats
from ml.forecasting.protocol import seasons_of
from ml.protocol import finite
from ml.state import DAMAGE, whole
from models.errors import ConfigurationError, StateError

HORIZON = 48
"""Slots ahead, unless said."""

LONGEST_HORIZON = 500

_MIDDLE = RUNGS.index(0.5)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list).decode


class Forecast(NamedTuple):
    """What will be, from the slot that starts ``at`` (epoch ms) on, ``step_ms`` apart.

    ``points`` are medians, one a slot, in the series' unit; ``intervals`` level -> (lower ends, upper
    ends), one of each a slot. Both are empty while ``learning``. ``member`` is the one believed most
    for the last slot, "" while learning.
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


class Forecaster(ABC):
    """Forecasts of one series with intervals, learned online; one owner, bounded memory.

    Values stand in slots of ``step_ms``. Of several in one slot the first is learned, and none that is
    older than the newest; ``skipped`` counts the others. Missing slots are filled with the
    forecaster's own points, of which no error is taken (``filled`` counts); after a gap longer
    than a season and than the horizon everything begins anew (``restarts``). ``horizon`` is the
    farthest slot ahead. Given the same calls it gives the same answers, also after
    ``load(dump())`` at any point.

    Raises:
        ConfigurationError: a step or a horizon that there is not.
    """

    name: ClassVar[str]
    """Its kind with its state's version: ``forecaster/4``."""

    _kinds: ClassVar[dict[str, type[Forecaster]]] = {}

    def __init_subclass__(cls) -> None:
        cls._kinds[cls.name] = cls

    def __init__(self, step_ms: int, horizon: int) -> None:
        if step_ms <= 0:
            raise ConfigurationError(f"a step of {step_ms} ms is none; slots have a length")
        if not 1 <= horizon <= LONGEST_HORIZON:
            msg = f"a horizon of {horizon} slots is not between 1 and {LONGEST_HORIZON}"
            raise ConfigurationError(msg)
        self.step_ms, self.horizon = step_ms, horizon
        self.skipped = self.filled = self.restarts = 0
        self._seasons = seasons_of(step_ms)
        self._slot: int | None = None
        self._value = 0.0

    # -- what each kind says -------------------------------------------------------------------------

    @abstractmethod
    def _begin(self) -> None:
        """Know nothing yet."""

    @abstractmethod
    def _take(self, value: float, slot: int, *, known: bool) -> None:
        """Learn the value of the slot after the last; ``known`` is whether it came or was filled in."""

    @abstractmethod
    def _learns(self, slots: int) -> bool:
        """Whether too little is known for this many slots ahead."""

    @abstractmethod
    def _quantiles(self, slots: int) -> Floats:
        """(rungs, slots): what comes next at each of :data:`RUNGS`, rising."""

    @abstractmethod
    def _believed(self, slots: int) -> str:
        """The member believed most that many slots ahead."""

    @abstractmethod
    def _dump(self) -> list[Any]:
        """What this kind knows, for msgpack."""

    @abstractmethod
    def _restore(self, state: list[Any]) -> None:
        """Know what was dumped; ValueError, TypeError or LookupError if it is none."""

    @classmethod
    def _made(cls, step_ms: int, horizon: int, _: list[Any]) -> Self:
        """A new one such as dumped this state."""
        return cls(step_ms, horizon)

    # -- what all do ---------------------------------------------------------------------------------

    def learn(self, value: float, at: int) -> None:
        """Take in the value of the slot in which ``at`` (epoch ms) lies.

        Raises:
            ValueError: the value is not finite.
        """
        value, slot = finite(value), at // self.step_ms
        last = self._slot
        if last is not None and slot != last + 1:
            if slot <= last:
                self.skipped += 1
                return
            self._bridge(last, slot)
        self._take(value, slot, known=True)
        self._slot, self._value = slot, value

    def _bridge(self, last: int, slot: int) -> None:
        """Fill the slots between the two, or begin anew."""
        missing = slot - last - 1
        if missing > max(self.horizon, self._seasons.shortest or 0):
            self.restarts += 1
            self._begin()
            return
        self.filled += missing
        while missing:
            some = min(missing, self.horizon)
            points: list[float] = self._quantiles(some)[_MIDDLE].tolist()
            for point in points:
                last += 1
                self._take(finite(point), last, known=False)
            missing -= some

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
        ladder = self._quantiles(horizon)
        columns = {
            level: (ladder[low].tolist(), ladder[high].tolist())
            for level, (low, high) in rungs.items()
        }
        middle = ladder[_MIDDLE].tolist()
        return Forecast(at, self.step_ms, False, middle, columns, self._believed(horizon))

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
        ladder = self._quantiles(slots)
        paths = sign * (ladder if sign > 0 else ladder[::-1]).T
        chances = np.maximum.accumulate([_beyond(path, sign * limit) for path in paths])
        reached = int(np.argmax(chances >= 0.5))
        ahead = (reached + 1) * self.step_ms if chances[-1] >= 0.5 else None
        return Crossing(float(chances[-1]), ahead)

    def dump(self) -> bytes:
        """The state, msgpack."""
        return _encode([
            self.name, self.step_ms, self.horizon, [self.skipped, self.filled, self.restarts],
            None if self._slot is None else int(self._slot), self._value, self._dump(),
        ])  # fmt: skip

    @classmethod
    def load(cls, state: bytes) -> Forecaster:
        """The forecaster that was dumped, of whichever kind; it continues identically.

        Raises:
            StateError: the bytes are damaged, or of a version this program does not know.
        """
        try:
            name, step_ms, horizon, *rest = _decode(state)
            if name not in cls._kinds:
                raise ValueError(f"it is of {name!r}")
            step_ms, horizon = whole(step_ms, 1), whole(horizon, 1, LONGEST_HORIZON)
            it = cls._kinds[name]._made(step_ms, horizon, rest[-1])  # noqa: SLF001 - a class below
            it._resume(*rest)  # noqa: SLF001
        except (*DAMAGE, ConfigurationError) as exc:
            msg = f"state of a forecaster of {len(state)} bytes is damaged: {exc}"
            raise StateError(msg) from exc
        return it

    def _resume(self, counts: list[int], slot: int | None, value: float, held: list[Any]) -> None:
        self.skipped, self.filled, self.restarts = map(whole, counts)
        self._slot = None if slot is None else whole(slot, -(2**53), 2**53)
        self._value = finite(value)
        self._restore(held)


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
    if math.isnan(limit):
        return 0.0
    above = int(np.searchsorted(quantiles, limit))
    low, high = float(quantiles[above - 1]), float(quantiles[above])
    share = (limit - low) / (high - low)
    return 1.0 - (RUNGS[above - 1] + share * (RUNGS[above] - RUNGS[above - 1]))
