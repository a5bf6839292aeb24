"""How far a stream has come over all its source partitions: the window step's clocks.

``tables.clocks`` is the other half: there one source partition finds out how far *it* has come, and
tells; here what the partitions told is brought together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from models.errors import StateError
from models.flow import StoreSpec
from models.records import LIVE, Watermark, to_msgpack
from tables.clocks import MAX_PATIENCE

NEVER = -(1 << 62)
"""The watermark of what nothing is known of."""

QUIET = 30_000
"""A pause between two words of a stream, ms, that is nobody's fault in particular."""

END_OF_TIME = 1 << 62
"""The watermark of a stream that has ended; so is anything later."""


def clock_key(tenant: str, stream: str) -> str:
    """The store key of a stream's clock."""
    return f"{tenant}\x1f{stream}"


WHOLE_PARTITIONS = clock_key("", "")
"""The key of the clock that holds what source partitions declared of themselves as a whole."""


class Line:
    """A timeline along which windows are published. Times in ms, on pane edges.

    ``target``: up to here everything on time has arrived. ``reached``: up to here windows are
    published; it is behind the target only while a long way is walked in several batches. ``end``:
    where the stream ends, once it has; the target then lies at or a little after it.
    """

    __slots__ = ("end", "reached", "target")

    def __init__(self, target: int = NEVER, reached: int = NEVER, end: int | None = None) -> None:
        self.target = target
        self.reached = reached
        self.end = end

    @property
    def behind(self) -> bool:
        """Whether there is a way to walk."""
        return self.reached < self.target


class Source(msgspec.Struct, array_like=True, gc=False):
    """What one source partition last told about one stream; ``heard``: when, by Kafka's time."""

    at: int
    idle: bool = False
    ended: bool = False
    heard: int = 0


class Held(NamedTuple):
    """A source partition that holds a stream's watermark back, or (``over``) does so no more.

    ``at`` is its own watermark, epoch ms (that of the stream's beginning where it never told one),
    ``furthest`` the furthest of the others'; ``silent`` for how long nothing was heard of it, ms.
    """

    tenant: str
    stream: str
    source: int
    at: int
    furthest: int
    silent: int
    over: bool = False


class StreamClock:
    """The watermark of one tenant's stream of plays: the least of its source partitions'.

    A partition that was not heard of holds it back, unless it declared itself idle as a whole. An
    idle partition does not hold it, nor one on which the stream has ended. If all are idle, the
    furthest of them counts (silence moves idle clocks on). It never goes back: what an idle
    partition still brings behind it is late.

    ``touched`` is the processing time of the last word about it; ``begun`` the watermark of the first;
    ``latest`` and ``run`` are Kafka times: of the last word, and since when none was long awaited.
    ``held`` has the partitions that were found to hold it, with the watermark of each.
    """

    __slots__ = (
        "begun", "combined", "furthest", "held", "latest", "line", "run", "sources", "stream",
        "tenant", "touched",
    )  # fmt: skip

    def __init__(self, tenant: str, stream: str, touched: int) -> None:
        self.tenant = tenant
        self.stream = stream
        self.touched = touched
        self.sources: dict[int, Source] = {}
        self.combined = NEVER
        self.furthest = NEVER
        self.line = Line()
        self.begun = self.latest = self.run = NEVER
        self.held: dict[int, int] = {}

    def hear(self, mark: Watermark, heard: int) -> None:
        """Take in what a partition tells, at this time of Kafka's. Its own watermark never goes back
        while it goes on.
        """
        ended = mark.ended or mark.at >= END_OF_TIME
        before = self.sources.get(mark.partition)
        at = mark.at if before is None or before.ended else max(mark.at, before.at)
        self.sources[mark.partition] = Source(at, mark.idle, ended, heard)
        if not ended:
            self.furthest = max(self.furthest, at)
        if self.begun == NEVER:
            self.begun = at
        if heard - self.latest > QUIET:
            self.run = heard
        self.latest = max(self.latest, heard)

    def look(self, partitions: int, idle: Collection[int], patience: int) -> list[Held]:
        """Which partitions hold the live stream back since the last look, and which do no more.

        One holds it that others are ahead of, and of which nothing was heard for ``patience`` ms while
        they were: a pause of all, as when workers are started anew, is nobody's. One that was behind
        when it went silent may be silent as long as that, five minutes at most: who catches up with
        much may take his time for a partition. Time is that of the records that were heard, so who
        reads an old log finds what was so then.
        """
        if self.stream != LIVE:
            return []
        found = []
        for partition in range(partitions):
            source = self.sources.get(partition)
            if source is None:
                waits, at, heard = partition not in idle, self.begun, self.run
            else:
                waits, at, heard = not (source.idle or source.ended), source.at, source.heard
            since = max(heard, self.run)
            silent = self.latest - since
            is_long = silent > max(patience, min(since - at, MAX_PATIENCE))
            if partition in self.held:
                if not waits or not is_long:
                    found.append(self._held(partition, self.held.pop(partition), silent, over=True))
            elif waits and is_long and at < self.furthest:
                self.held[partition] = at
                found.append(self._held(partition, at, silent))
        return found

    def _held(self, partition: int, at: int, silent: int, *, over: bool = False) -> Held:
        return Held(self.tenant, self.stream, partition, at, self.furthest, silent, over)

    @property
    def key(self) -> str:
        """Its key in the store."""
        return clock_key(self.tenant, self.stream)

    @property
    def idle_partitions(self) -> set[int]:
        """The source partitions that are idle by their last word."""
        return {number for number, source in self.sources.items() if source.idle}

    def combine(self, partitions: int, idle: Collection[int]) -> bool:
        """Bring ``combined`` up to date; whether it moved.

        ``partitions`` is the number of source partitions, ``idle`` those that declared themselves
        idle as a whole.
        """
        found = _combined(self.sources, partitions, idle)
        if found <= self.combined:
            return False
        self.combined = found
        return True


