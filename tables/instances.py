"""Group instances: what the window step keeps of one group on one stream, and what its windows hold.

An instance is a group key, a stream and a length of pane. Its panes arrive in any order; they close
one by one as the watermark passes, become blocks, and blocks make windows. Late panes are kept
apart: the first publication of a window holds none of them, a revision holds all.

What is late waits until the watermark gets to the edge that it was *noticed* by (``models.records.Partial``):
all that was noticed so far is there by then. So what a revision holds, and between which first
publications it comes, follows from event time, and not from batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from operator import itemgetter
from typing import Any

import msgspec

from models.errors import StateError
from models.flow import StoreSpec
from models.records import to_msgpack
from tables.kinds import Kind, Plan, is_metric
from tables.panes import Pane, together
from tables.parts import Parts, event_count
from tables.publications import Publication
from tables.releases import beginning, ending
from tables.rolling import Roll
from tables.shelves import INFINITY, BlockShelf, Shelf
from tables.waiting import Waiting
from tables.watermarks import NEVER, Line

SILENCE = 86_400_000
"""For so long (ms) an instance of plays without data is filled with zeros; then it sleeps."""

AT_ONCE = 6
"""So many windows of a kind are revised for each pane that passes, the newest first: a late play is in
six windows of a minute every 10 s. What a flood of late plays changes is revised together, at a bounded
cost."""


class _Saved(msgspec.Struct, array_like=True):
    tenant: str
    group: str
    stream: str
    size: int
    partition: int
    origin: int | None = None
    first: int | None = None
    last: int = NEVER
    target: int = NEVER
    reached: int = NEVER
    end: int | None = None
    pending: dict[str, list[tuple[int, int]]] = {}


class Instance:
    """One group instance. ``origin``, ``first`` and ``last`` are starts of closed on-time panes.

    ``origin``: where it began; ``first``: where it began again after its last silence; ``last``: its
    newest with data. ``line`` is its own for a metric, its stream's for plays. ``pending``: per kind
    the ends of the published windows whose revision is due. ``wake``: nothing happens to it before
    the watermark gets there.
    """

    __slots__ = (
        "blocks", "closed", "ends_at", "first", "group", "growing", "header", "is_plays", "key", "last", "late",
        "late_until", "line", "open", "origin", "partition", "pending", "plan", "record_key", "rolls", "size",
        "stored_pending", "stream", "tenant", "waiting", "wake",
    )  # fmt: skip

    def __init__(self, tenant: str, group: str, stream: str, size: int, partition: int) -> None:
        self.tenant = tenant
        self.group = group
        self.stream = stream
        self.size = size
        self.partition = partition
        self.key = instance_key(group, stream, size)
        self.is_plays = not is_metric(group)
        self.ends_at = ending(group)
        self.origin: int | None = None
        self.first: int | None = None
        self.last = NEVER
        self.line = Line()
        self.pending: dict[Kind, set[int]] = {}
        self.stored_pending: Mapping[str, list[tuple[int, int]]] = {}
        self.late_until = NEVER
        self.wake = INFINITY
        self.open: dict[int, Pane] = {}
        self.growing: dict[int, Pane] = {}
        self.rolls: dict[Kind, Roll] = {}
        self.record_key = group.encode()
        self.header = (("stream", stream.encode()),)

    def equip(
        self, plan: Plan, panes: MutableMapping[str, Any], closed: MutableMapping[str, Any]
    ) -> None:
        """Give it its plan and its (still empty) shelves in the stores."""
        self.plan = plan
        self.waiting = Waiting(panes, f"{self.key}|w")
        self.blocks = {
            level: BlockShelf(panes, f"{self.key}|p{level}:", level) for level in plan.levels
        }
        self.late = {
            level: BlockShelf(panes, f"{self.key}|l{level}:", level) for level in plan.levels
        }
        self.closed: dict[Kind, Shelf[Publication]] = {
            kind: Shelf(closed, f"{self.key}|{kind.id}:", kind.slide) for kind in plan.kinds
        }
        for kind in plan.kinds:
            if runs := self.stored_pending.get(kind.id):
                self.pending[kind] = {
                    end for first, last in runs for end in range(first, last + 1, kind.slide)
                }
        self.stored_pending = {}

    def attach(self, tag: str, level: int, at: int, pane: Pane) -> None:
        """Take in a pane or block that the store holds.

        ``tag`` is p (on time), l (late), or w (a late pane that waits for the edge ``level``).
        """
        if tag == "w":
            self.waiting.attach(level, at, pane)
        elif tag == "l":
            self.late[level].attach(at, pane)
            self.late_until = max(self.late_until, at + level)
        elif level == self.size and at + level > self.line.reached:
            self.open[at] = pane
        else:
            self.blocks[level].attach(at, pane)

    # -- what comes in ------------------------------------------------------------------------------

    def add_on_time(self, start: int, parts: Parts) -> None:
        """Merge a partial into its pane, which is open."""
        pane = self.open.get(start)
        if pane is None:
            pane = self.open[start] = Pane()
        pane.add(parts)
        self.blocks[self.size].save(start, pane)
        self.wake = min(self.wake, start + self.size)

    def add_late(self, start: int, parts: Parts, noticed: int | None) -> None:
        """Put a late partial aside until the watermark gets to where it was noticed.

        One that comes after that (its source partition was idle) waits for the next edge.
        """
        edge = max(start + self.size if noticed is None else noticed, self.line.reached + self.size)
        self.waiting.add(edge, start, parts)
        self.wake = min(self.wake, edge)

    def take_late(self, edge: int) -> Iterator[tuple[Kind, int]]:
        """Merge what waited for this edge where a window can take it; (kind, events) that can not.

        Done before the edge's first publications.
        """
        for start, pane in self.waiting.take(edge) if self.waiting else ():
            n = event_count(pane.columns)
            yield from ((kind, n) for kind in self._merge_late(start, pane.parts, edge))

    def _merge_late(self, start: int, parts: Parts, edge: int) -> list[Kind]:
        """Merge a late pane where a window can still take it; the kinds that can not.

        Grace counts from the watermark of the source partition that noticed it. Windows that are
        published become pending; those that are still open are revised as soon as they are.
        """
        before = edge - self.size
        refusing: list[Kind] = []
        taking: set[int] = set()
        for kind in self.plan.kinds:
            ends = kind.ends_over(start - start % kind.level, kind.level)
            within = [end for end in ends if end + kind.grace > before]
            due = [end for end in within if end <= before and self.may_revise(kind, end)]
            if due:
                self.pending.setdefault(kind, set()).update(due)
            elif not within or within[-1] <= before:
                refusing.append(kind)
                continue
            taking.add(kind.level)
        for level in taking:
            whole = start - start % level
            pane = self.late[level].get(whole) or Pane()
            pane.add(parts)
            self.late[level].put(whole, pane)
            self.late_until = max(self.late_until, whole + level)
        return refusing

    # -- time passes --------------------------------------------------------------------------------

    def close(self, end: int) -> bool:
        """Close the pane that ends there, and make the blocks that do. Whether it had data."""
        start = end - self.size
        pane = self.open.pop(start, None)
        if pane is not None:
            self.blocks[self.size].attach(start, pane)
            if self.first is None or (self.is_plays and start >= self.zeros_until):
                self.first = beginning(self.group, start, self.plan.longest_slide)
                self.origin = self.first if self.origin is None else self.origin
            self.last = start
        closed = {self.size: pane}
        for level, source in self.plan.source.items():
            part = closed.get(source)
            if part is not None:
                whole = self.growing.get(level)
                if whole is None:
                    whole = self.growing[level] = Pane()
                whole.add(part.parts)
            if end % level == 0:
                closed[level] = whole = self.growing.pop(level, None)
                if whole is not None:
                    self.blocks[level].put(end - level, whole)
        return pane is not None

    def regrow(self) -> None:
        """Make the blocks that are not complete yet from what they are made of."""
        reached = self.line.reached
        for level, source in self.plan.source.items():
            begin = reached - reached % level
            whole = together(self.blocks[source].get(at) for at in range(begin, reached, source))
            if whole is not None:
                self.growing[level] = whole

    @property
    def zeros_until(self) -> int:
        """Up to here windows without data are published: 24 h after the last pane with data."""
        return min(self.last + self.size + SILENCE, self.ends_at)

    def shows(self, kind: Kind, end: int) -> bool:
        """Whether this window may be published first: it does not begin before the instance."""
        if self.first is None or end > self.ends_at:
            return False
        return kind.tumbling or end - kind.size >= self.first

    def may_revise(self, kind: Kind, end: int) -> bool:
        """Whether late events publish this window (again, or for the first time into a gap)."""
        if not self.is_within_line(kind, end) or end > self.ends_at:
            return False
        if kind.tumbling:
            return True
        return self.origin is not None and end - kind.size >= self.origin

    def is_within_line(self, kind: Kind, end: int) -> bool:
        """Whether the stream goes on until this window, or ended in it."""
        return self.line.end is None or end - kind.slide < self.line.end

    def may_be_empty(self, end: int) -> bool:
        """Whether a window that ends here is published even if there is nothing in it."""
        return self.is_plays and end <= self.zeros_until

    def has_late(self, kind: Kind, end: int) -> bool:
        """Whether late events are kept for this window, and may publish it."""
        return (
            self.late_until > end - kind.size
            and self.may_revise(kind, end)
            and bool(self.late[kind.level].times(end - kind.size, end))
        )

    def due(self, edge: int) -> list[tuple[int, Kind]]:
        """The pending windows to revise at an edge, by end, then by size.

        A kind is revised where it is published, at multiples of its slide: the newest,
        :data:`AT_ONCE` a pane. Windows that can not be revised after this edge do not wait.
        """
        jobs: list[tuple[int, Kind]] = []
        for kind in self.plan.kinds:
            ends = sorted(self.pending.get(kind, ()))
            most = 0 if edge % kind.slide else AT_ONCE * kind.slide // self.size
            jobs += [
                (end, kind)
                for i, end in enumerate(ends, start=most - len(ends))
                if i >= 0 or end + kind.grace <= edge
            ]
        return sorted(jobs, key=itemgetter(0))  # stable: kinds are ordered by size

    @property
    def is_owing(self) -> bool:
        """Whether late events are yet to be published."""
        return bool(self.pending or self.waiting)

    def pack(self, reached: int) -> None:
        """Pack the blocks that have just closed."""
        for level, shelf in self.blocks.items():
            if reached % level == 0:
                block = shelf.items.get(reached - level)
                if block is not None:
                    block.pack()

    def expire(self, reached: int) -> None:
        """Delete what no window can need any more, and archive what few will."""
        plan = self.plan
        for level, keep in plan.keep.items():
            limit = reached - keep
            blocks, late = self.blocks[level], self.late[level]
            if blocks.oldest <= limit:
                blocks.expire(limit)
            if late.oldest <= limit:
                late.expire(limit)
            if blocks.tidied <= reached - plan.hold[level]:
                blocks.tidy(reached - plan.hold[level])
        for kind, shelf in self.closed.items():
            if shelf.oldest <= reached - kind.grace:
                shelf.expire(reached - kind.grace)

    def next_edge(self, reached: int) -> int:
        """The next time at which something happens to it, if nothing arrives."""
        if self.pending:
            return reached + self.size
        if reached > NEVER:
            until = self.late_until + self.plan.longest
            if self.first is not None:
                span = max(SILENCE, self.plan.longest) if self.is_plays else self.plan.longest
                until = max(until, self.last + self.size + span)
            if reached < until:
                return reached + self.size
        edges = [*self.waiting.edges, *(start + self.size for start in self.open)]
        for level, keep in self.plan.keep.items():
            edges += (self.blocks[level].oldest + keep, self.late[level].oldest + keep)
        edges += (shelf.oldest + kind.grace for kind, shelf in self.closed.items())
        return -(-min(edges) // self.size) * self.size

    @property
    def is_done(self) -> bool:
        """Whether nothing is left of it, and nothing to be said any more."""
        return self.wake >= INFINITY

    def clear(self) -> None:
        """Delete everything it has in the stores but itself."""
        for start in self.open:
            self.blocks[self.size].attach(start, self.open[start])
        self.waiting.clear()
        for blocks in (*self.blocks.values(), *self.late.values()):
            blocks.clear()
        for closed in self.closed.values():
            closed.clear()

    # -- what windows hold --------------------------------------------------------------------------

    def on_time(self, kind: Kind, end: int) -> Mapping[str, Any]:
        """The on-time parts of a window; to be read only, and at once."""
        shelf = self.blocks[kind.level]
        if kind.size == kind.level:
            pane = shelf.get(end - kind.size)
            return {} if pane is None else pane.parts
        roll = self.rolls.get(kind)
        if roll is None:
            roll = self.rolls[kind] = Roll(kind.size, kind.level)
        return roll.advance(end, shelf.get)

    def with_late(self, level: int, start: int) -> Pane | None:
        """A block with the late events that belong to it."""
        late = self.late[level].get(start)
        on_time = self.blocks[level].get(start)
        if late is None or on_time is None:
            return late or on_time
        return together((on_time, late))


def instance_key(group: str, stream: str, size: int) -> str:
    """The store key of an instance. A group key ends at its only brace, so it is unambiguous."""
    return f"{group}|{stream}|{size}"


def _runs(ends: set[int], slide: int) -> list[tuple[int, int]]:
    """Ends that follow each other at the slide's distance, as (first, last)."""
    runs: list[tuple[int, int]] = []
    for end in sorted(ends):
        if runs and runs[-1][1] + slide == end:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((end, end))
    return runs


def _encode(it: Instance) -> bytes:
    line = Line() if it.is_plays else it.line
    return to_msgpack(
        _Saved(
            it.tenant, it.group, it.stream, it.size, it.partition, it.origin, it.first, it.last,
            line.target, line.reached, line.end,
            {kind.id: _runs(ends, kind.slide) for kind, ends in it.pending.items() if ends},
        )
    )  # fmt: skip


_decode_saved = msgspec.msgpack.Decoder(_Saved).decode


def _decode(data: bytes) -> Instance:
    try:
        saved = _decode_saved(data)
    except msgspec.DecodeError as exc:
        raise StateError(f"instance of {len(data)} bytes cannot be read: {exc}") from exc
    it = Instance(saved.tenant, saved.group, saved.stream, saved.size, saved.partition)
    it.origin, it.first, it.last = saved.origin, saved.first, saved.last
    it.line = Line(saved.target, saved.reached, saved.end)
    it.stored_pending = saved.pending
    return it


INSTANCES = StoreSpec("instances", _encode, _decode)
