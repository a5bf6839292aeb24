"""Which of a series' stored window sizes answers a question. Pure.

A sliding window whose size is a multiple of its slide holds a tumbling one: those of its windows
that start at a multiple of the size. That is what is read where windows must not overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Resolution(NamedTuple):
    """A kind of window that a series has: ``first`` and ``last`` are the starts of its ends."""

    size: int
    slide: int
    first: int
    last: int

    @property
    def nests(self) -> bool:
        """Whether its windows include tumbling ones."""
        return self.size % self.slide == 0

    def covered(self, since: int, until: int) -> int:
        """How many ms of the range it has windows for."""
        return max(0, min(until, self.last + self.size) - max(since, self.first))


class Plan(NamedTuple):
    """Read windows of ``size`` and ``slide`` that start at multiples of ``stride``.

    ``step``: merge them into points of so many ms; None: each is a point.
    """

    size: int
    slide: int
    stride: int
    step: int | None


def choose(
    available: Sequence[Resolution],
    since: int,
    until: int,
    step: int | None,
    size: int | None,
    limit: int,
) -> Plan | None:
    """What to read for the points of [since, until), or None where nothing fits.

    With ``size`` that size; with ``step`` and no size, the longest size that divides it, whose
    distinct counts and quantiles are exact where merged ones are not; with neither, the finest
    tumbling size that needs no more than ``limit`` points, merged if even the longest needs more.
    A size that has been swept (or is no longer made) for part of the range gives way to one that
    has it.
    """
    if size is not None:
        fitting = [r for r in available if r.size == size]
        return _stepped(min(fitting, key=lambda r: r.slide), step) if fitting else None
    nesting = [r for r in available if r.nests]
    if not nesting:
        return None
    if step is not None:
        dividing = [r for r in nesting if r.size <= step and step % r.size == 0]
        best = _covering(dividing, since, until)
        if best:
            return _stepped(best[-1], step)
        return _stepped(min(nesting, key=lambda r: r.size), step)
    since = max(since, min(r.first for r in nesting))
    until = min(until, max(r.last + r.size for r in nesting))
    covering = _covering(nesting, since, until)
    for resolution in covering:
        if until - since <= resolution.size * limit:
            return Plan(resolution.size, resolution.slide, resolution.size, None)
    longest = covering[-1]
    step = -(-(until - since) // (longest.size * limit)) * longest.size
    while (until - 1) // step - since // step >= limit:  # steps begin at multiples of themselves
        step *= 2
    return Plan(longest.size, longest.slide, longest.size, step)


def _covering(available: Sequence[Resolution], since: int, until: int) -> list[Resolution]:
    """Those that cover as much of the range as any, finest first.

    The first and last windows of the sizes lie up to the longest size apart even where all cover
    the same events; so much less is no less.
    """
    if not available:
        return []
    tolerance = max(r.size for r in available)
    most = max(r.covered(since, until) for r in available)
    chosen = [r for r in available if r.covered(since, until) >= most - tolerance]
    return sorted(chosen, key=lambda r: (r.size, r.slide))


def _stepped(resolution: Resolution, step: int | None) -> Plan:
    size, slide = resolution.size, resolution.slide
    if step is None:
        return Plan(size, slide, slide, None)
    if step < size:  # overlapping windows must not be merged: one for each step
        return Plan(size, slide, -(-step // slide) * slide, None)
    return Plan(size, slide, size if resolution.nests else slide, step if step > size else None)
