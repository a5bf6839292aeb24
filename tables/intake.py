"""The front of both ingest folds: which records are events, which go elsewhere, which were seen.

Here are the reasons that need more than a record's bytes (the others are in ``models.decoding``):

=====================  ===================================================================
``unknown_tenant``     not one of the configured tenants
``far_future``         more than ``time.future`` ahead of the record's Kafka timestamp, or of now
``bad_stream``         a stream name that is not 1 to 64 printable characters
``too_many_streams``   the tenant has ``MAX_STREAMS`` streams besides live on this partition
``reserved_name``      a metric that is called like a measure of plays
``endless``            an end marker for the live stream, which has no end
=====================  ===================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Generic, NamedTuple, TypeVar

from models.config import SeriesConfig
from models.decoding import dead_letter
from models.errors import ConfigurationError
from models.events import Metric, Play, Rejected, times
from models.flow import Batch, Counters, Output, Record, State, column, header
from models.records import LIVE, MAX_DEAD_LETTER_BYTES, LateEvent, to_json
from models.topics import END_HEADER, EVENT_ID_HEADER, FORWARDED_HEADER, STREAM_HEADER
from tables import clocks, dedupe, routes
from tables.clocks import Clocks, Place

MAX_STREAM_NAME = 64
MAX_STREAMS = 32
MAX_FORWARDED_BYTES = 1_000_000
_NOT_IN_TENANTS = set(":|{}%,=")

E = TypeVar("E", Play, Metric)


class Uncounted:
    """Counters that count nothing.

    Others are given ``events_rejected`` by reason, ``events_forwarded`` {misrouted}, ``events_dropped``
    {duplicate}, ``events_folded`` {on_time, late, beyond_grace}, ``plays_judged`` by eligibility
    reason, ``groups_refused`` by group name and ``series_refused`` {over_limit} (plays and samples that
    a cardinality limit left out), ``joint`` {untagged} (``tables.gathering``), ``streams_ended``
    {end_marker}: closed sets, all of them.
    """

    def count(self, name: str, reason: str, n: int = 1) -> None:
        pass


@dataclass(frozen=True, slots=True)
class IngestConfig:
    """What the folds need to know.

    ``partials`` and ``sources`` are partition counts: of the topic ``partials``, and of the topic that
    is folded. ``forwarding``: records on another partition than their key's are sent there.
    ``patience`` (ms): how long a metric's lone sample waits for a second one before its pane is
    chosen without.

    Raises:
        ConfigurationError: a tenant's name would make keys ambiguous.
    """

    series: SeriesConfig
    tenants: frozenset[str]
    partials: int
    sources: int
    forwarding: bool = False
    counters: Counters = field(default_factory=Uncounted)
    patience: int = 360_000

    def __post_init__(self) -> None:
        for tenant in self.tenants:
            if not tenant or not tenant.isprintable() or _NOT_IN_TENANTS & set(tenant):
                raise ConfigurationError(
                    f"tenant {tenant!r} cannot be a part of keys; use printable characters other "
                    f"than {' '.join(sorted(_NOT_IN_TENANTS))}"
                )

    @property
    def grace(self) -> int:
        """The longest grace of all windows, ms."""
        return max((w.grace for w in self.series.windows), default=0)


@dataclass(frozen=True, slots=True)
class Turn:
    """One call of a fold: what it is given, where it stands, and whom it has ``touched`` so far.

    ``touched`` holds the names of the clocks of all streams that got events.
    """

    batch: Batch
    state: State
    now: int
    config: IngestConfig
    place: Place
    touched: set[str]

    @property
    def clocks(self) -> Clocks:
        """The store of clocks."""
        return self.state[clocks.CLOCKS]

    def count(self, name: str, reason: str, n: int = 1) -> None:
        """Count, if there is anything to count."""
        if n:
            self.config.counters.count(name, reason, n)

    def reject(self, record: Record, why: Rejected) -> Output:
        """Count and write a dead letter."""
        self.count("events_rejected", why.reason)
        return dead_letter(record, self.batch.source, self.batch.partition, why, self.now)


class Taken(NamedTuple, Generic[E]):
    """Events that are to be folded, as columns in offset order.

    ``homes``: the keys whose partitions they belong to; ``places``: where each stands in ``records``.
    """

    events: Sequence[E]
    homes: Sequence[str]
    streams: Sequence[str]
    places: Sequence[int]
    records: Sequence[Record]

    def only(self, flags: Sequence[bool]) -> Taken[E]:
        """Those of the events that are flagged."""
        return Taken(
            list(compress(self.events, flags)),
            list(compress(self.homes, flags)),
            list(compress(self.streams, flags)),
            list(compress(self.places, flags)),
            self.records,
        )


class Stretch(NamedTuple, Generic[E]):
    """Records up to an end marker (or the batch's end), decoded; ``end`` is the marker."""

    records: Sequence[Record]
    decoded: Sequence[E | Rejected]
    end: Record | None


def stretches(batch: Batch, decoded: Sequence[E | Rejected]) -> Iterator[Stretch[E]]:
    """The batch cut at its end markers, so that what follows one is folded after it."""
    records, begin = batch.records, 0
    values = column(records, "value")
    tombstones = [i for i, value in enumerate(values) if value is None] if None in values else ()
    for i in tombstones:
        if _is_end(record := records[i]):
            yield Stretch(records[begin:i], decoded[begin:i], record)
            begin = i + 1
    if begin < len(records):
        yield Stretch(records[begin:] if begin else records, decoded[begin:], None)


def _is_end(record: Record) -> bool:
    return header(record.headers, END_HEADER) is not None


def ended(record: Record, config: IngestConfig) -> tuple[str, Collection[str]] | Rejected:
    """The stream that an end marker ends and the tenants it ends for.

    The stream is named by the header ``stream``, or else by the end header's own value. The
    record's key (``tenant`` or ``tenant:anything``) names the tenant; without, it is every tenant.
    """
    stream = header(record.headers, STREAM_HEADER) or header(record.headers, END_HEADER) or ""
    if stream == LIVE:
        return Rejected("endless", "the live stream has no end; name the stream that ends")
    if not _is_name(stream):
        return Rejected("bad_stream", f"stream {stream[:80]!r} is not 1 to 64 printable characters")
    if not record.key:
        return stream, config.tenants
    tenant = record.key.decode("utf-8", "replace").partition(":")[0]
    if tenant not in config.tenants:
        return Rejected("unknown_tenant", f"tenant {tenant[:80]!r} is not configured")
    return stream, (tenant,)


def _is_name(stream: str) -> bool:
    return 0 < len(stream) <= MAX_STREAM_NAME and stream.isprintable()


def take(
    stretch: Stretch[E], turn: Turn, homes: Callable[[Sequence[E]], list[str]]
) -> tuple[Taken[E], list[Output]]:
    """The events to fold here, and what goes elsewhere: dead letters and forwarded records.

    ``homes`` gives the keys whose partitions events belong to.
    """
    records, decoded = stretch.records, stretch.decoded
    streams = _streams(records)
    elsewhere = _refused(stretch, streams, turn)
    taken: Taken[Any] = Taken(decoded, (), streams, range(len(decoded)), records)
    if elsewhere:
        taken = taken.only([place not in elsewhere for place in taken.places])
    taken = taken._replace(homes=homes(taken.events))
    if turn.config.forwarding and (moved := _forwarded(taken, turn)):
        turn.count("events_forwarded", "misrouted", len(moved))
        elsewhere |= moved
        taken = taken.only([place not in moved for place in taken.places])
    outputs = [elsewhere[place] for place in sorted(elsewhere)]
    return _without_duplicates(taken, turn), outputs


def _refused(stretch: Stretch[E], streams: Sequence[str], turn: Turn) -> dict[int, Output]:
    """The dead letters of what is no event that can be folded, by its place."""
    config, tenants = turn.config, turn.config.tenants
    stamps = _stamps(stretch.records, turn.now)
    future = config.series.time.future
    if _are_plain(stretch.decoded, streams, min(stamps, default=0) + future, tenants):
        return {}
    odd = [
        place
        for place, (event, stamp, stream) in enumerate(
            zip(stretch.decoded, stamps, streams, strict=True)
        )
        if type(event) is Rejected
        or stream != LIVE
        or event.at > stamp + future  # type: ignore[union-attr]
        or event.tenant_id not in tenants  # type: ignore[union-attr]
    ]
    refused: dict[int, Output] = {}
    open_streams = set(turn.clocks) if odd else set()
    for place in odd:
        event = stretch.decoded[place]
        why: Rejected | None
        if isinstance(event, Rejected):
            why = event
        else:
            why = _why_not(event, streams[place], stamps[place], config, open_streams)
        if why is not None:
            refused[place] = turn.reject(stretch.records[place], why)
    return refused


def _are_plain(
    decoded: Sequence[Any], streams: Sequence[str], latest: int, tenants: frozenset[str]
) -> bool:
    """Whether all are live events of known tenants and none is ahead of any record's timestamp.

    So it is with most batches, and what is asked column by column costs a third.
    """
    return (
        Rejected not in set(map(type, decoded))
        and streams.count(LIVE) == len(streams)
        and tenants.issuperset({event.tenant_id for event in decoded})
        and max(times(decoded), default=latest) <= latest
    )


def _stamps(records: Sequence[Record], latest: int) -> Sequence[int]:
    """The records' timestamps, ``latest`` at most.

    Topics of the oldest format have none; and one that claims to be of the future would let its event
    carry the whole stream's clock off.
    """
    stamps = column(records, "timestamp")
    if stamps and min(stamps) >= 0 and max(stamps) <= latest:
        return stamps
    return [min(stamp, latest) if stamp >= 0 else latest for stamp in stamps]


def _streams(records: Sequence[Record]) -> Sequence[str]:
    """The stream of each record."""
    headers = column(records, "headers")
    if not any(headers):
        return [LIVE] * len(records)
    return [
        LIVE  # most have none, or an id alone
        if not found or (len(found) == 1 and found[0][0] != STREAM_HEADER)
        else header(found, STREAM_HEADER) or LIVE
        for found in headers
    ]


def _why_not(
    event: Play | Metric, stream: str, timestamp: int, config: IngestConfig, open_streams: set[str]
) -> Rejected | None:
    """Why an event is not taken, or None; opens a stream that is new."""
    tenant, future = event.tenant_id, config.series.time.future
    if tenant not in config.tenants:
        return Rejected("unknown_tenant", f"tenant {tenant!r} is not configured")
    if event.at > timestamp + future:
        ahead = event.at - timestamp
        return Rejected(
            "far_future",
            f"time {event.at} is {ahead} ms ahead of its record's; at most {future} are taken",
        )
    if stream == LIVE or (name := clocks.clock_name(tenant, stream)) in open_streams:
        return None
    if not _is_name(stream):
        return Rejected("bad_stream", f"stream {stream[:80]!r} is not 1 to 64 printable characters")
    live = clocks.clock_name(tenant, LIVE)
    mine = [other for other in open_streams if other.startswith(f"{tenant}\x1f") and other != live]
    if len(mine) >= MAX_STREAMS:
        return Rejected(
            "too_many_streams", f"tenant {tenant!r} has {MAX_STREAMS} streams open; end some first"
        )
    open_streams.add(name)
    return None


def _forwarded(taken: Taken[E], turn: Turn) -> dict[int, Output]:
    """The records for the partitions they belong to, by place; none for those to be folded here.

    That is: they are there, they were moved before (their new place is right, whatever we think), or
    they are so long that they might not fit a record with one more header.
    """
    batch = turn.batch
    moved: dict[int, Output] = {}
    targets = routes.partitions_of(taken.homes, turn.config.sources)
    for place, key, target in zip(taken.places, taken.homes, targets, strict=True):
        if target == batch.partition:
            continue
        record: Record = taken.records[place]
        if len(record.value or b"") > MAX_FORWARDED_BYTES:
            continue
        if header(record.headers, FORWARDED_HEADER) is not None:
            continue
        origin = f"{batch.source}:{batch.partition}:{record.offset}".encode()
        headers = (*record.headers, (FORWARDED_HEADER, origin))
        moved[place] = Output(batch.source, key.encode(), record.value, headers, target)
    return moved


def _without_duplicates(taken: Taken[E], turn: Turn) -> Taken[E]:
    if not taken.events:
        return taken
    hashes = dedupe.identities(
        [e.tenant_id for e in taken.events], taken.streams, [e.event_id for e in taken.events]
    )
    # A record that claims to come from the future may not take the whole memory with it; without a
    # timestamp it came now.
    latest = turn.now + turn.config.series.time.future
    stamps = column(taken.records, "timestamp")
    if len(taken.places) < len(stamps):
        stamps = [stamps[place] for place in taken.places]
    if min(stamps) < 0 or max(stamps) > latest:
        stamps = [min(stamp, latest) if stamp >= 0 else turn.now for stamp in stamps]
    offset = taken.records[taken.places[0]].offset
    fresh = dedupe.find_fresh(hashes, stamps, offset, turn.state)
    if duplicates := fresh.count(False):
        turn.count("events_dropped", "duplicate", duplicates)
        return taken.only(fresh)
    return taken


def by_stream(taken: Taken[E]) -> Mapping[tuple[str, str], Sequence[int]]:
    """The places of the events of each (tenant, stream)."""
    tenants, streams = [event.tenant_id for event in taken.events], taken.streams
    if tenants and tenants.count(tenants[0]) == len(tenants) == streams.count(streams[0]):
        return {(tenants[0], streams[0]): range(len(tenants))}
    keys = list(zip(tenants, streams, strict=True))
    found: dict[tuple[str, str], list[int]] = {key: [] for key in dict.fromkeys(keys)}
    for place, key in enumerate(keys):
        found[key].append(place)
    return found


def late_event(taken: Taken[E], place: int, top: int, turn: Turn) -> Output:
    """The original of an event that is older than every window's grace, the clock being at ``top``.

    Of a value so long that it might not fit a record in base64, only the fields that are known.
    """
    event, record = taken.events[place], taken.records[taken.places[place]]
    value = record.value or b""
    late = LateEvent(
        tenant=event.tenant_id,
        stream=taken.streams[place],
        at=event.at,
        watermark=top - turn.config.series.time.lateness,
        reason="beyond_grace",
        topic=turn.batch.source,
        partition=turn.batch.partition,
        offset=record.offset,
        value=value if len(value) <= MAX_DEAD_LETTER_BYTES else to_json(event),
    )
    headers = ((EVENT_ID_HEADER, event.event_id.encode()),) if event.event_id else ()
    return Output("late", event.tenant_id.encode(), to_json(late), headers)