def _combined(sources: Mapping[int, Source], partitions: int, idle: Collection[int]) -> int:
    least, furthest_idle, ended = END_OF_TIME, NEVER, False
    for partition in range(partitions):
        source = sources.get(partition)
        if source is None:
            if partition not in idle:
                return NEVER
        elif source.ended:
            ended = True
        elif source.idle:
            furthest_idle = max(furthest_idle, source.at)
        else:
            least = min(least, source.at)
    if least < END_OF_TIME:
        return least
    if furthest_idle > NEVER or not ended:
        return furthest_idle
    return END_OF_TIME


def live_watermark(clocks: Mapping[str, StreamClock]) -> int | None:
    """How far the live stream that is furthest behind has been published, epoch ms; None before any."""
    reached = (c.line.reached for c in clocks.values() if c.stream == LIVE)
    return min((at for at in reached if at > 0), default=None)


# -- how they cross the changelog -------------------------------------------------------------------


class _Saved(msgspec.Struct, array_like=True):
    tenant: str
    stream: str
    touched: int
    sources: dict[int, Source]
    combined: int
    furthest: int
    target: int
    reached: int
    end: int | None
    begun: int = NEVER
    latest: int = NEVER
    run: int = NEVER
    held: dict[int, int] = {}


_decode_saved = msgspec.msgpack.Decoder(_Saved).decode


def _encode(clock: StreamClock) -> bytes:
    line = clock.line
    return to_msgpack(
        _Saved(
            clock.tenant, clock.stream, clock.touched, clock.sources, clock.combined,
            clock.furthest, line.target, line.reached, line.end, clock.begun,
            clock.latest, clock.run, clock.held,
        )
    )  # fmt: skip


def _decode(data: bytes) -> StreamClock:
    try:
        saved = _decode_saved(data)
    except msgspec.DecodeError as exc:
        raise StateError(f"watermark of {len(data)} bytes cannot be read: {exc}") from exc
    clock = StreamClock(saved.tenant, saved.stream, saved.touched)
    clock.sources = saved.sources
    clock.combined, clock.furthest = saved.combined, saved.furthest
    clock.line = Line(saved.target, saved.reached, saved.end)
    clock.begun, clock.latest, clock.run = saved.begun, saved.latest, saved.run
    clock.held = saved.held
    return clock


WATERMARKS = StoreSpec("watermarks", _encode, _decode)
