"""What a batch job makes of the same plays: an independent answer to compare a stream's with.

Written from the product's promises and ``config/series.toml``; shares no code with ``tables``. It reads
records as Kafka holds them and says which are rejected, duplicates, late or eligible, and what every
window comes to.
"""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from models.config import parse_duration
from models.flow import Headers, header
from models.records import LIVE
from models.series import format_key
from models.topics import END_HEADER, STREAM_HEADER

DAY = 86_400_000
YEAR_2000 = 946_684_800_000
MEMORY_MINUTES = 10
"""An event id is remembered for so many minutes of Kafka time at least."""

_TEXTS = ("tenant_id", "listener_id", "track_id", "artist_id", "platform", "source", "plan")
_NUMBERS = ("ms_played", "track_ms")
TAGS = ("country", "platform", "source", "plan")


class Stored(NamedTuple):
    """A record as it stands in a partition."""

    offset: int
    timestamp: int
    value: bytes | None
    headers: Headers = ()


class WindowKind(NamedTuple):
    """A size and slide of windows, and their grace; ms."""

    size: int
    slide: int
    grace: int


@dataclass(frozen=True)
class Definitions:
    """What the configuration says, read anew."""

    pane: int
    lateness: int
    future: int
    kinds: tuple[WindowKind, ...]
    groups: tuple[tuple[str, ...], ...]
    measures: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> Definitions:
        """From a series file."""
        return cls.of(tomllib.loads(path.read_text(encoding="utf-8")))

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Definitions:
        """From what a series file holds."""
        kinds = (
            WindowKind(*(parse_duration(w[k]) for k in WindowKind._fields)) for w in raw["windows"]
        )
        groups = tuple(tuple(sorted(g)) for g in raw["plays"]["groups"])
        time = {name: parse_duration(text) for name, text in raw["time"].items()}
        measures = frozenset(m["name"] for m in raw["plays"]["measures"])
        return cls(time["pane"], time["lateness"], time["future"], tuple(kinds), groups, measures)

    @property
    def longest_grace(self) -> int:
        """What is later than this corrects no window."""
        return max(kind.grace for kind in self.kinds)


@dataclass
class Verdicts:
    """What became of each record. ``plays`` are the accepted ones, in a frame.

    ``rejected`` are (partition, offset); ``tops`` the newest event time by (tenant, stream, partition);
    ``ended`` the (stream, partition) that met an end marker.
    """

    plays: pl.DataFrame = field(default_factory=pl.DataFrame)
    rejected: set[tuple[int, int]] = field(default_factory=set)
    duplicates: set[tuple[int, int]] = field(default_factory=set)
    beyond: set[tuple[int, int]] = field(default_factory=set)
    tops: dict[tuple[str, str, int], int] = field(default_factory=dict)
    ended: set[tuple[str, int]] = field(default_factory=set)

    def counts(self) -> dict[str, int]:
        """How many records of each fate, for a report."""
        late = self.plays["late"].sum() if len(self.plays) else 0
        return {
            "accepted": len(self.plays), "late": int(late), "beyond grace": len(self.beyond),
            "duplicates": len(self.duplicates), "rejected": len(self.rejected),
        }  # fmt: skip


# -- one record at a time -----------------------------------------------------------------------------


def read_play(value: bytes | None, timestamp: int, future: int, tenants: Iterable[str]) -> Any:
    """A play as a dict with ``started_at`` in ms, or None if it is none."""
    try:
        play = json.loads((value or b"").decode("utf-8"), parse_constant=_refuse)
        if not isinstance(play, dict) or play["tenant_id"] not in tenants:
            return None
        texts = all(isinstance(play[name], str) and play[name] for name in _TEXTS)
        numbers = all(type(play[name]) is int and 0 <= play[name] <= DAY for name in _NUMBERS)
        play["started_at"] = at = _epoch(play["started_at"])
        play["country"] = country = play["country"].upper()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    is_code = len(country) == 2 and country.isascii() and country.isalpha()
    in_time = YEAR_2000 <= at <= timestamp + future
    return play if texts and numbers and is_code and in_time else None


def _refuse(name: str) -> float:
    raise ValueError(name)


def _epoch(time: Any) -> int:
    if isinstance(time, str):
        return round(datetime.fromisoformat(time).timestamp() * 1000)
    if type(time) is not int:
        raise ValueError(time)
    return time


