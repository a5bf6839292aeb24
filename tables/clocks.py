"""How far each stream has come on one source partition: running maxima, idleness, watermarks.

A clock belongs to a tenant's stream. It runs on event time, in offset order, so that which events are
late does not depend on how batches were cut. Two things move it besides events: on the live stream,
silence (a partition that has nothing left to read lets time pass, so that total silence is seen), and
an end marker, which ends it.

Of ``plays``, a clock speaks for every group. Of ``metrics``, each series has a clock of its own (in
its partials), and only what silence says holds for all of them: ``Place.per_series``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import msgspec
from msgspec.structs import replace

from models.config import Time
from models.errors import StateError
from models.flow import Output, StoreSpec
from models.records import LIVE, Watermark, to_msgpack

DAY = 86_400_000
END_OF_TIME = 1 << 62
MAX_PATIENCE = 300_000
"""No clock waits longer than five minutes to be called idle, nor is a feed's delay taken for more, nor
waited longer for a partition that was behind."""

LAG_HALF_LIFE = 600_000
"""The greatest delay that was seen counts half after ten minutes."""

CLOCKS = "clocks"
PARTITION = ""
"""The key of the partition's own entry: ``idle`` says that it was declared as a whole."""


class Clock(msgspec.Struct, frozen=True, array_like=True):
    """One tenant's stream on one source partition; all in epoch ms but ``lag`` and ``swept``.

    ``top``: newest event time. ``pushed``: the time that silence has brought it to. ``sent``: the
    watermark last told. ``active``: processing time of its last batch. ``lag``: how far behind
    processing time its newest events come. ``swept``: UTC day up to which old state was deleted.
    """

    top: int = 0
    pushed: int = 0
    sent: int = 0
    active: int = 0
    lag: int = 0
    idle: bool = False
    swept: int = 0

    @property
    def now(self) -> int:
        """The event time that this stream has reached."""
        return max(self.top, self.pushed)

    @property
    def is_blank(self) -> bool:
        """Whether it is of a stream that was only waited for: it has had no event yet."""
        return self.top == 0


def _decode(data: bytes) -> Clock:
    try:
        return _decode_clock(data)
    except msgspec.DecodeError as exc:
        raise StateError(f"clock of {len(data)} bytes cannot be read: {exc}") from exc


