"""Options of the form name=value, which may be repeated, and what a wrong command is told."""

from __future__ import annotations

from collections.abc import Iterable

from models.errors import ConfigurationError


class WrongCommandError(ConfigurationError):
    """The command cannot be meant as it stands; nobody was asked. Ends with exit code 2."""


def read_pairs(option: str, texts: Iterable[str]) -> dict[str, str]:
    """The pairs of an option; the last of a name counts.

    Raises:
        WrongCommandError: one of them is no pair.
    """
    found = {}
    for text in texts:
        name, sep, value = text.partition("=")
        if not sep or not name:
            msg = f"{option} {text!r} is not of the form name=value"
            raise WrongCommandError(msg)
        found[name] = value
    return found
