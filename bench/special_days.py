"""Public holidays with and without a calendar: false alarms on them, and incidents found on them.

    python -m bench.special_days [--seeds 3] [--pane 60] [--score 1.0]

A made-up series of eight weeks (daily and weekly curve, noise) that on the five French holidays of
spring 2026 is lower, later and flatter. Counted are windows at or above the score. Then an hour at
30 % of what is usual is put into each holiday but the first, one a run: found if a window of it
reaches the score and none of the three hours before did. Through the judge that the worker has;
beside it the trivial answer, to say nothing on holidays. The series is ours: nothing was tuned on it.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
import random
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from agents.detectors import DetectorChoice
from agents.judging import JUDGE_STORES, RuleBook, RuleJudge
from models.config import WindowSpec
from models.detection import CalendarSpec
from models.records import LIVE, Value, Window

CALENDAR = CalendarSpec("UTC", ("FR",))
START = dt.datetime(2026, 4, 1, tzinfo=dt.UTC)
HOLIDAYS = tuple(
    dt.datetime(2026, month, day, tzinfo=dt.UTC)
    for month, day in ((4, 6), (5, 1), (5, 8), (5, 14), (5, 25))
)
HOUR = 3_600_000
_DAY = 24 * HOUR
_DAYS = 56


class Judged(NamedTuple):
    """One window's start and what was judged of it."""

    at: int
    value: Value


def epoch(when: dt.datetime) -> int:
    """Epoch ms."""
    return int(when.timestamp() * 1000)


def series(seed: int, pane: int, incident: int | None = None) -> Iterator[tuple[int, float]]:
    """(start, value) of every pane (ms); an incident takes an hour to 30 %."""
    draw, first = random.Random(seed), epoch(START)
    special = {epoch(day) // _DAY for day in HOLIDAYS}
    for at in range(first, first + _DAYS * _DAY, pane):
        hour = at % _DAY / HOUR
        if at // _DAY in special:
            value = 60 + 35 * math.sin(2 * math.pi * (hour - 12) / 24)
        else:
            depth = 60 if (at // _DAY + 3) % 7 < 5 else 48
            value = 100 + depth * math.sin(2 * math.pi * (hour - 9) / 24)
        value = draw.gauss(value, 4)
        yield at, value * 0.3 if incident is not None and 0 <= at - incident < HOUR else value


def run(
    seed: int, pane: int, calendar: CalendarSpec | None, incident: int | None = None
) -> tuple[list[Judged], dict[str, Any]]:
    """Every window as it was judged, and the judge's state after the last."""
    spec = WindowSpec(pane, pane, 0, detect=True, retention=1)
    judge = RuleJudge(RuleBook([]), [pane], DetectorChoice((), calendar))
    state: dict[str, Any] = {store.name: {} for store in JUDGE_STORES}
    out = []
    for at, value in series(seed, pane, incident):
        values = {"plays": Value(value, value)}
        window = Window("demo", "demo|all{}", LIVE, at, at + pane, pane, pane, 1, values)
        out.append(Judged(at, judge(window, spec, state)[0].values["plays"]))
    return out, state


def alarms(judged: list[Judged], score: float) -> tuple[int, int]:
    """Windows at or above the score: (on holidays, on other days)."""
    special = {epoch(day) // _DAY for day in HOLIDAYS}
    hits = [j.at // _DAY in special for j in judged if (j.value.score or 0.0) >= score]
    return sum(hits), len(hits) - sum(hits)


def is_found(judged: list[Judged], incident: int, score: float) -> bool:
    """Whether the incident's hour reaches the score and the three hours before do not."""

    def reached(start: int, end: int) -> bool:
        return any((j.value.score or 0.0) >= score for j in judged if start <= j.at < end)

    return reached(incident, incident + HOUR) and not reached(incident - 3 * HOUR, incident)


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.special_days")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pane", type=int, default=60, help="seconds a window")
    parser.add_argument("--score", type=float, default=1.0)
    args = parser.parse_args(argv)
    pane, total = 1000 * args.pane, args.seeds * (len(HOLIDAYS) - 1)
    print("| | windows on holidays | on other days | incidents found | CPU µs a window | bytes |")
    print("|---|---|---|---|---|---|")
    for name, calendar in (("without a calendar", None), ("with", CALENDAR)):
        on = off = found = size = 0
        worst = 0
        began = time.process_time()
        for seed in range(args.seeds):
            judged, state = run(seed, pane, calendar)
            holiday, other = alarms(judged, args.score)
            on, off, worst = on + holiday, off + other, max(worst, holiday)
            detectors = [d for kept in state["detectors"].values() for d in kept.values()]
            size = max(size, sum(len(d.dump()) for d in detectors))
        cost = (time.process_time() - began) / (args.seeds * _DAYS * _DAY / pane) * 1e6
        for seed in range(args.seeds):
            for day in HOLIDAYS[1:]:
                incident = epoch(day) + 15 * HOUR
                found += is_found(run(seed, pane, calendar, incident)[0], incident, args.score)
        print(f"| {name} | {on} (worst seed {worst}) | {off} | {found} of {total} "
              f"| {cost:.0f} | {size:,} |")  # fmt: skip
    print(f"| nothing said on holidays | 0 | as without | 0 of {total} | | |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
