"""How the parts of a rules file are checked, so that all its mistakes can be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from models.config import format_duration, parse_duration
from models.errors import ConfigurationError

_T = TypeVar("_T")


def twice(what: str, names: Iterable[str]) -> Iterator[str]:
    """A message for each name that was there before."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            yield f"two {what} are called {name!r}; names are unique"
        seen.add(name)


def duration(key: str, text: str | None, beside: str = "") -> int:
    """Milliseconds of a key's duration, 0 without one; the error names the key, and ``beside`` what
    else it may be.

    Raises:
        ConfigurationError: not a positive duration.
    """
    try:
        return parse_duration(text) if text else 0
    except ConfigurationError as exc:
        msg = f"{key}: {exc}{beside}"
        raise ConfigurationError(msg) from exc


def named(window: str) -> str:
    """A window as it is called, however its size was written: ``1m`` for ``60s``."""
    with suppress(ConfigurationError):
        return format_duration(parse_duration(window))
    return window


def gathered(
    parse: Callable[[dict[str, Any]], _T],
    raw: Iterable[dict[str, Any]],
    errors: list[ConfigurationError],
) -> tuple[_T, ...]:
    """What could be parsed; what is said of the rest goes to ``errors``."""
    found = []
    for table in raw:
        try:
            found.append(parse(table))
        except ConfigurationError as exc:
            errors.append(exc)
    return tuple(found)
