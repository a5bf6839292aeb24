"""Taking events over HTTP: the same checks as the worker's, then the topic that producers use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Any, NamedTuple

import orjson

from api.metrics import ApiMetrics
from api.problems import (
    InvalidRequestError,
    TooLargeError,
    UnavailableError,
    UnreadableBodyError,
    UnsupportedBodyError,
)
from api.schemas.ingest import Accepted, RejectedItem
from api.services.producer import BrokerUnavailableError, EventProducer, Message
from models.config import SeriesConfig
from models.decoding import decode_metrics, decode_plays, reserved_name
from models.events import MAX_TEXT, Event, Metric, Play, Rejected
from models.logs import JOURNAL, Quota
from models.series import format_key

_journal = logging.getLogger(JOURNAL)

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_ITEMS = 10_000
_TURN = 1_000
"""Items that are decoded before other requests get their turn, some ten milliseconds."""

JSON_LINES = frozenset({"application/x-ndjson", "application/jsonl", "application/x-jsonlines"})


class Kind(NamedTuple):
    """A kind of event: its topic, the field of its time, its decoder and its key."""

    topic: str
    time_field: str
    decode: Callable[[Sequence[bytes]], Sequence[Event | Rejected]]
    key: Callable[[Any], str]


def _play_key(play: Play) -> str:
    return f"{play.tenant_id}:{play.listener_id}"


def _metric_key(metric: Metric) -> str:
    return format_key(metric.tenant_id, metric.name, metric.tags)


PLAYS = Kind("plays", "started_at", decode_plays, _play_key)
METRICS = Kind("metrics", "at", decode_metrics, _metric_key)


class Ingest:
    """Checks and publishes the events of a request."""

    def __init__(
        self, producer: EventProducer | None, series: SeriesConfig, metrics: ApiMetrics
    ) -> None:
        """``series`` says what the worker would refuse: what is too early, names that are taken."""
        self._producer = producer
        self._future = series.time.future
        self._reserved = series.measure_names
        self._quota = Quota()
        self._metrics = metrics

    async def take(
        self, kind: Kind, tenant: str, body: bytes, media_type: str, now: int
    ) -> Accepted:
        """Publish what is valid; return when the broker has it.

        Raises:
            ProblemError: nothing could be read, nothing was valid, or the broker did not answer.
        """
        items = read_items(body, media_type)
        messages, rejected, idempotent = await self._check(kind, tenant, items, now)
        for item in rejected:
            self._metrics.events_refused.labels(kind.topic, item.reason).inc()
            self._write(kind, tenant, items[item.index], item, now)
        for (_, reason), number in self._quota.left_out(now):
            _journal.warning("event refused: %d more were not logged", number,
                             extra={"reason": reason, "left_out": number})  # fmt: skip
        if not messages:
            msg = f"none of the {len(items)} items can be used; the first: {rejected[0].detail}"
            raise InvalidRequestError(msg, extra={"rejected": [r.model_dump() for r in rejected]})
        await self._publish(kind, messages)
        return Accepted(accepted=len(messages), rejected=rejected, idempotent=idempotent)

    async def _check(
        self, kind: Kind, tenant: str, items: Sequence[Any], now: int
    ) -> tuple[list[Message], list[RejectedItem], bool]:
        messages: list[Message] = []
        rejected: list[RejectedItem] = []
        idempotent = True
        for begin in range(0, len(items), _TURN):
            prepared = [_prepare(i, tenant, kind, now) for i in items[begin : begin + _TURN]]
            values = [p for p in prepared if isinstance(p, bytes)]
            decoded = iter(zip(values, kind.decode(values), strict=True))
            for index, part in enumerate(prepared, begin):
                value, event = next(decoded) if isinstance(part, bytes) else (b"", part)
                if not isinstance(event, Rejected):
                    event = self._refused(event, now) or event
                if isinstance(event, Rejected):
                    item = RejectedItem(index=index, reason=event.reason, detail=event.detail)
                    rejected.append(item)
                else:
                    messages.append(Message(kind.key(event).encode(), value))
                    idempotent &= event.event_id is not None
            await asyncio.sleep(0)
        return messages, rejected, idempotent

    def _refused(self, event: Event, now: int) -> Rejected | None:
        """Why the worker would not take a valid event; None where it would."""
        if isinstance(event, Metric) and event.name in self._reserved:
            return reserved_name(event.name)
        if (ahead := event.at - now) > self._future:
            detail = f"its time is {ahead} ms ahead of now; at most {self._future} are taken"
            return Rejected("far_future", detail)
        return None

    def _write(self, kind: Kind, tenant: str, sent: Any, why: RejectedItem, now: int) -> None:
        """A line in the log for an item that is not published."""
        if not self._quota.admits(("event refused", why.reason), now):
            return
        event_id = sent.get("event_id") if isinstance(sent, dict) else None
        fields = {
            "event_id": str(event_id)[:MAX_TEXT] if event_id is not None else None,
            "reason": why.reason, "detail": why.detail, "topic": kind.topic, "tenant": tenant,
            "index": why.index,
        }  # fmt: skip
        _journal.warning("event refused", extra=fields)

    async def _publish(self, kind: Kind, messages: Sequence[Message]) -> None:
        try:
            if self._producer is None:
                msg = "this API was started without a broker"
                raise BrokerUnavailableError(msg)
            await self._producer.publish(kind.topic, messages)
        except BrokerUnavailableError as exc:
            self._metrics.events_accepted.labels(kind.topic).inc(exc.acknowledged)
            missing = len(messages) - exc.acknowledged
            self._metrics.events_refused.labels(kind.topic, "unacknowledged").inc(missing)
            msg = f"{exc}; send the whole request again: events with an event_id count once"
            raise UnavailableError(msg, extra={"accepted": exc.acknowledged}) from exc
        self._metrics.events_accepted.labels(kind.topic).inc(len(messages))


async def read_body(chunks: AsyncIterable[bytes]) -> bytes:
    """The body, read no further than it may be long.

    Raises:
        TooLargeError: it is longer.
    """
    parts, size = [], 0
    async for chunk in chunks:
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            msg = f"the body is longer than {MAX_BODY_BYTES} bytes; send it in parts"
            raise TooLargeError(msg)
        parts.append(chunk)
    return b"".join(parts)


def read_items(body: bytes, media_type: str) -> list[Any]:
    """The items of a body: of an array, of JSON lines, or the one object.

    A line that is not JSON becomes a ``Rejected``; the others still count.

    Raises:
        ProblemError: another media type, not JSON, no items, or too many.
    """
    if media_type in JSON_LINES:
        items = [_read_line(line) for line in body.splitlines() if line.strip()]
    elif media_type == "application/json":
        items = _read_document(body)
    else:
        msg = f"the body is {media_type or 'of no media type'}; send application/json or application/x-ndjson"
        raise UnsupportedBodyError(msg)
    if not items:
        msg = "the body holds no items; send at least one"
        raise InvalidRequestError(msg)
    if len(items) > MAX_ITEMS:
        msg = f"the body holds {len(items)} items; at most {MAX_ITEMS} are taken at once"
        raise TooLargeError(msg)
    return items


def _read_document(body: bytes) -> list[Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        msg = f"the body is not JSON: {exc}"
        raise UnreadableBodyError(msg) from exc
    return document if isinstance(document, list) else [document]


def _read_line(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        return Rejected("not_json", str(exc))


def _prepare(item: Any, tenant: str, kind: Kind, now: int) -> bytes | Rejected:
    """The item as it goes to the topic: with the caller's tenant, and a time."""
    if isinstance(item, Rejected):
        return item
    if not isinstance(item, dict):
        return Rejected("not_an_object", f"an item is {type(item).__name__}; it must be an object")
    if item.get("tenant_id", tenant) != tenant:
        return Rejected(
            "foreign_tenant", f"tenant_id is not {tenant!r}, which your token speaks for"
        )
    item["tenant_id"] = tenant
    if item.get(kind.time_field) is None:
        item[kind.time_field] = now
    return orjson.dumps(item)
