"""Which group instances there are, found by what moves them. Held in memory only.

The directory is made anew from the stores when a partition was restored; in the changelog it is an
empty record.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from operator import attrgetter

from models.config import Limits, SeriesConfig
from models.flow import State, StoreSpec
from models.records import LIVE
from tables.instances import INSTANCES, Instance
from tables.kinds import Plan, metric_plan, plays_plan
from tables.panes import PANES, Archive, Pane
from tables.parts import Evaluator
from tables.publications import PUBLICATIONS, Publication
from tables.releases import is_release
from tables.watermarks import WATERMARKS, StreamClock, clock_key

_KEY = "directory"
_by_key = attrgetter("key")


class Directory:
    """Instances by stream (plays), by source partition and by series (metrics), each in order."""

    def __init__(self, series: SeriesConfig, state: State) -> None:
        self.series = series
        self.evaluate = Evaluator(series.measures)
        self.streams: dict[tuple[str, str], list[Instance]] = {}
        self.sources: dict[tuple[str, str, int], list[Instance]] = {}
        self.counts: Counter[tuple[str, str, bool]] = Counter()
        self.behind: dict[str, StreamClock | Instance] = {}
        self.looked_at = 0
        self._store = state[INSTANCES.name]
        self._panes = state[PANES.name]
        self._publications = state[PUBLICATIONS.name]
        self._plans: dict[tuple[bool, int], Plan] = {}

    @classmethod
    def of(cls, state: State, series: SeriesConfig) -> Directory:
        """The directory of these stores, made if it is missing or was restored."""
        store = state[DIRECTORY.name]
        found: Directory | None = store.get(_KEY)
        if found is None or found.series is not series:
            found = cls(series, state)
            found._restore(state)
            store[_KEY] = found
        return found

    def _restore(self, state: State) -> None:
        """Put together what the stores hold; what this configuration does not know is deleted."""
        for key, it in list(self._store.items()):
            if it.is_plays and it.size != self.series.time.pane:
                del self._store[key]
                continue
            if it.is_plays:
                clocks, name = state[WATERMARKS.name], clock_key(it.tenant, it.stream)
                clock = clocks.setdefault(name, StreamClock(it.tenant, it.stream, 0))
                it.line = clock.line
            self.equip(it)
            self.add(it)
        for key in [k for k, v in self._panes.items() if not self._attach_pane(k, v)]:
            del self._panes[key]
        for key in [k for k, v in self._publications.items() if not self._attach(k, v)]:
            del self._publications[key]
        for it in self._store.values():
            it.regrow()
            it.wake = it.next_edge(it.line.reached)
        owners = [*state[WATERMARKS.name].values(), *self._store.values()]
        self.behind = {o.key: o for o in owners if o.line.behind}

    def _attach_pane(self, key: str, value: Pane | Archive) -> bool:
        owner, _, last = key.rpartition("|")
        it = self.get(owner)
        level, _, start = last[1:].partition(":")
        if it is None or (last[0] != "w" and int(level) not in it.blocks):
            return False
        if isinstance(value, Archive):
            it.blocks[int(level)].attach_archive(int(start[1:]), value)
        else:
            it.attach(last[0], int(level), int(start), value)
        return True

    def _attach(self, key: str, value: Publication) -> bool:
        owner, _, last = key.rpartition("|")
        it = self.get(owner)
        if it is None:
            return False
        kind_id, _, end = last.partition(":")
        for kind, shelf in it.closed.items():
            if kind.id == kind_id:
                shelf.attach(int(end), value)
                return True
        return False

    def plan(self, size: int, *, is_plays: bool) -> Plan:
        """What follows from a length of pane."""
        plan = self._plans.get((is_plays, size))
        if plan is None:
            plan = plays_plan(self.series) if is_plays else metric_plan(self.series, size)
            self._plans[is_plays, size] = plan
        return plan

    def get(self, key: str) -> Instance | None:
        """The instance of that key."""
        found: Instance | None = self._store.get(key)
        return found

    def equip(self, it: Instance) -> Instance:
        """Give an instance its plan and shelves; it is not kept yet."""
        it.equip(self.plan(it.size, is_plays=it.is_plays), self._panes, self._publications)
        return it

    def save(self, it: Instance) -> None:
        """Write the instance's own record."""
        self._store[it.key] = it

    def add(self, it: Instance) -> None:
        """Keep an instance."""
        insort(self._row(it), it, key=_by_key)
        self.counts[self._room(it)] += 1

    def drop(self, it: Instance) -> None:
        """Forget an instance and delete all it has."""
        it.clear()
        row = self._row(it)
        row.remove(it)
        if not row:
            if it.is_plays:
                del self.streams[it.tenant, it.stream]
            else:
                del self.sources[it.tenant, it.stream, it.partition]
        self.counts[self._room(it)] -= 1
        self.behind.pop(it.key, None)
        self._store.pop(it.key, None)

    def has_room(self, it: Instance, limits: Limits) -> bool:
        """Whether its tenant may have one more of its like. Named streams, all of them together, have
        as much room as the live one: a replay takes none of that.
        """
        most: int = getattr(limits, _limit_of(it))
        return self.counts[self._room(it)] < most

    def _room(self, it: Instance) -> tuple[str, str, bool]:
        return it.tenant, _limit_of(it), it.stream == LIVE

    def _row(self, it: Instance) -> list[Instance]:
        if it.is_plays:
            return self.streams.setdefault((it.tenant, it.stream), [])
        return self.sources.setdefault((it.tenant, it.stream, it.partition), [])


def _limit_of(it: Instance) -> str:
    """Which of :class:`models.config.Limits` bounds how many there are of its like."""
    if not it.is_plays:
        return "metrics_per_tenant"
    return "releases_per_tenant" if is_release(it.group) else "groups_per_tenant"


def _decode(_data: bytes) -> None:
    return None


DIRECTORY = StoreSpec("directory", lambda _directory: b"", _decode)
