"""Late panes of one group instance that wait for the edge they were noticed by.

Kept apart from shelves: these are found by two times, and each leaves once the watermark gets there.
All times are milliseconds on pane edges.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from tables.panes import Pane


class Waiting:
    """Panes by edge and start. Keys in the store are ``prefix``, the edge, a colon and the start."""

    __slots__ = ("_panes", "_prefix", "_store")

    def __init__(self, store: MutableMapping[str, Any], prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        self._panes: dict[int, dict[int, Pane]] = {}

    def __bool__(self) -> bool:
        return bool(self._panes)

    @property
    def edges(self) -> Iterator[int]:
        """The edges that are waited for."""
        return iter(self._panes)

    @property
    def starts(self) -> Iterator[int]:
        """The starts of the panes; one may come several times."""
        return (start for panes in self._panes.values() for start in panes)

    def add(self, edge: int, start: int, parts: Mapping[str, Any]) -> None:
        """Merge parts in, here and in the store."""
        panes = self._panes.setdefault(edge, {})
        pane = panes.get(start)
        if pane is None:
            pane = panes[start] = Pane()
        pane.add(parts)
        self._store[self._key(edge, start)] = pane

    def attach(self, edge: int, start: int, pane: Pane) -> None:
        """Take in a pane that the store already has."""
        self._panes.setdefault(edge, {})[start] = pane

    def take(self, edge: int) -> Iterator[tuple[int, Pane]]:
        """Remove what waited for this edge or an earlier one, in order: starts and panes."""
        for at in sorted(at for at in self._panes if at <= edge):
            for start, pane in sorted(self._panes.pop(at).items(), key=_start):
                self._store.pop(self._key(at, start), None)
                yield start, pane

    def clear(self) -> None:
        """Delete everything."""
        for _ in self.take(max(self._panes, default=0)):
            pass

    def _key(self, edge: int, start: int) -> str:
        return f"{self._prefix}{edge}:{start}"


def _start(item: tuple[int, Pane]) -> int:
    return item[0]
