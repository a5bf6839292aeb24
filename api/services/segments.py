"""Segments of listeners, as their topic holds them."""

from __future__ import annotations

from api.problems import UnavailableError
from models.segments import Segment
from storage.compacted import MemoryTable


class SegmentReader:
    """The segments that the topic ``segment-descriptions`` holds."""

    def __init__(self, table: MemoryTable | None) -> None:
        """Without a table every request is refused (503)."""
        self._table = table

    def all(self, tenant: str) -> list[Segment]:
        """A tenant's segments, the largest first; none before there are enough listeners.

        Raises:
            UnavailableError: the topic has not been read to its end yet.
        """
        if self._table is None or not self._table.is_complete:
            msg = "the segments have not been read from their topic yet"
            raise UnavailableError(msg)
        mine = [segment for segment in self._table.values() if segment.tenant == tenant]
        return sorted(mine, key=lambda segment: (-segment.size, segment.id))
