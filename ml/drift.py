"""Whether a series, or a detector's surprise at it, is no longer what it was: drift.

An anomaly is over when it is over; a drift is where a series stays. River's tests decide; here they get
numbers that they can be given (centred, scaled, clipped), and their answer is put into times and means.
"""

from __future__ import annotations

import math
import zlib
from collections import deque
from typing import Any, NamedTuple

import river
from river import drift

from ml.profile import Profile
from ml.state import DAMAGE, moment, number, whole
from models.errors import ConfigurationError, StateError

KINDS = ("adwin", "page_hinkley")
INPUTS, ERRORS = "inputs", "errors"

BLOCK = 30
"""Values whose mean is one number for a test. Neighbours are alike, and tests want independence."""

_SCALE_FROM = 60
"""Blocks from which the scale is taken before anything is tested."""

_KEPT = 32
_TAIL = 4
"""Blocks that are looked at for since when, and whose mean is what it is like now."""

_CLIP = 6.0
"""In standard deviations: a single outlier is an anomaly, and must not look like a drift."""

_LEAST_SURPRISE = 0.1
"""In ln(1 + surprise): a detector that fits leaves next to none, and twice that is still none."""

_HOUR = 3_600_000
_DAY = 24 * _HOUR


class Drift(NamedTuple):
    """The mean of a series has moved. ``of``: its values, or the surprise at them.

    ``before`` and ``after`` are means at the same hours, in the series' own unit or the score's;
    ``since`` is the start of the block where it went over, ``at`` where that became certain (both
    epoch ms).
    """

    of: str
    at: int
    since: int
    before: float
    after: float


class Monitor:
    """One of River's drift tests on the means of blocks of 30 numbers, in bounded memory.

    ``adwin``: Bifet and Gavalda 2007, "Learning from time-changing data with adaptive windowing";
    finds a change of any size, the smaller the later. ``page_hinkley``: Page 1954; looks for shifts
    beyond half a standard deviation of a block's mean. Means are taken in standard deviations of
    the first 60 since the last drift, clipped at 6; what is tested does not move the scale, or a shift
    would hide itself. ``least`` is the smallest standard deviation that is believed.

    Raises:
        ConfigurationError: there is no such ``kind``.
    """

    def __init__(self, kind: str, least: float = 0.0) -> None:
        if kind not in KINDS:
            msg = f"there is no drift test {kind!r}; there are {', '.join(KINDS)}"
            raise ConfigurationError(msg)
        self.kind = kind
        self.least = least
        self._block = [0.0, 0.0, 0.0, 0.0]  # how many, sum of numbers, sum of usual, first time
        self._kept: deque[tuple[float, float, int]] = deque(maxlen=_KEPT)
        self._begin()

    def _begin(self) -> None:
        self._n = 0
        self._mean = self._squares = 0.0
        self._test: Any = _new_test(self.kind)

    def learn(self, number: float, usual: float, at: int) -> Drift | None:
        """Take one number in; the drift if it makes one certain, with ``of`` left empty.

        ``number`` is how far the series is from what is ``usual`` at that time (``at``, epoch ms);
        both are finite and in the same unit, which is the drift's.
        """
        block = self._block
        if not block[0]:
            block[3] = at
        block[0] += 1
        block[1] += number
        block[2] += usual
        if block[0] < BLOCK:
            return None
        mean = block[1] / BLOCK
        self._kept.append((mean, block[2] / BLOCK, int(block[3])))
        self._block = [0.0, 0.0, 0.0, 0.0]
        scale = max(math.sqrt(self._squares / self._n) if self._n else 0.0, self.least)
        if self._n >= _SCALE_FROM:
            off = (mean - self._mean) / (scale or 1.0)
            self._test.update(min(max(off, -_CLIP), _CLIP))
            if self._test.drift_detected:
                found = self._found(at)
                self._begin()
                return found
            return None
        self._n += 1
        step = mean - self._mean
        self._mean += step / self._n
        self._squares += step * (mean - self._mean)
        return None

    def _found(self, at: int) -> Drift:
        kept = list(self._kept)
        now = sum(mean for mean, _, _ in kept[-_TAIL:]) / len(kept[-_TAIL:])
        first = len(kept)
        while first and abs(kept[first - 1][0] - now) <= abs(kept[first - 1][0] - self._mean):
            first -= 1
        after = kept[first:] or kept[-1:]
        usual = sum(usual for _, usual, _ in after) / len(after)
        moved = sum(mean for mean, _, _ in after) / len(after)
        return Drift("", at, after[0][2], usual + self._mean, usual + moved)

    def dump(self) -> list[Any]:
        """The state as plain values; River's own test by its fields, under River's version."""
        return [
            self.kind, self.least, self._n, self._mean, self._squares, self._block,
            list(self._kept), _dump_test(self._test),
        ]  # fmt: skip

    @classmethod
    def load(cls, state: list[Any]) -> Monitor:
        """The monitor that was dumped; ValueError or TypeError if it is not one.

        A test of another version of River begins anew, with the scale as it was.
        """
        kind, least, n, mean, squares, block, kept, test = state
        monitor = cls(str(kind), number(least, 0))
        monitor._n, monitor._mean, monitor._squares = whole(n), number(mean), number(squares, 0)
        monitor._block = [number(held) for held in block]
        if len(block) != 4 or not 0 <= block[0] < BLOCK:
            raise ValueError("a block is not what is summed")
        monitor._kept.extend(
            (number(x), number(u), whole(at, -(2**62), 2**62)) for x, u, at in kept
        )
        _load_test(monitor._test, test)
        return monitor


