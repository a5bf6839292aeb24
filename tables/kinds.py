"""Which kinds of window a group has, what they are built from, and how long that is kept.

Windows are built from *blocks*. A kind's blocks are as long as the greatest common divisor of its
size and slide, so a window of an hour every minute is made of 60 one-minute blocks and not of 360
panes. Each length of block is a *level*; the lowest level is the panes themselves, and a higher
level's block is made once, when its last pane closes.

All times and durations are milliseconds; ends of windows are multiples of the slide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

from models.config import METRIC_PREFIX, SeriesConfig, WindowSpec

PANE = "pane"
"""What the kind of a metric's own panes is called in rules."""

DEFAULT_GRACE = 3_600_000


class PaneSpec(WindowSpec, frozen=True):
    """The kind that a metric's own panes make: tumbling, one window a pane."""

    @property
    def name(self) -> str:
        return PANE


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind of window of a group. ``level`` is the length of its blocks."""

    spec: WindowSpec
    size: int
    slide: int
    grace: int
    level: int
    tumbling: bool
    id: str

    def first_end_after(self, at: int) -> int:
        """The end of the earliest window that ends after ``at``."""
        return at - at % self.slide + self.slide

    def ends_over(self, start: int, length: int) -> range:
        """The ends of all windows that the block ``[start, start + length)`` is in."""
        return range(self.first_end_after(start + length - 1), start + self.size + 1, self.slide)


class Plan(NamedTuple):
    """Everything that follows from a group's pane length.

    ``kinds`` are in the order of publication: by size, then slide. ``levels`` are ascending, the
    panes' own length first. A block is kept until ``keep[level]`` after its start: no window that
    it is in can be revised any more; after ``hold[level]`` only revisions need it. ``source[level]`` is the level its blocks are made from.
    """

    pane: int
    kinds: tuple[Kind, ...]
    levels: tuple[int, ...]
    keep: dict[int, int]
    hold: dict[int, int]
    source: dict[int, int]
    longest: int
    longest_slide: int


def is_metric(group: str) -> bool:
    """Whether a group key is that of a metric's series."""
    return group.partition("|")[2].startswith(METRIC_PREFIX)


def plays_plan(config: SeriesConfig) -> Plan:
    """The plan of every group of plays: the configured windows."""
    return _plan(config.time.pane, config.windows)


def metric_plan(config: SeriesConfig, pane: int) -> Plan:
    """The plan of a metric with this length of pane.

    One tumbling window a pane, for the detectors, and the configured windows whose size is a
    larger multiple of the pane, their slide rounded up to a multiple of it. The pane windows'
    grace is that of the largest configured window that is no longer than a pane, else that of the
    smallest.
    """
    by_size = sorted(config.windows, key=lambda w: w.size)
    model = next((w for w in reversed(by_size) if w.size <= pane), by_size[0] if by_size else None)
    grace = model.grace if model else DEFAULT_GRACE
    retention = model.retention if model else DEFAULT_GRACE
    own = PaneSpec(size=pane, slide=pane, grace=grace, detect=True, retention=retention)
    specs: dict[tuple[int, int], WindowSpec] = {}
    for w in by_size:
        if w.size > pane and w.size % pane == 0:
            slide = -(-w.slide // pane) * pane
            spec = WindowSpec(w.size, slide, w.grace, w.detect, w.retention, w.keep_every)
            specs.setdefault((w.size, slide), spec)
    return _plan(pane, (own, *specs.values()))


def _plan(pane: int, specs: Sequence[WindowSpec]) -> Plan:
    kinds = tuple(_kind(spec) for spec in sorted(specs, key=lambda w: (w.size, w.slide)))
    levels = tuple(sorted({pane, *(k.level for k in kinds)}))
    keep = {
        level: max([level + pane, *(k.size + k.grace for k in kinds if k.level == level)])
        for level in levels
    }
    source = {
        level: max(finer for finer in levels if finer < level and level % finer == 0)
        for level in levels[1:]
    }
    hold = {level: max([level, *(k.size for k in kinds if k.level == level)]) for level in levels}
    for level, finer in source.items():
        keep[finer] = max(keep[finer], level + finer)
        hold[finer] = max(hold[finer], level)
    return Plan(
        pane=pane,
        kinds=kinds,
        levels=levels,
        keep=keep,
        hold=hold,
        source=source,
        longest=max((k.size for k in kinds), default=pane),
        longest_slide=max((k.slide for k in kinds), default=pane),
    )


def _kind(spec: WindowSpec) -> Kind:
    return Kind(
        spec=spec,
        size=spec.size,
        slide=spec.slide,
        grace=spec.grace,
        level=gcd(spec.size, spec.slide),
        tumbling=spec.size == spec.slide,
        id=f"{spec.size}+{spec.slide}",
    )
