"""The forecaster that ships: filters of the last values, compared and calibrated a block at a time."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from ml.forecasting.bands import RUNGS, Floats, Ints, middles
from ml.forecasting.filters import (
    FILTERS,
    MEDIAN_OF,
    ORIGINS,
    PACES,
    WINDOW,
    Bank,
    bank_of,
    member_names,
)
from ml.forecasting.forecaster import HORIZON, Forecaster
from ml.forecasting.ladder import Ladder
from ml.forecasting.past import Past
from ml.forecasting.ranking import Ranking
from ml.protocol import LARGEST, finite
from ml.state import whole
from models.errors import ConfigurationError

_FIRST = 8
"""Values before the first origin."""

LEAST = 2 * ORIGINS
"""Errors that must be known of every band before anything is said."""

_OLD = 4
"""Times as many blocks as are to be learned at once have been learned singly."""

_ROUNDING = 1e-12
"""Of the largest of the last values: ends are wider by as much, for sums of products are not exact."""

_LOWEST = -LARGEST
_OUTWARDS = np.sign(np.array(RUNGS) - 0.5)
_NAMES = member_names()


class _Issue(NamedTuple):
    """What was in force from the value of this number on; ``rounding``: what sums may be off by."""

    since: int
    rounding: float
    weights: Floats
    quantiles: Floats


class BlockForecaster(Forecaster):
    """Forecasts of one series, learned a block at a time; see :class:`Forecaster`.

    Its members (:mod:`ml.forecasting.filters`) have nothing to learn but the means over the days.
    Values are only kept until a block is over, about as long as the horizon. Then all members are
    held against what came after seven origins of the block before, by a few products of matrices:
    that ranks them (:class:`Ranking`) and moves the quantiles around their weighted mean
    (:class:`Ladder`). Forecasts begin at the newest value all the same; only how far members are to be
    trusted is up to a block old. With a ``pace`` of 2 or 4 as many blocks are judged at once when
    there have been four times as many: that takes down to half the CPU, and intervals follow later.

    Sources: the members are exponential smoothing (Brown 1959), seasonal naive and least squares;
    weighting by past performance, Bates and Granger 1969; intervals, Gibbs and Candès 2021.

    Raises:
        ConfigurationError: as :class:`Forecaster`, and for a pace that there is not.
    """

    name: ClassVar[str] = "forecaster/4"

    def __init__(self, step_ms: int, horizon: int = HORIZON, pace: int = 1) -> None:
        super().__init__(step_ms, horizon)
        if pace not in PACES:
            msg = f"a pace of {pace} blocks is none; there are {', '.join(map(str, PACES))}"
            raise ConfigurationError(msg)
        self._pace = pace
        self._begin()

    def _begin(self) -> None:
        self._bank: Bank = bank_of(self.horizon, self._seasons)
        bank, kept = self._bank, MEDIAN_OF + self.horizon + (1 + self._pace) * self._bank.block
        self._past = Past(bank.lags, kept, self.horizon)
        self._new: list[float] = []
        self._blocks = 0
        self._ranking = Ranking(len(bank.nodes))
        self._ladder = Ladder(np.maximum(1.0, middles(bank.nodes) * ORIGINS / bank.block))
        self._issues: deque[_Issue] = deque()
        self._filled: list[int] = []
        self._settle()
        self._issue()

    # -- learning -----------------------------------------------------------------------------------

    def learn(self, value: float, at: int) -> None:
        """See :meth:`Forecaster.learn`; this is the same, quicker where a slot follows the last."""
        value, slot = float(value), at // self.step_ms
        if slot - 1 != self._slot or not _LOWEST <= value <= LARGEST:
            super().learn(value, at)
            return
        self._slot, self._value = slot, value
        self._new.append(value)
        if len(self._new) == self._room:
            self._learn_block()

    def _take(self, value: float, slot: int, *, known: bool) -> None:
        if not known:
            self._filled.append(self._past.values.end + len(self._new))
        self._new.append(value)
        if len(self._new) == self._room:
            self._learn_block()

    @property
    def _first(self) -> int:
        """How many values there are at the first origin of the block that is next to be learned."""
        return _FIRST + self._blocks * self._bank.block

    def _settle(self) -> None:
        """Put what is new to the past: elementwise, so that it does not matter when."""
        if self._new:
            self._past.extend(np.array(self._new))
            self._new.clear()
        # What is learned at once is over when the horizon of its last origin has passed.
        over = self._first + int(self._bank.origins[-1]) + self.horizon
        self._room = over - self._past.values.end

    def _learn_block(self) -> None:
        self._settle()
        bank, first = self._bank, self._first
        pace = len(bank.origins) // ORIGINS
        ahead = bank.ahead[self._blocks // pace % len(bank.ahead)]
        targets = (bank.origins + (first - 1))[:, None] + ahead
        errors = self._errors(first, targets, ahead)
        # All are held against what was in force at the middle one. (Of several blocks the first
        # origins then are a block older than it: each its own gave no better intervals.)
        issued = self._in_force(first + int(bank.origins[len(bank.origins) // 2]))
        off = (issued.weights * errors[:, : len(issued.weights)]).sum(axis=1)
        known = self._known(targets)
        self._ladder.learn(off, issued.quantiles, known)
        self._ranking.learn(errors, known)
        self._blocks += pace
        if pace < self._pace and self._blocks >= _OLD * 2 * pace:
            self._bank = bank_of(self.horizon, self._seasons, 2 * pace)
        self._settle()
        self._issue()

    def _errors(self, first: int, targets: Ints, ahead: Ints) -> Floats:
        """(origins, members, bands): how far above each member's forecast the values came."""
        bank, past = self._bank, self._past
        count = 1 + sum([lag <= first for lag in bank.lags])
        rows = past.rows(first - WINDOW, first + int(bank.origins[-1]), count)
        said = (rows @ bank.taps).reshape(count, -1, len(targets), 1)
        values = past.values.take(targets)
        errors = np.empty((len(targets), 1 + len(FILTERS) * count, targets.shape[1]))
        errors[:, 0] = values - said[0, 4] * ahead - said[0, 3]
        by_row = errors[:, 1:].reshape(len(targets), count, len(FILTERS), -1)
        by_row[:, 0, 0] = values
        for row in range(1, count):
            np.subtract(values, past.ago(row, targets, ahead), out=by_row[:, row, 0])
        np.subtract(by_row[:, :, :1], said[:, :3].transpose(2, 0, 1, 3), out=by_row[:, :, 1:])
        for place in range(0, len(targets), bank.together):
            median = past.median(first + int(bank.origins[place]), MEDIAN_OF)
            errors[place : place + bank.together, 1] -= median
        return errors

    def _in_force(self, number: int) -> _Issue:
        """What was issued last before the value of this number; what is older goes."""
        while len(self._issues) > 1 and self._issues[1].since <= number:
            self._issues.popleft()
        return self._issues[0]

    def _known(self, targets: Ints) -> NDArray[np.bool_] | None:
        """Which targets were not filled; None where all were not."""
        if not self._filled:
            return None
        least = int(targets.min())
        self._filled = [number for number in self._filled if number >= least]
        return ~np.isin(targets, self._filled) if self._filled else None

    def _issue(self) -> None:
        end = self._past.values.end
        size = (
            float(np.abs(self._past.values.part(max(end - WINDOW, 0), end)).max()) if end else 0.0
        )
        ranks, quantiles = self._ranking.weights(), self._ladder.quantiles()
        self._issues.append(_Issue(end, _ROUNDING * size, ranks, quantiles))
        self._apply()

    def _apply(self) -> None:
        """Spread what was issued last over the slots, so that a forecast is a product of matrices."""
        bank, issue = self._bank, self._issues[-1]
        self._known_least: list[int] = np.minimum.accumulate(self._ladder.known).tolist()
        self._best: list[int] = issue.weights.argmax(axis=0).tolist()
        weights = issue.weights.take(bank.band, axis=1)
        by_row = weights[1:].reshape(-1, len(FILTERS), self.horizon)
        said = np.zeros((len(by_row), bank.now.shape[1], self.horizon))
        said[:, :3] = by_row[:, 1:]
        said[0, 3] = weights[0]
        said[0, 4] = weights[0] * bank.slots
        self._of_filters = said.reshape(-1, self.horizon)
        self._of_median = by_row[0, 0]
        self._of_rows = by_row[1:].sum(axis=1)
        self._around = (issue.quantiles + issue.rounding * _OUTWARDS).T @ bank.spread

    # -- forecasting --------------------------------------------------------------------------------

    def _learns(self, slots: int) -> bool:
        return self._known_least[int(self._bank.band[slots - 1])] < LEAST

    def _quantiles(self, slots: int) -> Floats:
        self._settle()
        bank, past = self._bank, self._past
        end, count = past.values.end, len(self._of_rows) + 1
        said = past.rows(end - WINDOW, end, count) @ bank.now
        points = said.ravel() @ self._of_filters
        points += past.median(end, MEDIAN_OF) * self._of_median
        for row, share in enumerate(self._of_rows, 1):
            points += share * past.next(row, bank.slots)
        quantiles: Floats = self._around + points
        return quantiles[:, :slots]

    def _believed(self, slots: int) -> str:
        return _NAMES[self._best[int(self._bank.band[slots - 1])]]

    # -- state --------------------------------------------------------------------------------------

    @classmethod
    def _made(cls, step_ms: int, horizon: int, state: list[Any]) -> Self:
        return cls(step_ms, horizon, state[0])

    def _dump(self) -> list[Any]:
        self._settle()
        issues = [
            (issue.since, issue.rounding, issue.weights.tobytes(), issue.quantiles.tobytes())
            for issue in self._issues
        ]
        return [
            self._pace, self._blocks, self._filled, self._past.dump(), self._ranking.dump(),
            self._ladder.dump(), issues,
        ]  # fmt: skip

    def _restore(self, state: list[Any]) -> None:
        _, blocks, filled, past, ranking, ladder, issues = state
        self._blocks = whole(blocks)
        self._past.restore(past)
        self._ranking.restore(ranking)
        self._ladder.restore(ladder, ORIGINS * self._blocks)
        pace = max(p for p in PACES if p <= self._pace and (p == 1 or self._blocks >= _OLD * p))
        self._bank = bank_of(self.horizon, self._seasons, pace)
        self._settle()
        end, bands = self._past.values.end, len(self._bank.nodes)
        most = 2 * pace * self._bank.block if self._blocks else self._room + end
        if not 0 < self._room <= most:
            msg = f"{end} values are not what {blocks} blocks leave open"
            raise ValueError(msg)
        self._filled = [whole(number, 0, end - 1) for number in filled]
        self._issues = deque(_restored(issue, bands, end) for issue in issues)
        since, members = [i.since for i in self._issues], len(FILTERS) * (1 + len(self._bank.lags))
        if since != sorted(since) or any(len(i.weights) > 1 + members for i in self._issues):
            raise ValueError("what was issued is in no order, or of members that there are not")
        self._apply()


def _restored(issue: list[Any], bands: int, end: int) -> _Issue:
    """What was in force, checked."""
    since, rounding, weights, quantiles = issue
    found = _Issue(
        whole(since, 0, end), finite(rounding), np.frombuffer(weights).reshape(-1, bands),
        np.frombuffer(quantiles).reshape(bands, len(RUNGS)),
    )  # fmt: skip
    if len(found.weights) % len(FILTERS) != 1 or len(found.weights) < 1 + len(FILTERS):
        raise ValueError(f"{len(found.weights)} members have a weight")
    if not (np.isfinite(found.weights).all() and np.isfinite(found.quantiles).all()):
        raise ValueError("what was issued is not finite")
    return found