class Usual:
    """What a series was at this hour of the week, or of the day while that is not known.

    Own method: means of :class:`ml.profile.Profile`, between the middles of hours on a straight
    line. Hours come into it three hours late, so that what is going on now is never its own yardstick.
    """

    def __init__(self) -> None:
        self._profile = Profile()
        self._hours: list[list[float]] = []  # number, sum and how many values of the latest hours

    def at(self, at: int) -> float:
        """The expectation for an epoch ms; NaN where there is none yet."""
        # An hour's mean stands in its middle.
        hour, rest = divmod(at - _HOUR // 2, _HOUR)
        now = self._profile.expected(hour * _HOUR, math.nan)
        soon = self._profile.expected((hour + 1) * _HOUR, math.nan)
        return now + (soon - now) * rest / _HOUR

    def learn(self, value: float, at: int) -> None:
        """Take a finite value in; ``at`` never goes back."""
        hour = at // _HOUR
        if not self._hours or self._hours[-1][0] != hour:
            self._hours.append([hour, 0.0, 0])
        self._hours[-1][1] += value
        self._hours[-1][2] += 1
        while self._hours[0][0] < hour - 2:
            past, total, n = self._hours.pop(0)
            self._profile.learn(total / n, int(past) * _HOUR)

    def dump(self) -> list[Any]:
        """The state as plain values."""
        return [self._profile.dump(), self._hours]

    @classmethod
    def load(cls, state: list[Any]) -> Usual:
        """What was dumped; ValueError or TypeError if it is not that."""
        usual = cls()
        profile, hours = state
        usual._profile = Profile.load(profile)
        usual._hours = [
            [whole(hour, -(2**53)), number(total), whole(n, 1)] for hour, total, n in hours
        ]
        return usual


class DriftWatch:
    """Drift of a series' values and of the surprise at them.

    Values are tested less what is usual at their hour (of the week, before that is known of the
    day), so that a daily curve is none. Nothing is tested in the first 25 hours. The first weekend
    is a drift; what has shifted differs from last week's hours once more after a week. Of surprise
    the logarithm is tested, which a few great ones do not rule.

    Raises:
        ConfigurationError: there is no such ``kind`` of test.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._began: int | None = None
        self._usual = Usual()
        self._inputs, self._errors = Monitor(kind), Monitor(kind, _LEAST_SURPRISE)

    def learn(self, value: float, surprise: float | None, at: int) -> list[Drift]:
        """Take a finite value of an epoch ms and the surprise at it (None while learning) in.

        Returns the drifts found: none, one, or one of each.
        """
        if self._began is None:
            self._began = at
        is_known = at - self._began >= _DAY + _HOUR
        usual = self._usual.at(at) if is_known else math.nan
        self._usual.learn(value, at)
        found = []
        if not math.isnan(usual):
            moved = self._inputs.learn(value - usual, usual, at)
            if moved is not None:
                found.append(moved._replace(of=INPUTS))
        if is_known and surprise is not None:
            moved = self._errors.learn(math.log1p(surprise), 0.0, at)
            if moved is not None:
                before, after = math.expm1(moved.before), math.expm1(moved.after)
                found.append(moved._replace(of=ERRORS, before=before, after=after))
        return found

    def dump(self) -> list[Any]:
        """The state as plain values, at most 5 KB."""
        return [
            self.kind,
            self._began,
            self._usual.dump(),
            self._inputs.dump(),
            self._errors.dump(),
        ]

    @classmethod
    def load(cls, state: list[Any]) -> DriftWatch:
        """The watch that was dumped; StateError if it is not one."""
        try:
            kind, began, usual, inputs, errors = state
            watch = cls(str(kind))
            watch._began = moment(began)
            watch._usual = Usual.load(usual)
            watch._inputs, watch._errors = Monitor.load(inputs), Monitor.load(errors)
        except (*DAMAGE, ConfigurationError) as exc:
            msg = f"state of a drift test is damaged: {exc}"
            raise StateError(msg) from exc
        return watch


def _new_test(kind: str) -> Any:
    if kind == "adwin":
        return drift.ADWIN(delta=0.002, clock=1)
    return drift.PageHinkley(min_instances=30, delta=0.5, threshold=30.0)


_PAGE_HINKLEY = ("_sum_increase", "_sum_decrease", "_min_increase", "_max_decrease")


def _dump_test(test: Any) -> list[Any]:
    # River keeps these private and offers no export but pickle; its version is pinned and said.
    if isinstance(test, drift.ADWIN):
        held = test._helper.__getstate__()  # noqa: SLF001
        return [river.__version__, zlib.crc32(held), held]
    mean = test._x_mean  # noqa: SLF001
    return [river.__version__, mean.n, mean._mean, *(getattr(test, f) for f in _PAGE_HINKLEY)]  # noqa: SLF001


def _load_test(test: Any, state: list[Any]) -> None:
    version, *fields = state
    if version != river.__version__:
        return
    if isinstance(test, drift.ADWIN):
        check, held = fields
        if zlib.crc32(held) != check:  # River's Rust would panic, and no handler catches that
            raise ValueError("ADWIN's window is not what was dumped")
        test._helper.__setstate__(held)  # noqa: SLF001
        return
    n, mean, *sums = fields
    test._x_mean.n, test._x_mean._mean = number(n, 0), number(mean)  # noqa: SLF001
    for name, held in zip(_PAGE_HINKLEY, sums, strict=True):
        setattr(test, name, _sum(held))


def _sum(held: Any) -> float:
    # The least and the most begin at the ends of what there is.
    return float(held) if held in {math.inf, -math.inf} else number(held)
