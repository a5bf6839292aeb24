"""Series and group keys: the stable strings that name what is counted.

A *series* is tenant + measure or metric name + sorted tags, written
``tenant|name{tag=value,other=value}``. A *group instance* is written the same way with the
dimension group's name: one partial and one window carry all of a group's measures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote

from models.errors import ConfigurationError

_KEY = re.compile(r"^(?P<tenant>[^|{}]+)\|(?P<name>[^|{}]+)\{(?P<tags>[^{}]*)\}$")


def _escape(text: str) -> str:
    if text.isalnum() and text.isascii():
        return text
    return "".join(c if c not in "|{}=,%" and c.isprintable() else quote(c, safe="") for c in text)


class SeriesKey(NamedTuple):
    """The parts of a series or group key; ``tags`` are sorted by name."""

    tenant: str
    name: str
    tags: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return format_key(self.tenant, self.name, dict(self.tags))


def format_key(tenant: str, name: str, tags: Mapping[str, str]) -> str:
    """The key of a series or group: tags sorted by name, ``| { } = , %`` percent-encoded."""
    inner = ",".join(f"{_escape(k)}={_escape(v)}" for k, v in sorted(tags.items()))
    return f"{_escape(tenant)}|{_escape(name)}{{{inner}}}"


def parse_key(key: str) -> SeriesKey:
    """The parts of a key made by :func:`format_key`.

    Raises:
        ConfigurationError: the text is not a key.
    """
    match = _KEY.match(key)
    if match is None:
        msg = f"series key {key!r} is not of the form tenant|name{{tag=value,...}}"
        raise ConfigurationError(msg)
    pairs = []
    if match["tags"]:
        for item in match["tags"].split(","):
            name, sep, value = item.partition("=")
            if not sep:
                msg = f"series key {key!r} has a tag without a value: {item!r}"
                raise ConfigurationError(msg)
            pairs.append((unquote(name), unquote(value)))
    return SeriesKey(unquote(match["tenant"]), unquote(match["name"]), tuple(sorted(pairs)))
