"""From windows to series: which series a group's window holds, and what of it can be stored.

A window carries all measures of its dimension group; people ask for series. The keys that lead
from one to the other are made here and nowhere else. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from models.config import METRIC_PREFIX
from models.errors import ConfigurationError
from models.records import Value, Window
from models.series import format_key, parse_key

METRIC_MEASURE = "value"
"""The one measure of a metric's windows; its series is called by the metric's name."""


class Group(NamedTuple):
    """The parts of a group key. ``name`` is the dimension group's, or the metric's name."""

    tenant: str
    name: str
    tags: tuple[tuple[str, str], ...]
    metric: bool

    def series_key(self, measure: str) -> str:
        """The key of this group's series of one measure."""
        name = self.name if self.metric and measure == METRIC_MEASURE else measure
        return format_key(self.tenant, name, dict(self.tags))


class Order(NamedTuple):
    """What makes one window of a group newer than another: the greater tuple is the newer.

    The later start; of two that start together the finer; of one window the version with more
    events, or of as many the later revision (after a crash revisions are counted again).
    """

    start: int
    minus_size: int
    events: int
    revision: int


@lru_cache(maxsize=50_000)
def parse_group(key: str) -> Group:
    """The parts of a group's key.

    Raises:
        ConfigurationError: the text is not a key.
    """
    tenant, name, tags = parse_key(key)
    metric = name.startswith(METRIC_PREFIX)
    return Group(tenant, name.removeprefix(METRIC_PREFIX) if metric else name, tags, metric)


def series_of(window: Window) -> Iterator[tuple[str, str, Value]]:
    """Each series of a window: its key, its measure, its value.

    For plays the name in the key is the measure's, for metrics the metric's.
    """
    group = parse_group(window.group)
    for measure, value in window.values.items():
        yield group.series_key(measure), measure, value


def newness(window: Window) -> Order:
    """How new a window is among those of its group and stream."""
    return Order(window.start, -window.size, window.count, window.revision)


def fault(window: Window) -> str | None:
    """Why a window cannot be stored, as a counter's label; None where it can.

    None of these is ever published by Backbeat; one on the topic must not stop a sink for good.
    """
    try:
        group = parse_group(window.group)
    except ConfigurationError:
        return "group_key"
    if group.tenant != window.tenant:
        return "foreign_tenant"
    if window.slide <= 0 or window.size < window.slide or window.start % window.slide:
        return "misaligned"
    return None


def search_text(key: str, tags: Mapping[str, str]) -> str:
    """What a search for a series looks in: its key, and its tags as they were before escaping."""
    return " ".join([key, *(f"{k}={v}" for k, v in sorted(tags.items()))]).casefold()
