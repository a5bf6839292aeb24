"""Bytes to events: the only code that reads what producers sent.

Nothing in here raises, whatever the bytes are: a record is an event, or a ``Rejected`` with one
of these reasons (each labels a counter, and names the dead letter):

================  ================================================================================
``empty``         no value: a tombstone that ends no stream
``too_large``     longer than ``MAX_VALUE_BYTES``
``too_deep``      nested deeper than ``MAX_DEPTH``
``invalid_utf8``  a text that is not UTF-8
``not_json``      no JSON document, or more than one
``not_an_object`` JSON, but no object
``missing_field`` a required field is absent
``wrong_type``    a field holds another type than the schema says
``empty_text``    a text that names something is empty
``text_too_long`` a text is longer than ``MAX_TEXT`` characters
``out_of_range``  a number that cannot be: negative, or longer than a day
``not_finite``    a metric value that is NaN or infinite, or too large for a double
``bad_time``      neither RFC 3339 with an offset nor epoch milliseconds, or an end before a start
``before_2000``   a time before the year 2000: a clock that was never set, or seconds
``bad_country``   not an ISO 3166-1 alpha-2 code
``too_many_tags`` more than ``MAX_TAGS`` tags
================  ================================================================================

The folds of ``tables.intake`` add the reasons that need more than the bytes. Unknown fields are
skipped, and what is in them is not looked at.

Values are decoded one at a time. Joining a batch into one JSON array was measured too: it is no
faster for records of this size (2.1 µs against 1.6 for a play of 350 bytes), and it would have to
be defended against values that are two documents, or half of one.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from models.events import MAX_TEXT, YEAR_2000, YEAR_10000, Metric, Play, Rejected, Span, Text
from models.flow import Headers, Output, Record, header
from models.records import MAX_DEAD_LETTER_BYTES, DeadLetter, to_json
from models.topics import EVENT_ID_HEADER

MAX_VALUE_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_TAGS = 16

_SHORT = 1024
"""Values up to this size cannot nest deep enough to matter: two bytes a level."""

REASONS = frozenset(
    {
        "empty", "too_large", "too_deep", "invalid_utf8", "not_json", "not_an_object",
        "missing_field", "wrong_type", "empty_text", "text_too_long", "out_of_range", "not_finite",
        "bad_time", "before_2000", "bad_country", "too_many_tags",
    }
)  # fmt: skip

# ISO 3166-1 alpha-2 as assigned, then the codes that the standard leaves to its users (XK and ZZ
# are in wide use). A closed list keeps a typing error from becoming a series.
_ASSIGNED = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR "
    "BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ "
    "EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW "
    "GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY "
    "KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV "
    "MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY "
    "QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG "
    "TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM "
    "ZW"
)
_USER_ASSIGNED = ["AA", "ZZ", *(f"Q{c}" for c in "MNOPQRSTUVWXYZ")]
_USER_ASSIGNED += [f"X{c}" for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
_COUNTRIES = {
    spelt: code
    for code in [*_ASSIGNED.split(), *_USER_ASSIGNED]
    for spelt in (code, code.lower(), code.capitalize())
}

_CODES = frozenset(_COUNTRIES.values())
_Time = Annotated[datetime, Meta(tz=True)] | int | float


class _PlayWire(msgspec.Struct, gc=False):
    """A play as it is written; ``Play`` after its time and country are read."""

    tenant_id: Text
    listener_id: Text
    track_id: Text
    artist_id: Text
    started_at: _Time
    ms_played: Span
    track_ms: Span
    platform: Text
    country: str
    source: Text
    plan: Text
    event_id: Text | None = None
    skipped: bool = False
    offline: bool = False
    error: Text | None = None
    startup_ms: Span | None = None
    ended_at: _Time | None = None
    released_at: _Time | None = None


class _MetricWire(msgspec.Struct, gc=False):
    """A metric sample as it is written; ``Metric`` after its time is read."""

    tenant_id: Text
    name: Text
    value: float
    at: _Time
    tags: Annotated[
        dict[Text, Annotated[str, Meta(max_length=MAX_TEXT)]], Meta(max_length=MAX_TAGS)
    ] = {}
    event_id: Text | None = None


class _RejectError(ValueError):
    """Carries a reason and its detail out of a reading; never leaves this module."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.rejected = Rejected(reason, detail)