_decode_clock = msgspec.msgpack.Decoder(Clock).decode
STORE = StoreSpec(CLOCKS, to_msgpack, _decode)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a fold stands: its source partition, whom it tells, and the rules of its clocks.

    ``partials`` is the number of partitions of that topic, each of which is told; ``pane`` (ms) the
    edge that watermarks are floored to.
    """

    source: str
    partition: int
    partials: int
    time: Time
    pane: int
    per_series: bool = False

    def watermark(self, clock: Clock) -> int:
        """The pane edge up to which the stream is complete; 0 if nothing can be said."""
        top = clock.pushed if self.per_series else clock.now
        return max(0, (top - self.time.lateness) // self.pane * self.pane) if top else 0

    def tell(self, name: str, at: int, *, idle: bool = False, ended: bool = False) -> list[Output]:
        """A watermark for the clock called ``name``, to every partition of ``partials``."""
        tenant, _, stream = name.partition("\x1f")
        mark = Watermark(tenant, stream, self.source, self.partition, at, idle, ended)
        value, key = to_msgpack(mark), tenant.encode()
        return [Output("partials", key, value, partition=i) for i in range(self.partials)]


Clocks = MutableMapping[str, Any]
"""The store of clocks: :func:`clock_name` -> :class:`Clock`."""


def clock_name(tenant: str, stream: str) -> str:
    """The store key of a clock."""
    return f"{tenant}\x1f{stream}"


def live_watermark(clocks: Mapping[str, Clock]) -> int | None:
    """The least watermark that was told of a live stream with events, epoch ms; None before one."""
    ending = clock_name("", LIVE)
    return min(
        (c.sent for name, c in clocks.items() if name.endswith(ending) and c.sent), default=None
    )


def run(start: int, times: Sequence[int]) -> list[int]:
    """The running maximum at each event, itself included, from what it was before."""
    return list(accumulate(times, max, initial=start))[1:]


def wake(clocks: Clocks, name: str, first: int, place: Place) -> list[Output]:
    """Say that a stream is there, before its partials, if it was idle or is new; ``move`` follows.

    ``first`` is its first event's time. Without this the window step, which heard that this partition
    need not be waited for, might close windows while the partials are on their way.
    """
    clock = clocks.get(name)
    own = clocks.get(PARTITION)
    if own is not None and own.idle:
        clocks[PARTITION] = replace(own, idle=False)
    if clock is None or clock.is_blank:
        sent = place.watermark(Clock(top=first))
        clocks[name] = clock = Clock(sent=sent, swept=first // DAY)
    elif not clock.idle:
        return []
    return place.tell(name, clock.sent)


def move(clocks: Clocks, name: str, top: int, delay: int | None, now: int) -> None:
    """Bring a clock to the newest event of its batch.

    ``delay`` (ms) is how old the newest event is by now, None if none of them moved the time on.
    Delays are the more forgotten the longer ago they were.
    """
    clock = clocks[name]
    lag = int(clock.lag * 0.5 ** (max(0, now - clock.active) / LAG_HALF_LIFE))
    if delay is not None:
        lag = max(lag, min(max(delay, 0), MAX_PATIENCE))
    clocks[name] = replace(clock, top=max(clock.top, top), active=now, lag=lag, idle=False)


def announce(clocks: Clocks, touched: Collection[str], place: Place) -> list[Output]:
    """The watermarks of streams that crossed a pane edge; to follow their partials."""
    outputs: list[Output] = []
    for name in sorted(touched):
        clock = clocks.get(name)
        if clock is not None and (at := place.watermark(clock)) > clock.sent:
            clocks[name] = replace(clock, sent=at)
            outputs += place.tell(name, at)
    return outputs


def rest(
    clocks: Clocks, touched: Collection[str], now: int, place: Place, tenants: Collection[str]
) -> list[Output]:
    """What silence says, on a partition that is read to its end.

    A stream that got nothing for ``idle`` (or a tenth of how far it is behind, up to five minutes: a
    pause in a historical load is no silence) is declared idle; the live one is then moved on with
    processing time, less its usual delay, at each pane edge. A tenant's live stream that has no event
    here is declared idle, too, and stays where it is: on a partition that is busy with others, nobody
    else would say that it need not be waited for. A partition on which nothing moves is declared idle
    as a whole.
    """
    outputs: list[Output] = []
    idle = place.time.idle
    if not place.per_series:
        for name in (clock_name(tenant, LIVE) for tenant in sorted(tenants)):
            if name not in clocks:
                clocks[name] = Clock(active=now)
    for name, clock in list(clocks.items()):
        behind = 0 if clock.is_blank else now - clock.now
        wait = max(idle, min(behind // 10, MAX_PATIENCE))
        if name == PARTITION or name in touched or now - clock.active < wait:
            continue
        pushed = clock.pushed
        if name.endswith(f"\x1f{LIVE}") and not clock.is_blank:
            pushed = max(pushed, now - idle - clock.lag)
        moved = replace(clock, pushed=pushed, idle=True)
        at = max(clock.sent, place.watermark(moved))
        if not clock.idle or at > clock.sent:
            clocks[name] = replace(moved, sent=at)
            outputs += place.tell(name, at, idle=True)
    return outputs + _rest_partition(clocks, touched, now, place)


def _rest_partition(
    clocks: Clocks, touched: Collection[str], now: int, place: Place
) -> list[Output]:
    if touched:
        return []
    busy = max((c.active for c in clocks.values() if not c.is_blank), default=0)
    own: Clock | None = clocks.get(PARTITION)
    if own is None:
        clocks[PARTITION] = own = Clock(active=busy or now)
    if own.idle or now - max(own.active, busy) < place.time.idle:
        return []
    clocks[PARTITION] = replace(own, idle=True)
    return place.tell(PARTITION, 0, idle=True)


def end(clocks: Clocks, tenants: Collection[str], stream: str, place: Place) -> list[Output]:
    """End a stream of these tenants here: told even to those that never saw it, and forgotten."""
    outputs: list[Output] = []
    for tenant in sorted(tenants):
        name = clock_name(tenant, stream)
        clocks.pop(name, None)
        outputs += place.tell(name, END_OF_TIME, ended=True)
    return outputs
