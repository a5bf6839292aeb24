"""Backbeat's rows as InfluxDB line protocol. Pure; the golden file shows what comes out.

A point's identity is its measurement, tags and time, so the tags name one series and one window
kind exactly, and writing a window again overwrites it. Times are in ms.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeGuard
from urllib.parse import quote, unquote

from models.config import format_duration
from models.records import Alert, Finding, Value, Window
from storage.series_rows import METRIC_MEASURE, Group, parse_group

METRIC_GROUP = "metric"
"""The tag ``group`` of metrics; plays have their dimension group's name."""

WINDOW_TAGS = ("tenant", "group", "measure", "stream", "size", "slide")
WINDOW_FIELDS = (
    "value", "weight", "score", "low", "high", "minimum", "maximum", "revision", "count",
    "learning", "absent",
)  # fmt: skip

# Names that a series' own tags may not have in InfluxDB: they would hide ours.
_RESERVED = frozenset({*WINDOW_TAGS, *WINDOW_FIELDS, "time", "_measurement", "_field"})
_OURS = "tag_"

# What line protocol cannot carry in a tag, or only with a doubt about who unescapes it.
_AWKWARD = re.compile(r"[\\%\x00-\x1f\x7f]")
_SPECIAL = re.compile(r"([,= ])")
_EMPTY = "%"


def tag_name(name: str) -> str:
    """The name of a series' tag in InfluxDB; those that would hide ours get ``tag_`` before them."""
    return _OURS + name if name in _RESERVED or name.startswith(_OURS) else name


def plain_tag_name(name: str) -> str | None:
    """The series' tag of this name, or None for one of ours."""
    return None if name in _RESERVED else name.removeprefix(_OURS)


def tag_value(value: str) -> str:
    """A tag's value as InfluxDB stores it: control characters, ``%`` and backslash encoded.

    InfluxDB has no empty tags; an empty value is a lone ``%``.
    """
    return _AWKWARD.sub(lambda m: quote(m[0], safe=""), value) or _EMPTY


def plain_tag_value(value: str) -> str:
    """What :func:`tag_value` was given."""
    return "" if value == _EMPTY else unquote(value)


def window_tags(group: Group, measure: str, stream: str) -> dict[str, str]:
    """The tags, but for size and slide, of one series' points."""
    metric = group.metric and measure == METRIC_MEASURE
    group_name = METRIC_GROUP if group.metric else group.name
    ours = {
        "tenant": group.tenant,
        "group": group_name,
        "measure": group.name if metric else measure,
        "stream": stream,
    }
    return ours | {tag_name(name): value for name, value in group.tags}


def window_lines(window: Window) -> Iterator[bytes]:
    """One line per measure of a window.

    A field cannot be taken back, only overwritten: so a revision names in ``absent`` the numbers
    it does not have, which an earlier one may have left there.
    """
    for measure, value in window.values.items():
        head = _head(window.group, measure, window.stream, window.size, window.slide)
        fields = ",".join(_window_fields(window, value))
        yield f"{head} {fields} {window.start}".encode()


def alert_line(alert: Alert) -> bytes:
    """One version of one incident, at its ``updated_at``."""
    return _event(
        "alert",
        alert,
        alert.updated_at,
        ("started_at", "fired_at", "updated_at", "resolved_at", "revision"),
        {"id": alert.id},
    )


def finding_line(finding: Finding) -> bytes:
    """One change of a rule's state on a series, at its ``at``."""
    return _event(
        "finding",
        finding,
        finding.at,
        ("since", "window_start", "window_end", "revision"),
        {"incident": finding.incident},
    )


def _window_fields(window: Window, value: Value) -> Iterator[str]:
    numbers = {
        "value": value.value,
        "weight": value.weight,
        "score": value.score,
        "low": value.low,
        "high": value.high,
        "minimum": value.minimum,
        "maximum": value.maximum,
    }
    yield from _floats(numbers)
    yield f"revision={window.revision}"
    yield f"count={window.count}"
    if value.learning or window.revision:
        yield f"learning={'t' if value.learning else 'f'}"
    if window.revision:
        yield f"absent={_string(','.join(n for n, v in numbers.items() if not _finite(v)))}"


def _event(
    measurement: str,
    event: Alert | Finding,
    at: int,
    integers: Iterable[str],
    strings: Mapping[str, str],
) -> bytes:
    names = ("tenant", "rule", "kind", "severity", "state", "series", "measure", "stream")
    head = measurement + _tags({name: getattr(event, name) for name in names})
    whole = {name: getattr(event, name) for name in integers}
    numbers = {n: getattr(event, n) for n in ("value", "threshold", "score", "low", "high", "peak")}
    texts = {**strings, "reason": event.reason, "summary": event.summary}
    fields = [
        *(f"{name}={_string(text)}" for name, text in texts.items() if text),
        *(f"{name}={number}i" for name, number in whole.items() if number is not None),
        *_floats(numbers),
    ]
    return f"{head} {','.join(fields)} {at}".encode()


@lru_cache(maxsize=100_000)
def _head(group_key: str, measure: str, stream: str, size: int, slide: int) -> str:
    tags = window_tags(parse_group(group_key), measure, stream)
    return "window" + _tags(tags | {"size": format_duration(size), "slide": format_duration(slide)})


def _tags(tags: Mapping[str, str]) -> str:
    """In the order that InfluxDB sorts them in itself, so that it need not."""
    pairs = sorted((_escape(tag_value(k)), _escape(tag_value(v))) for k, v in tags.items())
    return "".join(f",{name}={value}" for name, value in pairs)


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def _floats(numbers: Mapping[str, float | None]) -> Iterator[str]:
    """Fields of type float; what is not finite InfluxDB cannot hold."""
    for name, number in numbers.items():
        if _finite(number):
            yield f"{name}={float(number)!r}"


def _finite(number: float | None) -> TypeGuard[float]:
    return number is not None and math.isfinite(number)


def _string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