_E = TypeVar("_E", Play, Metric)
_ready_play = msgspec.json.Decoder(Play).decode
_play_wire = msgspec.json.Decoder(_PlayWire).decode
_metric_wire = msgspec.json.Decoder(_MetricWire).decode
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_2000 = datetime(2000, 1, 1, tzinfo=UTC)
_SECONDS_IN_2100 = 4_102_444_800


def decode_plays(values: Sequence[bytes | None]) -> list[Play | Rejected]:
    """One result per value, in order; never raises.

    A play that is written as it is kept, with its time in milliseconds, is decoded in one step; all
    others are :func:`read_plays`'s.
    """
    out: list[Play | Rejected] = []
    for place, value in enumerate(values):
        if value is None or len(value) > _SHORT:
            out += read_plays((value,))
            continue
        try:
            play = _ready_play(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            out += read_plays((value,))
            if type(out[-1]) is Play:  # its time is text, and so will be those that follow
                return out + read_plays(values[place + 1 :])
            continue
        if play.country in _CODES and (play.ended_at is None or play.ended_at >= play.started_at):
            out.append(play)
        else:
            out += read_plays((value,))
    return out


def read_plays(values: Sequence[bytes | None]) -> list[Play | Rejected]:
    """What :func:`decode_plays` is, however a play is written and whatever is wrong with it."""
    return _decode_all(values, _read_play)


def decode_metrics(values: Sequence[bytes | None]) -> list[Metric | Rejected]:
    """One result per value, in order; never raises."""
    return _decode_all(values, _read_metric)


def _decode_all(values: Sequence[bytes | None], read: Callable[[bytes], _E]) -> list[_E | Rejected]:
    out: list[_E | Rejected] = []
    for value in values:
        if value is None:
            out.append(Rejected("empty", "the record has no value"))
            continue
        if len(value) > _SHORT and (rejected := _unbearable(value)):
            out.append(rejected)
            continue
        try:
            out.append(read(value))
        except _RejectError as exc:
            out.append(exc.rejected)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            out.append(_why(value, exc))
    return out


def _read_play(value: bytes) -> Play:
    w = _play_wire(value)
    country = _COUNTRIES.get(w.country)
    if country is None:
        raise _RejectError(
            "bad_country",
            f"country {w.country[:20]!r} is not an ISO 3166-1 alpha-2 code such as DE or BR",
        )
    started = w.started_at
    if type(started) is not int or not YEAR_2000 <= started < YEAR_10000:
        started = _epoch_ms(started)
    ended = None if w.ended_at is None else _epoch_ms(w.ended_at)
    if ended is not None and ended < started:
        raise _RejectError("bad_time", f"ended_at is {started - ended} ms before started_at")
    released = None if w.released_at is None else _released(w.released_at)
    return Play(
        w.tenant_id, w.listener_id, w.track_id, w.artist_id, started,
        w.ms_played, w.track_ms, w.platform, country, w.source, w.plan,
        w.event_id, w.skipped, w.offline, w.error, w.startup_ms, ended, released,
    )  # fmt: skip


def _released(time: datetime | float) -> int | None:
    """Epoch ms of a release; None if that was before 2000, for no play lies in its first week.

    A number that is a time of this century in seconds is refused, as elsewhere.
    """
    if isinstance(time, datetime):
        return None if time < _EPOCH_2000 else _epoch_ms(time)
    return None if time < 0 or _SECONDS_IN_2100 <= time < YEAR_2000 else _epoch_ms(time)


def _read_metric(value: bytes) -> Metric:
    w = _metric_wire(value)
    return Metric(w.tenant_id, w.name, w.value, _epoch_ms(w.at), w.tags, w.event_id)


def _epoch_ms(time: datetime | float) -> int:
    """Epoch ms of a decoded time, whole and within [2000, 10000)."""
    if isinstance(time, datetime):
        since = time - _EPOCH
        ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    elif isinstance(time, float):
        if not time.is_integer():
            raise _RejectError("bad_time", f"time {time} is not a whole number of milliseconds")
        ms = int(time)
    else:
        ms = time
    if ms < YEAR_2000:
        raise _RejectError(
            "before_2000", f"time {ms} ms is before 2000; epoch times are in milliseconds"
        )
    if ms >= YEAR_10000:
        raise _RejectError("bad_time", f"time {ms} ms is past the year 9999; use milliseconds")
    return ms


def _unbearable(value: bytes) -> Rejected | None:
    """Why a long value is not even parsed, or None."""
    if len(value) > MAX_VALUE_BYTES:
        return Rejected("too_large", f"{len(value)} bytes; at most {MAX_VALUE_BYTES} are read")
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        return Rejected("too_deep", f"nested deeper than {MAX_DEPTH} levels")
    return None


_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def _depth(value: bytes) -> int:
    """How deep brackets nest outside of strings.

    Measured, not left to the parser: its limit moves with the depth of Python's own stack, so the
    same record could be good in one process and bad in the next.
    """
    depth = deepest = 0
    for bracket in _STRING.sub(b"", value).translate(None, _NO_BRACKETS):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


# The parser's messages, in the order they are tried. They are part of a pinned version, and a test
# holds every reason.
_MESSAGES = (
    (re.compile(r"`\$\.(started_at|ended_at|released_at|at)`|RFC3339|timezone"), "bad_time"),
    (re.compile(r"missing required field"), "missing_field"),
    (re.compile(r"^Expected `object`, got `\w+`$"), "not_an_object"),
    (re.compile(r"`object` of length"), "too_many_tags"),
    (re.compile(r"`str` of length >="), "empty_text"),
    (re.compile(r"`str` of length <="), "text_too_long"),
    (re.compile(r"out of range - at `\$\.value`"), "not_finite"),
    (re.compile(r"`int` [<>]=|out of range"), "out_of_range"),
)


def reserved_name(name: str) -> Rejected:
    """Why a metric is refused that is called like a measure of plays."""
    return Rejected(
        "reserved_name",
        f"metric name {name!r} is a measure of plays; their series would be one: use another name",
    )


def _why(value: bytes, exc: Exception) -> Rejected:
    """The reason and detail of a value that the parser refused."""
    detail = str(exc)[:300]
    if isinstance(exc, RecursionError):
        return Rejected("too_deep", f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(exc, UnicodeDecodeError):
        return Rejected("invalid_utf8", f"a text is not UTF-8: byte {exc.object[exc.start]:#04x}")
    if not isinstance(exc, msgspec.ValidationError):
        if _has_constant(value):
            return Rejected("not_finite", "NaN and Infinity are not JSON, and not a value")
        return Rejected("not_json", detail)
    for pattern, reason in _MESSAGES:
        if pattern.search(detail):
            return Rejected(reason, detail)
    return Rejected("wrong_type", detail)


def _has_constant(value: bytes) -> bool:
    """Whether the value is JSON but for NaN or Infinity, as Python's own encoder writes them."""
    if b"NaN" not in value and b"Infinity" not in value:
        return False
    found: list[str] = []

    def note(name: str) -> float:
        found.append(name)
        return math.nan

    try:
        json.loads(value, parse_constant=note)
    except (ValueError, RecursionError):
        return False
    return bool(found)


def dead_letter(
    record: Record, source: str, partition: int, rejected: Rejected, now: int
) -> Output:
    """The record for ``dead-letters``: the reason, where it stood, and its original bytes.

    The value (and a key that is absurdly long) is cut at ``MAX_DEAD_LETTER_BYTES``.
    """
    value, key = record.value, record.key
    event_id = event_id_of(record.headers, record.value)
    headers = ((EVENT_ID_HEADER, event_id.encode()),) if event_id else ()
    letter = DeadLetter(
        reason=rejected.reason,
        detail=rejected.detail,
        topic=source,
        partition=partition,
        offset=record.offset,
        timestamp=record.timestamp,
        value=None if value is None else value[:MAX_DEAD_LETTER_BYTES],
        key=None if key is None else key[:MAX_DEAD_LETTER_BYTES],
        size=len(value or b""),
        truncated=len(value or b"") > MAX_DEAD_LETTER_BYTES
        or len(key or b"") > MAX_DEAD_LETTER_BYTES,
        at=now,
    )
    key = f"{source}:{partition}:{record.offset}".encode()
    return Output("dead-letters", key, to_json(letter), headers)


class _Identified(msgspec.Struct):
    """What a value may still tell where the rest of it is wrong."""

    event_id: str | None = None


_identified = msgspec.json.Decoder(_Identified).decode


def event_id_of(headers: Headers, value: bytes | None) -> str | None:
    """The ``event_id`` of a record, whatever else is wrong with it; None where it cannot be told."""
    if told := header(headers, EVENT_ID_HEADER):
        return told[:MAX_TEXT]
    if not value or (len(value) > _SHORT and _unbearable(value)):
        return None
    try:
        event_id = _identified(value).event_id
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event_id[:MAX_TEXT] if event_id else None
