"""Stored windows as a detector would have seen them: of one size, not overlapping, oldest first."""

from __future__ import annotations

import re

from api.services.series import GAUGE, SeriesReader
from ml.life import selects
from models.learning import Selector
from models.series import SeriesKey, parse_key
from storage.cursors import MAX_LIMIT
from storage.protocols import Point, Queries, SeriesInfo

_PAGE = 500

MAX_MATCHING = 10_000
"""Series that are counted for an answer."""

_GLOB = re.compile(r"([*?[])")


class HistoryReader:
    """Finds series and reads their windows."""

    def __init__(self, queries: Queries, series: SeriesReader) -> None:
        self._queries = queries
        self._series = series

    async def matching(self, tenant: str, selector: Selector, most: int) -> list[SeriesInfo]:
        """Series that a selector takes in, busiest first; stops after ``most``."""
        found: list[SeriesInfo] = []
        cursor: str | None = None
        while len(found) < most:
            page, cursor = await self._queries.series(
                tenant, "", {}, _PAGE, cursor, selector.stream
            )
            found += [info for info in page if _selects(selector, info)]
            if cursor is None:
                break
        return found[:most]

    async def one(self, tenant: str, key: str, stream: str | None) -> SeriesInfo | None:
        """The series of exactly this key and stream (None: of any), if it has been seen."""
        cursor: str | None = None
        while True:
            page, cursor = await self._queries.series(tenant, key, {}, _PAGE, cursor, stream)
            for info in page:
                if info.key == key:
                    return info
            if cursor is None:
                return None

    def size_of(self, info: SeriesInfo) -> int:
        """The size in ms of the windows of a series that detectors judge."""
        measure = self._series.measure(parse_key(info.key))
        detect = self._series.detect
        return info.size if measure.kind == GAUGE or detect is None else detect

    async def windows(
        self, info: SeriesInfo, size: int, since: int, until: int, most: int | None = None
    ) -> list[Point]:
        """Windows that start in [since, until) and do not overlap; the oldest ``most``."""
        tenant = parse_key(info.key).tenant
        found: list[Point] = []
        while most is None or len(found) < most:
            page = await self._queries.windows(
                tenant, info.key, info.stream, since, until, size, size, MAX_LIMIT
            )
            found += [point for point in page if point.start % size == 0]
            if len(page) < MAX_LIMIT:
                break
            since = page[-1].start + 1
        return found[:most]


def _selects(selector: Selector, info: SeriesInfo) -> bool:
    return selects(selector, info.tags, parse_key(info.key).name, info.stream)


def exactly(key: SeriesKey) -> Selector:
    """The selector of a key: its name and tags as they are, not as globs.

    A selector cannot forbid tags: series of the same name with further tags are taken in as well.
    """
    tags = {tag: _GLOB.sub(r"[\1]", value) for tag, value in key.tags}
    return Selector(_GLOB.sub(r"[\1]", key.name), tags)
