"""The windows step: partials become panes, panes windows; watermarks say when, late events revise.

Records are taken in their order, and a watermark acts at once: what it closes is published before
the next record is looked at. So the first publication of a window does not depend on how batches
were cut. Nor do revisions: late partials wait for the edge that they were noticed by, and a window
is revised when the watermark passes it, with all of them together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models.config import SeriesConfig
from models.decoding import dead_letter
from models.events import Rejected
from models.flow import TIMERS, Batch, Counters, Output, Record, State
from models.records import Partial, Watermark
from tables.directory import DIRECTORY, Directory
from tables.instances import INSTANCES, Instance, instance_key
from tables.panes import PANES
from tables.partials import BadPartialError, decode_partial
from tables.publications import PUBLICATIONS
from tables.publishing import Forgetful, Judge, Publisher, no_judge
from tables.walking import Walk
from tables.watermarks import (
    END_OF_TIME,
    WATERMARKS,
    WHOLE_PARTITIONS,
    StreamClock,
    clock_key,
)

__all__ = [
    "WINDOW_STORES",
    "Forgetful",
    "Judge",
    "WindowsConfig",
    "fold_windows",
    "no_judge",
]

WINDOW_STORES = (WATERMARKS, INSTANCES, PANES, PUBLICATIONS, DIRECTORY)

BAD_PARTIAL = "bad_partial"
GO_ON = "windows:go-on"
"""Timer of a walk that stopped at its budget."""


@dataclass(frozen=True, slots=True)
class WindowsConfig:
    """What the fold needs to know.

    ``sources``: input topic -> its number of partitions (``plays`` and ``metrics``). ``budget``: about
    so many windows are published in one batch; what is left waits for the next, so that a long way
    (after a standstill, or many late events at once) is walked in steps.
    """

    series: SeriesConfig
    sources: Mapping[str, int]
    counters: Counters
    budget: int = 5_000


def fold_windows(
    batch: Batch, state: State, now: int, config: WindowsConfig, judge: Judge = no_judge
) -> list[Output]:
    """Fold a batch of ``partials``: publish what closed, revise what late events changed.

    Counts ``partials_rejected`` {bad_partial}, ``partials_refused`` {over_limit},
    ``late_events_ignored`` by kind of window (beyond its grace), ``groups_dropped`` {silent, ended,
    abandoned}.
    """
    fold = _Fold(batch, state, now, config, judge)
    for record in batch.records:
        fold.take(record)
    fold.walk.go_on(now)
    timers = state.get(TIMERS)
    if fold.directory.behind and timers is not None:
        timers[GO_ON] = now  # the budget is spent: come back at once, after the flush
    return fold.publisher.outputs


class _Fold:
    """One batch in the making."""

    def __init__(
        self, batch: Batch, state: State, now: int, config: WindowsConfig, judge: Judge
    ) -> None:
        self.batch = batch
        self.now = now
        self.config = config
        self.clocks = state[WATERMARKS.name]
        self.directory = Directory.of(state, config.series)
        self.publisher = Publisher(state, judge, self.directory.evaluate, batch.partition)
        self.walk = Walk(
            self.directory, self.clocks, self.publisher, config.counters, config.budget
        )

    def take(self, record: Record) -> None:
        """Take in one record."""
        try:
            flow = decode_partial(record.value or b"", self.config.series.time.pane)
        except BadPartialError as exc:
            self._reject(record, str(exc))
            return
        if isinstance(flow, Partial):
            self._partial(flow)
        elif flow.source == "plays":
            self._plays_watermark(flow, record.timestamp)
        else:
            self._metrics_watermark(flow)

    def _reject(self, record: Record, detail: str) -> None:
        self.config.counters.count("partials_rejected", BAD_PARTIAL, 1)
        rejected = Rejected(BAD_PARTIAL, detail)
        self.publisher.outputs.append(
            dead_letter(record, self.batch.source, self.batch.partition, rejected, self.now)
        )

    # -- partials -----------------------------------------------------------------------------------

    def _partial(self, flow: Partial) -> None:
        it = self.directory.get(instance_key(flow.group, flow.stream, flow.size))
        is_new = it is None
        if it is None:
            it = self._new_instance(flow)
            if it is None:
                return
        if flow.late or flow.pane + flow.size <= it.line.target:
            it.add_late(flow.pane, flow.parts, flow.noticed)
        else:
            it.add_on_time(flow.pane, flow.parts)
        if is_new:
            if it.is_done:
                return
            self.directory.add(it)
            self.directory.save(it)
        if flow.watermark is not None and not it.is_plays:
            self.walk.advance(it, flow.watermark, it.size)

    def _new_instance(self, flow: Partial) -> Instance | None:
        it = Instance(flow.tenant, flow.group, flow.stream, flow.size, flow.partition)
        if not self.directory.has_room(it, self.config.series.limits):
            self.config.counters.count("partials_refused", "over_limit", 1)
            return None
        if it.is_plays:
            it.line = self._clock(flow.tenant, flow.stream).line
        return self.directory.equip(it)

    # -- watermarks ---------------------------------------------------------------------------------

    def _clock(self, tenant: str, stream: str) -> StreamClock:
        key = clock_key(tenant, stream)
        clock: StreamClock | None = self.clocks.get(key)
        if clock is None:
            clock = self.clocks[key] = StreamClock(tenant, stream, self.now)
        return clock

    def _plays_watermark(self, mark: Watermark, heard: int) -> None:
        clock = self._clock(mark.tenant, mark.stream)
        clock.hear(mark, heard)
        clock.touched = self.now
        self.clocks[clock.key] = clock
        if clock.key == WHOLE_PARTITIONS:
            for other in sorted(self.clocks):
                self._combine(self.clocks[other])
        else:
            self._combine(clock)

    def _combine(self, clock: StreamClock) -> None:
        whole: StreamClock | None = self.clocks.get(WHOLE_PARTITIONS)
        idle = whole.idle_partitions if whole else ()
        partitions, time = self.config.sources["plays"], self.config.series.time
        if clock.key == WHOLE_PARTITIONS:
            return
        for held in clock.look(partitions, idle, time.held):
            self.clocks[clock.key] = clock
            self.publisher.held(held)
        if not clock.combine(partitions, idle):
            return
        self.clocks[clock.key] = clock
        pane = time.pane
        if clock.combined >= END_OF_TIME:
            self.walk.end(clock, pane)
        else:
            self.walk.advance(clock, clock.combined, pane)

    def _metrics_watermark(self, mark: Watermark) -> None:
        key = (mark.tenant, mark.stream, mark.partition)
        for it in list(self.directory.sources.get(key, ())):
            if mark.ended or mark.at >= END_OF_TIME:
                self.walk.end(it, it.size)
            elif mark.idle:
                self.walk.advance(it, mark.at, it.size)
