"""Shelves: what one group instance keeps by time, in memory and in the store alike.

Each item lies under its own key, so that a flush writes what changed and nothing else, and goes when
nothing can need it any more. All times are milliseconds and multiples of the shelf's step.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, Generic, TypeVar

from tables.panes import Archive, Pane
from tables.parts import event_count

ARCHIVE_BLOCKS = 60
"""So many blocks go into one archive."""

MAX_ARCHIVE_BYTES = 600_000
"""An archive is one record of the changelog; what would be larger stays single blocks."""

INFINITY = 1 << 62

V = TypeVar("V")


class Shelf(Generic[V]):
    """Items by time. Keys in the store are ``prefix`` and the time.

    ``oldest``: nothing is older, though there may be nothing as old either.
    """

    __slots__ = ("_prefix", "_store", "items", "oldest", "step")

    def __init__(self, store: MutableMapping[str, Any], prefix: str, step: int) -> None:
        self._store = store
        self._prefix = prefix
        self.items: dict[int, V] = {}
        self.oldest = INFINITY
        self.step = step

    def __bool__(self) -> bool:
        return bool(self.items)

    def get(self, at: int) -> V | None:
        """The item of that time, if there is one."""
        return self.items.get(at)

    def save(self, at: int, item: V) -> None:
        """Write an item to the store only; again after every change to it."""
        self._store[f"{self._prefix}{at}"] = item

    def attach(self, at: int, item: V) -> None:
        """Take in an item that the store already has."""
        self.items[at] = item
        self.oldest = min(self.oldest, at)

    def put(self, at: int, item: V) -> None:
        """Keep an item, here and in the store."""
        self.save(at, item)
        self.attach(at, item)

    def times(self, start: int, end: int) -> list[int]:
        """The times of the items within ``[start, end)``, ascending."""
        if not self.items:
            return []
        if (end - start) // self.step < len(self.items):
            return [at for at in range(start, end, self.step) if at in self.items]
        return sorted(at for at in self.items if start <= at < end)

    def expire(self, limit: int) -> None:
        """Delete all up to and including ``limit``."""
        if self.oldest > limit:
            return
        for at in self.times(self.oldest, limit + 1):
            self._drop(at)
        self.oldest = self._after(limit)

    def clear(self) -> None:
        """Delete everything."""
        for at in list(self.items):
            self._drop(at)
        self.oldest = INFINITY

    def _drop(self, at: int) -> None:
        del self.items[at]
        self._store.pop(f"{self._prefix}{at}", None)

    def _after(self, limit: int) -> int:
        return limit - limit % self.step + self.step if self.items else INFINITY


class BlockShelf(Shelf[Pane]):
    """The closed blocks of one level. Old ones are put together into archives.

    ``tidied``: the end of the first span that was not looked at for archiving.
    """

    __slots__ = ("_oldest_archive", "_opened", "archives", "span", "tidied")

    def __init__(self, store: MutableMapping[str, Any], prefix: str, step: int) -> None:
        super().__init__(store, prefix, step)
        self.archives: dict[int, Archive] = {}
        self.span = step * ARCHIVE_BLOCKS
        self._oldest_archive = INFINITY  # its last block; nothing in an archive is older
        self.tidied = INFINITY
        self._opened: tuple[int, dict[int, Pane]] | None = None

    def __bool__(self) -> bool:
        return bool(self.items or self.archives)

    def get(self, at: int) -> Pane | None:
        """The block that starts there, from an archive if need be, or None if it is empty."""
        found = self.items.get(at)
        if found is not None or not self.archives:
            return found
        whole = at - at % self.span
        archive = self.archives.get(whole)
        if archive is None:
            return None
        if self._opened is None or self._opened[0] != whole:
            self._opened = (whole, archive.blocks())
        return self._opened[1].get(at)

    def attach(self, at: int, item: Pane) -> None:
        """Take in a block that the store already has."""
        super().attach(at, item)
        self.tidied = min(self.tidied, at - at % self.span + self.span)

    def attach_archive(self, whole: int, archive: Archive) -> None:
        """Take in an archive that the store already has."""
        self.archives[whole] = archive
        self._oldest_archive = min(self._oldest_archive, self._last_in(whole))
        self.oldest = min(self.oldest, self._oldest_archive)

    def event_count(self, start: int, end: int) -> int:
        """How many events are in the single blocks within ``[start, end)``."""
        return sum(event_count(self.items[at].columns) for at in self.times(start, end))

    def tidy(self, before: int) -> None:
        """Put blocks of whole spans that end at or before ``before`` into archives."""
        while self.tidied <= before:
            end, self.tidied = self.tidied, self.tidied + self.span
            starts = self.times(end - self.span, end)
            size = sum(len(self.items[at].blob) for at in starts)
            if len(starts) > 1 and size <= MAX_ARCHIVE_BYTES:
                self._archive(end - self.span, starts)
            if not self.items:
                self.tidied = INFINITY
        self._opened = None

    def _archive(self, whole: int, starts: list[int]) -> None:
        archive = Archive.of({at: self.items[at] for at in starts})
        self._store[f"{self._prefix}a{whole}"] = archive
        for at in starts:
            self._drop(at)
        self.attach_archive(whole, archive)

    def expire(self, limit: int) -> None:
        """Delete all blocks up to ``limit``, archives when their last block has gone."""
        if self.oldest > limit:
            return
        if self._oldest_archive <= limit:
            for whole in [a for a in self.archives if self._last_in(a) <= limit]:
                self._drop_archive(whole)
            self._oldest_archive = min(map(self._last_in, self.archives), default=INFINITY)
        super().expire(limit)

    def clear(self) -> None:
        """Delete everything."""
        for whole in list(self.archives):
            self._drop_archive(whole)
        self._oldest_archive = INFINITY
        super().clear()

    def _drop_archive(self, whole: int) -> None:
        del self.archives[whole]
        self._store.pop(f"{self._prefix}a{whole}", None)

    def _after(self, limit: int) -> int:
        return min(super()._after(limit), self._oldest_archive)

    def _last_in(self, whole: int) -> int:
        return whole + self.span - self.step
