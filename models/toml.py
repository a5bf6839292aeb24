"""What the configuration files have in common: how they are read, and how a mistake in one is told."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from models.errors import ConfigurationError

T = TypeVar("T")


def load_toml(path: Path, what: str, parse: Callable[[dict[str, Any]], T]) -> T:
    """What ``parse`` makes of a file.

    Raises:
        ConfigurationError: which file, and what is wrong with it.
    """
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ConfigurationError) as exc:
        msg = f"{what} {path}: {exc}"
        raise ConfigurationError(msg) from exc


def tables(raw: dict[str, Any], key: str) -> list[dict[str, Any]]:
    """The ``[[key]]`` tables, none without that key."""
    found = raw.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        msg = f"{key} is written [[{key}]], one table each"
        raise ConfigurationError(msg)
    return found


def read_table(table: dict[str, Any], kind: type[T], where: str) -> T:
    """A table as a struct, strictly; errors begin with ``where``."""
    known_keys(table, kind.__struct_fields__, where)  # type: ignore[attr-defined]
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as exc:
        msg = f"{where}: {exc}"
        raise ConfigurationError(msg) from exc


def known_keys(raw: dict[str, Any], known: Iterable[str], where: str) -> None:
    """Refuse a key that is none of the known."""
    for key in raw:
        if key not in (names := list(known)):
            msg = f"{where} has an unknown key {key!r}; {instead(key, names)}"
            raise ConfigurationError(msg)


def instead(wrong: str, names: list[str]) -> str:
    """What may have been meant, and what there is."""
    near = difflib.get_close_matches(wrong, names, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}known: {', '.join(sorted(names)) or 'none'}"
