"""Times as clients write and read them; inside, a time is epoch milliseconds, UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from models.config import parse_duration
from models.errors import ConfigurationError

_Aware = Annotated[datetime, msgspec.Meta(tz=True)]
_LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the end of RFC 3339
_DIGITS = len(str(_LAST_MS))
_DATE = 11  # length of "2026-01-02T"


def format_time(ms: int) -> str:
    """RFC 3339 in UTC with milliseconds; times beyond its range become its ends."""
    seconds, rest = divmod(min(max(ms, 0), _LAST_MS), 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03d}Z"


def parse_time(text: object) -> int:
    """Epoch milliseconds of RFC 3339 text or of a number of milliseconds.

    A ``+`` that a client left unescaped in a query arrives as a space, and is read as what it was.

    Raises:
        ValueError: neither of the two, or not between 1970 and 9999: no answer could tell it.
    """
    raw = str(text).strip()
    if _is_number(raw):
        return int(raw)
    try:
        at = msgspec.convert(raw[:_DATE] + raw[_DATE:].replace(" ", "+"), _Aware)
    except msgspec.ValidationError:
        msg = f"{raw[:80]!r} is neither RFC 3339 with an offset nor epoch milliseconds"
        raise ValueError(msg) from None
    ms = round(at.timestamp() * 1000)
    if not 0 <= ms <= _LAST_MS:
        msg = f"{raw!r} is not between 1970 and 9999"
        raise ValueError(msg)
    return ms


def parse_span(text: object) -> int:
    """Milliseconds of a duration such as ``10s`` or ``1h30m``, or of a number of milliseconds.

    Raises:
        ValueError: not a positive duration.
    """
    raw = str(text).strip()
    if _is_number(raw) and int(raw) > 0:
        return int(raw)
    try:
        return parse_duration(raw)
    except ConfigurationError as exc:
        raise ValueError(str(exc)) from None


def _is_number(raw: str) -> bool:
    """Whether a text is a number of milliseconds that a time can have."""
    return raw.isascii() and raw.isdigit() and len(raw) <= _DIGITS and int(raw) <= _LAST_MS


_TIME_SCHEMA = {"type": "string", "format": "date-time", "examples": ["2026-01-02T03:04:05.678Z"]}

Timestamp = Annotated[
    int, PlainSerializer(format_time, return_type=str), WithJsonSchema(_TIME_SCHEMA)
]
"""A time in a response."""

TimeParam = Annotated[
    int,
    BeforeValidator(parse_time),
    WithJsonSchema({"type": "string", "description": "RFC 3339 or epoch milliseconds"}),
]
"""A time in a query."""

DETECT: Literal["detect"] = "detect"
"""The size of the windows that detectors judge, whatever it is."""


def parse_size(text: object) -> int | str:
    """A window size as :func:`parse_span` reads it, or ``detect``."""
    return DETECT if text == DETECT else parse_span(text)


SpanParam = Annotated[
    int,
    BeforeValidator(parse_span),
    WithJsonSchema({"type": "string", "description": "like 10s, 5m or 1h30m, or milliseconds"}),
]
"""A duration in a query."""

SizeParam = Annotated[
    int | Literal["detect"],
    BeforeValidator(parse_size),
    WithJsonSchema({"type": "string", "description": "like 10s or 1m, milliseconds, or `detect`"}),
]
"""A window size in a query."""