class _Memory:
    """Event ids of one source partition, by the minute (of Kafka's time) they came in."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str, str], int] = {}
        self._minute = 0

    def is_new(self, key: tuple[str, str, str] | None, timestamp: int) -> bool:
        self._minute = max(self._minute, timestamp // 60_000)
        if key is None:
            return True
        before = self._seen.get(key)
        if before is not None and self._minute - before <= MEMORY_MINUTES:
            return False
        self._seen[key] = self._minute
        return True


def judge(
    partitions: Sequence[Sequence[Stored]], known: Definitions, tenants: Sequence[str]
) -> Verdicts:
    """The fate of every record of every source partition."""
    verdicts = Verdicts()
    rows: list[dict[str, Any]] = []
    for number, records in enumerate(partitions):
        rows += _judge_partition(number, records, known, tenants, verdicts)
    verdicts.plays = pl.DataFrame(rows, infer_schema_length=None)
    return verdicts


def _judge_partition(
    number: int,
    records: Sequence[Stored],
    known: Definitions,
    tenants: Sequence[str],
    verdicts: Verdicts,
) -> Iterator[dict[str, Any]]:
    memory, plays_today = _Memory(), Counter[tuple[str, ...]]()
    for record in records:
        place = (number, record.offset)
        stream = header(record.headers, STREAM_HEADER) or LIVE
        if record.value is None and header(record.headers, END_HEADER) is not None:
            verdicts.ended.add((stream, number))
            continue
        play = read_play(record.value, record.timestamp, known.future, tenants)
        if play is None:
            verdicts.rejected.add(place)
            continue
        tenant, at = play["tenant_id"], play["started_at"]
        name = play.get("event_id")
        if not memory.is_new(name and (tenant, stream, name), record.timestamp):
            verdicts.duplicates.add(place)
            continue
        top = verdicts.tops[tenant, stream, number] = max(
            at, verdicts.tops.get((tenant, stream, number), at)
        )
        eligible = play["ms_played"] >= 30_000
        if eligible:
            day = (stream, tenant, play["listener_id"], play["track_id"], str(at // DAY))
            plays_today[day] += 1
            eligible = plays_today[day] <= 10
        behind = top - known.lateness - at
        if behind > known.longest_grace:
            verdicts.beyond.add(place)
            continue
        yield _row(play, stream, number, behind, eligible=eligible)


def _row(
    play: dict[str, Any], stream: str, partition: int, behind: int, *, eligible: bool
) -> dict[str, Any]:
    track = play["track_ms"]
    return {
        "tenant": play["tenant_id"],
        "stream": stream,
        "partition": partition,
        "at": play["started_at"],
        "late": behind > 0,
        "behind": behind,
        "eligible": eligible,
        "failed": play.get("error") is not None,
        "skipped": play.get("skipped", False),
        "startup": play.get("startup_ms"),
        "completion": min(1.0, play["ms_played"] / track) if track else None,
        "listener": play["listener_id"],
        **{tag: play[tag] for tag in TAGS},
    }


# -- windows ------------------------------------------------------------------------------------------

WindowKey = tuple[str, str, int, int, int]
"""Group key, stream, size, slide, start."""

_COUNTS = ("on_time", "n", "eligible", "failed", "skipped", "completions")


class Expected(NamedTuple):
    """One window: ``n`` plays in the end, ``on_time`` of them when it was first published.

    ``certain``: it must be there, not only may be.
    """

    n: int
    on_time: int
    eligible: int
    failed: int
    skipped: int
    completion: float | None
    certain: bool = True


class Spread(NamedTuple):
    """What cannot be merged from panes: distinct listeners, quantiles (order statistics) of start-up."""

    listeners: int
    p50: float | None
    p95: float | None


class Horizon(NamedTuple):
    """How far a (tenant, stream) has closed. ``watermark``: the furthest of its partitions' if it has
    ended, else the least. ``last``: the end of its last pane, if it has ended.
    """

    watermark: int
    last: int | None = None

    def may_hold(self, end: int, slide: int) -> bool:
        """Whether a window that ends there may have closed."""
        return end <= self.watermark if self.last is None else end - slide < self.last

    def must_hold(self, end: int, slide: int, own: int) -> bool:
        """Whether it must have closed. ``own`` is the end of its group's last pane with plays: at
        the end of a stream, a group whose plays ended before need not go on to the others' last pane.
        """
        if self.last is None:
            return end <= self.watermark
        return end - slide < max(self.watermark, own)


def horizons(
    verdicts: Verdicts, known: Definitions, partitions: int
) -> dict[tuple[str, str], Horizon]:
    """How far each (tenant, stream) is complete: the least over its source partitions."""
    found: dict[tuple[str, str], Horizon] = {}
    for tenant, stream in {(t, s) for t, s, _ in verdicts.tops}:
        tops = [verdicts.tops.get((tenant, stream, p), 0) for p in range(partitions)]
        if all((stream, p) in verdicts.ended for p in range(partitions)):
            last = max(tops) // known.pane * known.pane + known.pane
            found[tenant, stream] = Horizon(_edge(max(tops), known), last)
        else:
            found[tenant, stream] = Horizon(_edge(min(tops), known))
    return found


def _edge(top: int, known: Definitions) -> int:
    return (top - known.lateness) // known.pane * known.pane


def expected(verdicts: Verdicts, known: Definitions, partitions: int) -> dict[WindowKey, Expected]:
    """Every window that must be there in the end, of all kinds and groups, or may be.

    A sliding window that begins before its group did (before its first play on time) is not published:
    it would look like a rise.
    """
    closed = horizons(verdicts, known, partitions)
    found: dict[WindowKey, Expected] = {}
    for kind in known.kinds:
        for key, window, group in windows(verdicts.plays, known, kind):
            horizon, start = closed[group.tenant, key[1]], key[-1]
            if not horizon.may_hold(start + kind.size, kind.slide):
                continue
            if kind.size != kind.slide and (group.began is None or start < group.began):
                continue
            certain = horizon.must_hold(start + kind.size, kind.slide, group.last)
            found[key] = window._replace(certain=certain)
    return found


class GroupSpan(NamedTuple):
    """When a group had plays: the start of its first pane with any on time, the end of its last pane."""

    tenant: str
    began: int | None
    last: int


def windows(
    plays: pl.DataFrame, known: Definitions, kind: WindowKind
) -> Iterator[tuple[WindowKey, Expected, GroupSpan]]:
    """Every window of one kind that holds a play, in every group."""
    size, slide, _ = kind
    counted = _within_grace(plays, kind).with_columns(pane=pl.col("at") // known.pane * known.pane)
    for tags in known.groups:
        by = ["tenant", "stream", *tags]
        panes = counted.group_by([*by, "pane"]).agg(
            (~pl.col("late")).sum().alias("on_time"),
            pl.len().alias("n"),
            *(pl.col(name).sum() for name in ("eligible", "failed", "skipped")),
            pl.col("completion").count().alias("completions"),
            pl.col("completion").sum().alias("total"),
        )
        spans = panes.group_by(by).agg(
            pl.col("pane").filter(pl.col("on_time") > 0).min().alias("began"),
            pl.col("pane").max().alias("last"),
        )
        spread = panes.with_columns(start=_starts("pane", size, slide)).explode("start")
        sums = spread.group_by([*by, "start"]).agg(pl.col(*_COUNTS, "total").sum())
        sums = sums.join(spans, on=by)
        for row in sums.iter_rows(named=True):
            mean = row["total"] / row["completions"] if row["completions"] else None
            window = Expected(
                row["n"], row["on_time"], row["eligible"], row["failed"], row["skipped"], mean
            )
            span = GroupSpan(row["tenant"], row["began"], row["last"] + known.pane)
            yield _key(row, tags, kind), window, span


def spreads(
    plays: pl.DataFrame, known: Definitions, kind: WindowKind
) -> Iterator[tuple[WindowKey, Spread]]:
    """As :func:`windows`, for what needs each play again in each window: costly for long ones."""
    size, slide, _ = kind
    counted = _within_grace(plays, kind).with_columns(start=_starts("at", size, slide))
    counted = counted.explode("start")
    for tags in known.groups:
        found = counted.group_by(["tenant", "stream", *tags, "start"]).agg(
            pl.col("listener").n_unique().alias("listeners"),
            pl.col("startup").quantile(0.5, "lower").alias("p50"),
            pl.col("startup").quantile(0.95, "lower").alias("p95"),
        )
        for row in found.iter_rows(named=True):
            yield _key(row, tags, kind), Spread(row["listeners"], row["p50"], row["p95"])


def _starts(column: str, size: int, slide: int) -> pl.Expr:
    """The starts of all windows over a time: multiples of the slide in ``(at - size, at]``."""
    last = pl.col(column) // slide * slide
    first = (pl.col(column) - size) // slide * slide + slide
    return pl.int_ranges(first, last + 1, slide)


def _within_grace(plays: pl.DataFrame, kind: WindowKind) -> pl.DataFrame:
    """Plays that this kind still takes. How late is too late is only exact up to a window's length
    and the spread of the partitions, so that data in between is refused.
    """
    slack = kind.size + 3_600_000
    unclear = plays.filter(pl.col("behind").is_between(kind.grace, kind.grace + slack)).height
    if unclear:
        raise ValueError(f"{unclear} plays are late by about the grace of {kind}: undecidable")
    return plays.filter(pl.col("behind") <= kind.grace)


def _key(row: dict[str, Any], tags: Sequence[str], kind: WindowKind) -> WindowKey:
    name = "_".join(tags) or "all"
    group = format_key(row["tenant"], name, {tag: row[tag] for tag in tags})
    return group, row["stream"], kind.size, kind.slide, row["start"]
