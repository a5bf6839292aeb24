"""Options of the form name=value, which may be repeated."""

from __future__ import annotations

from collections.abc import Iterable

from models.errors import ConfigurationError


def read_pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """The pairs of an option; the last of a name counts.

    Raises:
        ConfigurationError: one of them is no pair.
    """
    found = {}
    for text in texts:
        name, sep, value = text.partition("=")
        if not sep or not name:
            msg = f"{option} {text!r} is not of the form name=value"
            raise ConfigurationError(msg)
        found[name] = value
    return found
