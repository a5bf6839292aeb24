"""Series in Numenta's form: a CSV file with the columns ``timestamp`` and ``value``."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from models.errors import ConfigurationError
from models.events import YEAR_2000, YEAR_10000

_NUMBER = re.compile(r"\d{9,}")
"""Epoch times; eight digits are a date."""


class Sample(NamedTuple):
    """One value of a series. ``at`` is epoch ms, ``line`` where it stood in its source."""

    at: int
    value: float
    line: int


def read_series(path: Path) -> Iterator[Sample]:
    """The samples of a file, in its order.

    Raises:
        ConfigurationError: the file cannot be read, or a line of it is not a sample; the message
            names the file, the line and what would be right.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from parse_series(file, str(path))
    except FileNotFoundError as exc:
        msg = f"there is no file {path}"
        raise ConfigurationError(msg) from exc
    except OSError as exc:
        msg = f"{path} cannot be read: {exc.strerror}"
        raise ConfigurationError(msg) from exc
    except UnicodeDecodeError as exc:
        msg = f"{path} cannot be read as UTF-8 text: {exc}"
        raise ConfigurationError(msg) from exc


def parse_series(lines: Iterable[str], name: str) -> Iterator[Sample]:
    """The samples of an open file; ``name`` is for messages. Times without an offset are UTC."""
    reader = csv.reader(lines)
    header = [column.strip().lower() for column in next(reader, [])]
    if not {"timestamp", "value"} <= set(header):
        msg = f"{name}, line 1: the columns are {header}; it needs 'timestamp' and 'value'"
        raise ConfigurationError(msg)
    when, what = header.index("timestamp"), header.index("value")
    try:
        for row in reader:
            if row:
                yield _sample(row, when, what, f"{name}, line {reader.line_num}", reader.line_num)
    except csv.Error as exc:
        msg = f"{name}, line {reader.line_num}: {exc}"
        raise ConfigurationError(msg) from exc


def _sample(row: list[str], when: int, what: int, where: str, line: int) -> Sample:
    if len(row) <= max(when, what):
        msg = f"{where}: {len(row)} column(s), {max(when, what) + 1} are needed"
        raise ConfigurationError(msg)
    at = _time(row[when].strip(), where)
    try:
        value = float(row[what])
    except ValueError as exc:
        msg = f"{where}: value {row[what]!r} is not a number"
        raise ConfigurationError(msg) from exc
    if not math.isfinite(value):
        msg = f"{where}: value {row[what]!r} is not finite; leave the line out where there is no value"
        raise ConfigurationError(msg)
    return Sample(at, value, line)


def _time(text: str, where: str) -> int:
    """Epoch ms of a time, which is ISO 8601 or epoch ms, as in what producers send."""
    if _NUMBER.fullmatch(text):
        if YEAR_2000 <= int(text) < YEAR_10000:
            return int(text)
        msg = f"{where}: timestamp {text!r} is not of 2000 to 9999; epoch times are in milliseconds"
        raise ConfigurationError(msg)
    try:
        return epoch_ms(datetime.fromisoformat(text))
    except ValueError as exc:
        msg = (
            f"{where}: timestamp {text!r} is neither ISO 8601, such as 2014-04-01 00:05:00, "
            f"nor epoch milliseconds"
        )
        raise ConfigurationError(msg) from exc


def epoch_ms(at: datetime) -> int:
    """Epoch ms of a time; one without an offset is UTC."""
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return round(at.timestamp() * 1000)
