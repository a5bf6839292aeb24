"""A stream's windows beside the batch job's: what is missing, what is wrong, and what is too much."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from models.records import Value, Window
from storage.sqlite_windows import unpack
from tests.support.oracle import Expected, Spread, WindowKey

QUANTILE_ERROR = 0.01
DISTINCT_ERROR = 0.016
"""The standard error that is published; one estimate in thousands is off by five times as much."""


class Found(NamedTuple):
    """A window as it was stored or published."""

    count: int
    late: int
    revision: int
    values: Mapping[str, Value]


def of_windows(windows: Iterable[Window]) -> dict[WindowKey, Found]:
    """Published windows as a store keeps them: the one with most plays, then the highest revision."""
    found: dict[WindowKey, Found] = {}
    for w in windows:
        key = (w.group, w.stream, w.size, w.slide, w.start)
        known = found.get(key)
        if known is None or (known.count, known.revision) < (w.count, w.revision):
            found[key] = Found(w.count, w.late, w.revision, w.values)
    return found


def of_sqlite(path: Path) -> dict[WindowKey, Found]:
    """All windows of plays in an embedded store."""
    query = """
        SELECT g.key, g.stream, k.size, k.slide, w.start, w.count, w.late, w.revision, w.measures,
            g.measures
        FROM windows AS w JOIN groups AS g ON g.id = w.group_id JOIN kinds AS k ON k.id = w.kind_id
        WHERE NOT g.metric
    """
    found: dict[WindowKey, Found] = {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        for *key, count, late, revision, blob, measures in db.execute(query):
            group, stream, size, slide, start = key
            names = msgspec.json.decode(measures, type=list[str])
            slots = {name: unpack(blob, slot) for slot, name in enumerate(names)}
            values = {name: value for name, value in slots.items() if value is not None}
            found[group, stream, size, slide, start] = Found(count, late, revision, values)
    return found


@dataclass
class Comparison:
    """How stored windows differ from the expected ones.

    ``missing`` windows are not there; ``short`` ones hold fewer plays than they must; ``wrong`` ones
    hold as many and say something else; ``foreign`` ones should be empty or not exist. ``excess`` is by
    how many plays a window exceeds what it must hold.
    """

    compared: int = 0
    missing: list[WindowKey] = field(default_factory=list)
    short: list[tuple[WindowKey, int, int]] = field(default_factory=list)
    wrong: list[tuple[WindowKey, str, float | None, float | None]] = field(default_factory=list)
    foreign: list[tuple[WindowKey, int]] = field(default_factory=list)
    excess: dict[WindowKey, int] = field(default_factory=dict)

    @property
    def faults(self) -> list[str]:
        """All that must not be, the first few of each kind; empty if nothing is."""
        found: list[str] = []
        for name in ("missing", "short", "wrong", "foreign"):
            all_of_them = getattr(self, name)
            found += [f"{name}: {item}" for item in all_of_them[:5]]
            if len(all_of_them) > 5:
                found.append(f"{name}: {len(all_of_them)} in all")
        return found

    def counted_twice(self, size: int) -> int:
        """Plays too many in the tumbling windows of one size over everything, where each play is once."""
        return sum(
            plays for (group, _, its_size, slide, _), plays in self.excess.items()
            if its_size == slide == size and group.partition("|")[2].startswith("all{")
        )  # fmt: skip


def compare(
    found: Mapping[WindowKey, Found],
    wanted: Mapping[WindowKey, Expected],
    measures: Collection[str],
) -> Comparison:
    """Compare every window. One that exceeds is not looked at further: its shares may be off too."""
    result = Comparison(compared=len(wanted))
    for key, want in wanted.items():
        got = found.get(key)
        if got is None:
            if want.certain:
                result.missing.append(key)
        elif got.count < want.n:
            result.short.append((key, got.count, want.n))
        elif got.count > want.n:
            result.excess[key] = got.count - want.n
        else:
            result.wrong += [(key, *fault) for fault in _faults(got, want, measures)]
    return result


def refuse_foreign(
    result: Comparison, found: Mapping[WindowKey, Found], wanted: Mapping[WindowKey, Expected]
) -> None:
    """Note windows that hold plays and are not expected. Empty ones fill gaps, and are."""
    result.foreign += [
        (key, got.count) for key, got in found.items() if got.count and key not in wanted
    ]


def _faults(
    got: Found, want: Expected, measures: Collection[str]
) -> Iterable[tuple[str, float | None, float | None]]:
    late = want.n - want.on_time
    if got.late != late:
        yield "late", got.late, late
    exact = {
        "plays": float(want.n),
        "eligible_plays": float(want.eligible),
        "error_rate": want.failed / want.n,
        "skip_rate": want.skipped / want.n,
        "completion": want.completion,
    }
    for name, number in exact.items():
        if name not in measures:
            continue
        value = got.values.get(name)
        if value is None or not _is_close(value.value, number, 1e-10):
            yield name, value and value.value, number


def compare_spreads(
    found: Mapping[WindowKey, Found], wanted: Iterable[tuple[WindowKey, Spread]], result: Comparison
) -> float:
    """Note quantiles off by more than 1 % and listeners off by five standard errors.

    Windows that are missing or exceed are passed over. Returns the root mean square of the relative
    error of distinct listeners over windows with a hundred or more.
    """
    passed_over = {*result.excess, *result.missing, *(key for key, _, _ in result.short)}
    squares: list[float] = []
    for key, want in wanted:
        got = found.get(key)
        if got is None or key in passed_over:
            continue
        for name, number in (("startup_p50", want.p50), ("startup_p95", want.p95)):
            value = got.values[name].value
            if not _is_close(value, number, QUANTILE_ERROR * 1.001):
                result.wrong.append((key, name, value, number))
        listeners = got.values["listeners"].value or 0.0
        off = abs(listeners - want.listeners)
        if off > max(2.0, 5 * DISTINCT_ERROR * want.listeners):
            result.wrong.append((key, "listeners", listeners, want.listeners))
        if want.listeners >= 100:
            squares.append((off / want.listeners) ** 2)
    return math.sqrt(sum(squares) / len(squares)) if squares else 0.0


def _is_close(got: float | None, want: float | None, relative: float) -> bool:
    if got is None or want is None:
        return got is want
    return math.isclose(got, want, rel_tol=relative, abs_tol=1e-12)
