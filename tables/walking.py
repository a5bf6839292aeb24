"""Walking along timelines: panes close, windows are published, what has expired is deleted.

A walk goes from edge to edge of the panes, over all instances of a stream at once, so that each
group's windows come in the order of their ends. Where nothing can happen it takes long steps; where
much has to happen it stops at its budget and goes on with the next batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from functools import partial
from typing import Any

from models.flow import Counters
from models.records import LIVE
from tables.directory import Directory
from tables.instances import Instance
from tables.kinds import Kind
from tables.publishing import Publisher
from tables.rolling import Roll
from tables.shelves import INFINITY
from tables.watermarks import END_OF_TIME, NEVER, StreamClock

ABANDONED = 7 * 86_400_000
"""A stream other than the live one of which nothing was heard for so long (ms) is forgotten."""

_LOOK_EVERY = 3_600_000

Job = tuple[int, Kind]
"""The end and the kind of a window that is to be revised."""


class Walk:
    """What one batch moves. ``budget`` is about how many windows it may publish."""

    def __init__(
        self,
        directory: Directory,
        clocks: MutableMapping[str, Any],
        publisher: Publisher,
        counters: Counters,
        budget: int,
    ) -> None:
        self._directory = directory
        self._clocks = clocks
        self._publisher = publisher
        self._counters = counters
        self._budget = budget

    # -- along a line -------------------------------------------------------------------------------

    def advance(self, owner: StreamClock | Instance, at: int, pane: int) -> None:
        """The watermark of a stream, or of a metric, is now ``at``."""
        line = owner.line
        target = at - at % pane
        if line.end is None and target > line.target:
            line.target = target
            self._walk(owner)

    def end(self, owner: StreamClock | Instance, pane: int) -> None:
        """Nothing more will come: close all windows that hold something, then forget it.

        The last windows are those that hold the stream's last pane, or its last watermark.
        """
        line, its = owner.line, self._instances(owner)
        if line.end is not None:
            return
        ends = [start + pane for it in its for start in _starts(it)]
        if isinstance(owner, StreamClock):
            ends.append(-(-owner.furthest // pane) * pane)
        line.end = max([line.reached, *ends])
        if line.end > NEVER:
            slide = max((it.plan.longest_slide for it in its), default=pane)
            line.target = max(line.target, -(-line.end // slide) * slide)
        self._walk(owner)

    def _walk(self, owner: StreamClock | Instance) -> None:
        line, its = owner.line, self._instances(owner)
        while line.behind and self._publisher.published < self._budget:
            edge = min((it.wake for it in its), default=INFINITY)
            if edge <= line.target:
                for it in its:
                    if it.wake <= edge:
                        self._step(it, edge)
                line.reached = edge
                self._drop([it for it in its if it.is_done], edge, "silent")
            else:
                line.reached = line.target
            self._tell(owner, line.reached)
            if line.end is not None and not line.behind:
                # What is late is owed: the stream goes on in silence until it is published.
                line.target = min((it.wake for it in its if it.is_owing), default=line.target)
        if line.behind:
            self._directory.behind[owner.key] = owner
        else:
            self._directory.behind.pop(owner.key, None)
            if line.end is not None:
                self._finish(owner)
                return
        self._save(owner)

    def _step(self, it: Instance, edge: int) -> None:
        """All that happens to an instance when its watermark gets to ``edge``.

        Revisions come before first publications, so that what late events take back is taken back
        before it is added to. A new window that late events belong to is revised at once.
        """
        for kind, n in it.take_late(edge):
            self._counters.count("late_events_ignored", kind.spec.name, n)
        has_changed = bool(it.pending)
        if it.pending:
            self._revise(it, it.due(edge))
        has_changed |= it.close(edge)
        closing = [k for k in it.plan.kinds if edge % k.slide == 0 and it.is_within_line(k, edge)]
        for kind in closing:
            self._publish(it, kind, edge)
        self._revise(it, [(edge, k) for k in closing if it.has_late(k, edge)])
        if has_changed or it.pending:
            self._directory.save(it)
        it.pack(edge)
        it.expire(edge)
        it.wake = it.next_edge(edge)

    def _publish(self, it: Instance, kind: Kind, end: int) -> None:
        if it.shows(kind, end):
            parts = it.on_time(kind, end)
            if parts or it.may_be_empty(end):
                self._publisher.first(it, kind, end, parts)

    def _finish(self, owner: StreamClock | Instance) -> None:
        """Forget a stream that has ended."""
        self._drop(list(self._instances(owner)), owner.line.reached, "ended")
        if isinstance(owner, StreamClock):
            self._clocks.pop(owner.key, None)
            self._tell(owner, END_OF_TIME)

    def _drop(self, its: Sequence[Instance], at: int, reason: str) -> None:
        for it in its:
            if self._directory.get(it.key) is not it:
                continue
            self._directory.drop(it)
            self._publisher.forget(it, at, reason)
            self._counters.count("groups_dropped", reason, 1)

    def _tell(self, owner: StreamClock | Instance, at: int) -> None:
        if isinstance(owner, StreamClock):
            self._publisher.passed(owner.tenant, owner.stream, at)

    def _save(self, owner: StreamClock | Instance) -> None:
        if isinstance(owner, StreamClock):
            self._clocks[owner.key] = owner
        elif self._directory.get(owner.key) is owner:
            self._directory.save(owner)

    def _instances(self, owner: StreamClock | Instance) -> Sequence[Instance]:
        if isinstance(owner, StreamClock):
            return self._directory.streams.get((owner.tenant, owner.stream), ())
        return (owner,)

    # -- at the end of a batch ----------------------------------------------------------------------

    def go_on(self, now: int) -> None:
        """Go on along the lines that are behind, and forget streams of which nothing is heard."""
        for _, owner in sorted(self._directory.behind.items()):
            self._walk(owner)
        if now - self._directory.looked_at >= _LOOK_EVERY:
            self._directory.looked_at = now
            self._abandon(now)

    def _revise(self, it: Instance, jobs: Iterable[Job]) -> None:
        """Publish windows again, with the late events that they now hold."""
        rolls: dict[Kind, Roll] = {}
        for end, kind in jobs:
            start = end - kind.size
            if kind.size == kind.level:
                pane = it.with_late(kind.level, start)
                parts = pane.parts if pane else {}
            else:
                roll = rolls.setdefault(kind, Roll(kind.size, kind.level))
                parts = roll.advance(end, partial(it.with_late, kind.level))
            late = it.late[kind.level].event_count(start, end)
            self._publisher.revise(it, kind, end, parts, late)
            if kind in it.pending:
                it.pending[kind].discard(end)
                if not it.pending[kind]:
                    del it.pending[kind]

    def _abandon(self, now: int) -> None:
        for clock in list(self._clocks.values()):
            if clock.stream in {LIVE, ""} or now - clock.touched < ABANDONED:
                continue
            self._drop(list(self._instances(clock)), clock.line.reached, "abandoned")
            self._directory.behind.pop(clock.key, None)
            del self._clocks[clock.key]
            self._tell(clock, END_OF_TIME)


def _starts(it: Instance) -> Iterator[int]:
    """The starts of the panes that are not closed yet, or are late."""
    yield from it.open
    yield from it.late[it.size].items
    yield from it.waiting.starts
