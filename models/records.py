"""The records on Backbeat's own topics, from partials to deliveries.

Wire formats: ``partials`` are msgpack (internal, hot); every other topic is JSON, one object a
record, so that any consumer can read it. Times are epoch milliseconds, UTC. Fields are only ever
added, with a default.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

LIVE = "live"
"""The stream of events that are happening now; replays and imports have names of their own."""


class Partial(msgspec.Struct, array_like=True, gc=False, tag="p"):
    """What one source partition added to one pane of one group instance since its last flush.

    ``parts`` maps a part's name to its mergeable accumulator (``tables.parts`` says which).
    ``late`` partials hold events behind their partition's watermark; they never mix with on-time
    ones, so the first publication of a window is the same however batches were cut. ``noticed`` is
    where the events' lateness has its place in event time: the pane edge that follows their own
    partition's watermark when they were read. Once the stream is complete up to there, no more of
    them can come, in whatever batches.
    ``watermark`` is set where the group has a clock of its own (a metric's series): event time up
    to which this source partition is complete for it.
    """

    tenant: str
    stream: str
    group: str
    partition: int
    pane: int
    size: int
    late: bool
    parts: dict[str, Any]
    watermark: int | None = None
    noticed: int | None = None


class Watermark(msgspec.Struct, array_like=True, gc=False, tag="w"):
    """How far one source partition has come in one tenant's stream: nothing on time is older.

    ``source`` is the input topic. ``idle``: the partition has reached its end and does not hold the
    minimum back. ``ended``: the stream's end marker was met, nothing more will come. A record with
    an empty tenant speaks for the whole partition: every stream it has not named itself is idle.
    """

    tenant: str
    stream: str
    source: str
    partition: int
    at: int
    idle: bool = False
    ended: bool = False


Flow = Partial | Watermark

REMARKABLE = 1.0
"""From this score on a window says what is surprising about it; below it would only cost bytes."""

SHAPES = ("spike", "dip", "level shift", "variance", "drop to zero")
"""What a surprise may look like; detectors that do not say leave it empty."""


class Value(msgspec.Struct, omit_defaults=True, gc=False):
    """One measure of one window.

    ``value`` None: no data (a gauge's gap, a ratio of nothing). ``weight`` is what the value rests
    on (the denominator, the number of samples). ``score`` is the detector's surprise, None while
    it is learning or where none runs; ``low`` and ``high`` are the band it expected; ``learning``
    is said, not hidden. ``model`` is the id of the model that judged it, "" for the configured one.
    From a score of :data:`REMARKABLE` on, ``shape`` is one of :data:`SHAPES`, ``tail`` the share of
    the series' own past surprises that were as large, and ``contributions`` the shares of the score
    by context, the largest three first.
    """

    value: float | None = None
    weight: float = 0.0
    score: float | None = None
    low: float | None = None
    high: float | None = None
    learning: bool = False
    minimum: float | None = None
    maximum: float | None = None
    variance: float | None = None
    shape: str = ""
    tail: float | None = None
    contributions: dict[str, float] = {}
    model: str = ""


class Window(msgspec.Struct, omit_defaults=True, gc=False):
    """A closed window of one group instance, with all its measures.

    ``[start, end)`` in event time; ``size`` and ``slide`` in ms (equal: tumbling). ``revision`` 0 is
    the first publication (exactly the on-time events); late events within grace publish the
    window again under the same (group, stream, size, slide, start) with revision + 1.
    """

    tenant: str
    group: str
    stream: str
    start: int
    end: int
    size: int
    slide: int
    count: int
    values: dict[str, Value]
    revision: int = 0
    late: int = 0
    partition: int = 0

    @property
    def id(self) -> str:
        """What stays the same across revisions."""
        return f"{self.group}@{self.stream}/{self.size}+{self.slide}/{self.start}"


class Share(msgspec.Struct, gc=False):
    """A slice's share of a change of the total: 0.83 is 83 %; negative: it moved against it.

    ``named``: it belongs to the cause; others are listed beside it.
    """

    tags: dict[str, str]
    share: float
    named: bool


class Finding(msgspec.Struct, omit_defaults=True, gc=False):
    """A change of one rule's state on one series: the verdict, and the window that brought it.

    ``incident`` is the deterministic id shared by all findings (and the alert) of one incident:
    derived from rule, series, stream and the first breaching window's start. ``since`` is that
    start, ``at`` the event time of the change (the deciding window's end). ``score`` is the detector's
    surprise; of a forecast, the probability that the threshold is reached. ``shape`` is the last
    that was said of a breaching window; ``tail`` and ``contributions`` are those of the most
    surprising one (see :class:`Value`).
    Of rules that attribute: ``cause`` names the slices that explain the change, with ``shares``;
    ``parent`` is the incident that speaks for this one, ``takes_over`` the ended one whose place it takes.
    """

    incident: str
    tenant: str
    rule: str
    rule_version: str
    kind: Literal[
        "threshold", "anomaly", "absence", "forecast", "drift", "joint", "release", "health"
    ]
    state: Literal["pending", "firing", "resolved", "retracted"]
    series: str
    stream: str
    measure: str
    tags: dict[str, str]
    severity: str
    since: int
    at: int
    window_start: int
    window_end: int
    reason: str
    value: float | None = None
    threshold: float | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    peak: float | None = None
    revision: int = 0
    receivers: list[str] = []
    summary: str = ""
    shape: str = ""
    tail: float | None = None
    contributions: dict[str, float] = {}
    parent: str = ""
    takes_over: str = ""
    cause: str = ""
    shares: list[Share] = []


class Alert(msgspec.Struct, omit_defaults=True, gc=False):
    """One version of one incident. The highest ``revision`` of an ``id`` is its present state.

    ``started_at``: start of the first breaching window; ``fired_at``: event time at which the
    rule's ``for`` was fulfilled; ``resolved_at``: event time of the resolving window's end.
    ``seen_at`` is the processing time of this version, for measuring latency; it takes no part in
    any decision. ``shape``, ``tail`` and ``contributions`` are the finding's. ``cause`` and ``shares``
    say which slices explain it; nobody is notified of an alert with a ``parent``, for the alert of
    that id speaks for it.
    """

    id: str
    revision: int
    tenant: str
    rule: str
    rule_version: str
    kind: str
    state: Literal["firing", "resolved", "retracted"]
    severity: str
    series: str
    measure: str
    tags: dict[str, str]
    stream: str
    started_at: int
    fired_at: int
    updated_at: int
    reason: str
    summary: str = ""
    resolved_at: int | None = None
    value: float | None = None
    threshold: float | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    peak: float | None = None
    seen_at: int = 0
    shape: str = ""
    tail: float | None = None
    contributions: dict[str, float] = {}
    parent: str = ""
    cause: str = ""
    shares: list[Share] = []


class Notification(msgspec.Struct, omit_defaults=True, gc=False):
    """A message about one transition of one alert to one receiver.

    ``id`` is deterministic (alert, transition, receiver): the idempotency key that the receiver gets.
    """

    id: str
    tenant: str
    receiver: str
    transition: Literal["firing", "resolved", "retracted"]
    alert: Alert
    created_at: int = 0


class Delivery(msgspec.Struct, omit_defaults=True, gc=False):
    """What became of a notification."""

    notification: str
    tenant: str
    receiver: str
    alert: str
    transition: str
    outcome: Literal["delivered", "failed", "skipped"]
    attempts: int
    at: int
    status: int | None = None
    reason: str = ""


class DeadLetter(msgspec.Struct, omit_defaults=True, gc=False):
    """A record that could not be used, with why and where it stood.

    ``value`` and ``key`` are the original bytes (base64 in JSON), the value cut at
    ``MAX_DEAD_LETTER_BYTES``; ``size`` is its full length.
    """

    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    value: bytes | None
    key: bytes | None
    size: int
    truncated: bool = False
    traceback: str = ""
    at: int = 0


MAX_DEAD_LETTER_BYTES = 65_536


class LateEvent(msgspec.Struct, omit_defaults=True, gc=False):
    """An event that came after its windows' grace: counted, kept, left to batch's work."""

    tenant: str
    stream: str
    at: int
    watermark: int
    reason: str
    topic: str
    partition: int
    offset: int
    value: bytes


to_json = msgspec.json.Encoder().encode
to_msgpack = msgspec.msgpack.Encoder().encode
decode_flow = msgspec.msgpack.Decoder(Flow).decode
decode_window = msgspec.json.Decoder(Window).decode
decode_finding = msgspec.json.Decoder(Finding).decode
decode_alert = msgspec.json.Decoder(Alert).decode
decode_notification = msgspec.json.Decoder(Notification).decode
decode_delivery = msgspec.json.Decoder(Delivery).decode
decode_dead_letter = msgspec.json.Decoder(DeadLetter).decode
decode_late = msgspec.json.Decoder(LateEvent).decode
