"""Series whose anomalies have a known cause, through a detector and the shipped metric rule.

    python -m bench.known_cause --corpus DIR [--detector NAME] [--score S] [--groups realKnownCause]

Not NAB's score but what a person on call would count: labelled windows in which an alert began,
alerts in them, alerts outside. Beside the detector run a z-score under the same rule and a
metronome, both tuned to give about as many alerts. Nothing is left out: every alert counts, from
the first value on. This runs the pure code; the counting is shared with runs through a broker.
"""

from __future__ import annotations

import argparse
import bisect
import statistics
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec

from alerts.conditions import advance
from alerts.rules import Rule, load_rules
from alerts.rulestate import RuleState
from bench.nab.corpus import Series, read_corpus
from ml.registry import create, names
from models.config import load_series_config
from models.records import LIVE, Value, Window

ROOT = Path(__file__).parents[1]
RULE = "metric-unusual"


class Counts(NamedTuple):
    """Of one series or of several together."""

    windows: int
    hit: int
    inside: int
    outside: int
    days: float

    @property
    def alerts(self) -> int:
        return self.inside + self.outside


def together(counts: Sequence[Counts]) -> Counts:
    """The counts of several series as one."""
    return Counts(
        sum(c.windows for c in counts), sum(c.hit for c in counts), sum(c.inside for c in counts),
        sum(c.outside for c in counts), sum(c.days for c in counts),
    )  # fmt: skip


def count_alerts(
    times: Sequence[int], windows: Sequence[tuple[int, int]], days: float = 0.0
) -> Counts:
    """Count alerts by when they began against labelled windows, all in epoch ms, ends inclusive."""
    hit, inside = set(), 0
    for at in times:
        within = [k for k, (left, right) in enumerate(windows) if left <= at <= right]
        hit.update(within)
        inside += bool(within)
    return Counts(len(windows), len(hit), inside, len(times) - inside, days)


def spans(series: Series) -> list[tuple[int, int]]:
    """The labelled windows in epoch ms."""
    return [(series.times[a], series.times[b]) for a, b in series.windows]


def panes(series: Series) -> tuple[int, list[tuple[int, float]]]:
    """(pane size in ms, [(start, mean value)]): panes as wide as the samples usually lie apart."""
    steps = [b - a for a, b in zip(series.times, series.times[1:], strict=False) if b > a]
    size = max(1000, round(statistics.median(steps) / 1000) * 1000)
    samples = sorted(zip(series.times, series.values, strict=True))
    means = [
        (start, statistics.fmean(value for _, value in group))
        for start, group in groupby(samples, key=lambda s: s[0] // size * size)
    ]
    return size, means


def judged(series: Series, detector: str) -> list[tuple[Window, Value]]:
    """Every pane of a series with the detector's verdict on it."""
    judge = create(detector)
    size, means = panes(series)
    key = "bench|metric:" + series.name.replace("/", ".") + "{}"
    out = []
    for start, mean in means:
        verdict = judge.score(mean, start)
        judge.learn(mean, start)
        value = Value(mean, 1.0, verdict.score, verdict.low, verdict.high, verdict.score is None)
        window = Window("bench", key, LIVE, start, start + size, size, size, 1, {"value": value})
        out.append((window, value))
    return out


def alert_times(rule: Rule, windows: Sequence[tuple[Window, Value]]) -> list[int]:
    """When each alert of the rule began (start of its first breaching window, epoch ms)."""
    state: RuleState | None = None
    times = []
    for window, value in windows:
        key = window.group.replace("metric:", "")
        state, findings = advance(rule, state, window, value, key)
        times += [f.since for f in findings if f.state == "firing"]
    return times


def metronome_times(series: Series, alerts: int) -> list[int]:
    """``alerts`` instants, evenly spread over the series."""
    n = len(series.times)
    return [series.times[(k + 1) * n // (alerts + 1)] for k in range(alerts)]


def same_number(
    rule: Rule, judgements: Sequence[Sequence[tuple[Window, Value]]], alerts: int
) -> float:
    """The threshold at which a detector gives about as many alerts as ``alerts``."""
    tried = sorted({v.score for each in judgements for _, v in each if v.score is not None})

    def excess(i: int) -> int:
        at = with_score(rule, tried[i])
        return alerts - sum(len(alert_times(at, each)) for each in judgements)

    return tried[min(bisect.bisect_left(range(len(tried)), 0, key=excess), len(tried) - 1)]


def with_score(rule: Rule, score: float) -> Rule:
    """The rule with another threshold."""
    return msgspec.structs.replace(rule, threshold=score)


def shipped_rule() -> Rule:
    """The rule on metrics that config/rules.toml ships."""
    series = load_series_config(ROOT / "config" / "series.toml")
    rules, _ = load_rules(ROOT / "config" / "rules.toml", series)
    return next(r for r in rules if r.id == RULE)


def compare(corpus: Sequence[Series], detector: str, rule: Rule) -> dict[str, list[Counts]]:
    """Counts per series of the detector and of both baselines, by a label that says how set."""

    def counts(s: Series, times: Sequence[int]) -> Counts:
        days = (s.times[-1] - s.times[0]) / 86_400_000
        return count_alerts(times, spans(s), days)

    ours = [alert_times(rule, judged(s, detector)) for s in corpus]
    total = sum(map(len, ours))
    others = [judged(s, "zscore") for s in corpus]
    level = with_score(rule, same_number(rule, others, total))
    share = total / sum(len(s.times) for s in corpus)
    beats = [metronome_times(s, round(share * len(s.times))) for s in corpus]
    return {
        f"{detector} >= {rule.threshold:g}": [
            counts(s, t) for s, t in zip(corpus, ours, strict=True)
        ],
        f"zscore >= {level.threshold:.3g}": [
            counts(s, alert_times(level, j)) for s, j in zip(corpus, others, strict=True)
        ],
        "metronome": [counts(s, t) for s, t in zip(corpus, beats, strict=True)],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    about = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m bench.known_cause", description=about)
    parser.add_argument("--corpus", type=Path, required=True, help="a copy of NAB")
    parser.add_argument("--groups", nargs="*", default=["realKnownCause"])
    parser.add_argument("--detector", default="novelty", choices=names())
    parser.add_argument("--score", type=float, help="threshold (default: the shipped rule's)")
    args = parser.parse_args(arguments)
    try:
        corpus = read_corpus(args.corpus, args.groups)
    except OSError as exc:
        print(f"bench.known_cause: {exc}", file=sys.stderr)
        return 2
    rule = shipped_rule()
    if args.score is not None:
        rule = with_score(rule, args.score)
    show(corpus, compare(corpus, args.detector, rule))
    return 0


def show(corpus: Sequence[Series], table: dict[str, list[Counts]]) -> None:
    """Print windows hit / alerts inside + outside, per series and in all."""
    print("windows hit / windows: alerts inside + outside (outside a week)")
    print(f"{'':44}" + "".join(f"{label:>24}" for label in table))
    for i, s in enumerate(corpus):
        print(f"{s.name:44}" + "".join(f"{_cell(c[i]):>24}" for c in table.values()))
    totals = [together(c) for c in table.values()]
    print(f"{'all':44}" + "".join(f"{_cell(c):>24}" for c in totals))


def _cell(c: Counts) -> str:
    weekly = f" ({7 * c.outside / c.days:.2f})" if c.days else ""
    return f"{c.hit}/{c.windows}: {c.inside}+{c.outside}{weekly}"


if __name__ == "__main__":
    sys.exit(main())
