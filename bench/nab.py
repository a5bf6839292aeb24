"""The Numenta Anomaly Benchmark: its scoring rule, and our detectors on a copy of its corpus.

    python -m bench.nab --corpus DIR [--groups G ...] [--detector NAME] [--threshold best|T] [--json OUT]

The corpus is a directory with NAB's own ``data/<group>/<file>.csv`` and
``labels/combined_windows.json`` (github.com/numenta/NAB); it is not shipped. Every run prints the
trivial baselines beside the detector. A detector's surprise is turned into alerts as NAB counts
them (points) by a threshold and a quiet time after each alert, the one of ``reopen = "auto"``.
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerts.conditions import REOPEN_SHARE, REOPEN_WINDOWS
from ml.registry import create, names

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Profile(NamedTuple):
    """What a found window, a missed one and a false point weigh."""

    hit: float
    miss: float
    false: float


PROFILES = {
    "standard": Profile(1, 1, 0.11),
    "low_FP": Profile(1, 1, 0.22),
    "low_FN": Profile(1, 2, 0.11),
}


class Cooldown(NamedTuple):
    """No alert within ``share`` of the points seen, but ``least`` to ``most``, after another."""

    share: float = REOPEN_SHARE
    least: int = REOPEN_WINDOWS[0]
    most: int = REOPEN_WINDOWS[1]


NONE = Cooldown(0.0, 0, 0)


class Series(NamedTuple):
    """One file: times (epoch ms) and values; labelled windows as inclusive index pairs, in order."""

    name: str
    times: list[int]
    values: list[float]
    windows: list[tuple[int, int]]

    @property
    def probation(self) -> int:
        """Points at the beginning that are not scored."""
        return min(math.floor(0.15 * len(self.values)), 750)


class Result(NamedTuple):
    """A score (0: as if silent, 100: perfect) with what it was reached with."""

    score: float
    threshold: float
    false_points: int
    found: int
    windows: int


def read_corpus(corpus: Path, groups: Iterable[str] = ()) -> list[Series]:
    """Every labelled file of the corpus that is there, or of some groups of it.

    Raises:
        FileNotFoundError: there is no corpus, or nothing of these groups in it.
    """
    labels = json.loads((corpus / "labels" / "combined_windows.json").read_text(encoding="utf-8"))
    wanted = set(groups)
    found = [
        read_series(path, windows, name)
        for name, windows in sorted(labels.items())
        if (path := corpus / "data" / name).exists()
        and (not wanted or name.partition("/")[0] in wanted)
    ]
    if not found:
        msg = f"no data of {sorted(wanted) or 'any group'} under {corpus / 'data'}"
        raise FileNotFoundError(msg)
    return found


def read_series(path: Path, windows: Sequence[Sequence[str]], name: str) -> Series:
    """One NAB file (``timestamp,value``, UTC) with its labelled windows."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [(_epoch_ms(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file)]
    times = [at for at, _ in rows]
    spans = []
    for left, right in windows:
        first = int(np.searchsorted(times, _epoch_ms(left), "left"))
        last = int(np.searchsorted(times, _epoch_ms(right), "right")) - 1
        spans.append((first, last))
    return Series(name, times, [value for _, value in rows], sorted(spans))


def decimate(series: Series, by: int) -> Series:
    """The series in block means of ``by`` points: other data to guard against over-fitting."""
    n = len(series.values) // by
    values = np.asarray(series.values[: n * by]).reshape(n, by).mean(axis=1)
    windows = [(a // by, min(b // by, n - 1)) for a, b in series.windows]
    return Series(f"{series.name}/{by}", series.times[: n * by : by], values.tolist(), windows)


def surprise(detector: str, series: Series) -> Floats:
    """What a new detector scores each point before learning it; 0 while it is learning."""
    judge = create(detector)
    scores = np.zeros(len(series.values))
    for i, (at, value) in enumerate(zip(series.times, series.values, strict=True)):
        scores[i] = judge.score(value, at).score or 0.0
        judge.learn(value, at)
    return scores


def detections(scores: Floats, threshold: float, first: int, cooldown: Cooldown) -> Ints:
    """Indexes of alerts: at or above the threshold, from ``first`` on, not in a quiet time."""
    over = np.flatnonzero(scores >= threshold)
    over = over[over >= first]
    if cooldown == NONE:
        return over
    kept, quiet_until = [], -1.0
    for i in over.tolist():
        if i >= quiet_until:
            kept.append(i)
            quiet_until = i + min(max(cooldown.share * i, cooldown.least), cooldown.most)
    return np.asarray(kept, dtype=np.int64)


class Weights(NamedTuple):
    """What each point of a series earns: its window's index (-1: none), and NAB's sigmoid there."""

    window: Ints
    gain: Floats


def weigh(series: Series) -> Weights:
    """In a window 1 at its left edge, falling to 0; behind one from 0 to -1; else -1."""
    n = len(series.values)
    window, gain = np.full(n, -1, dtype=np.int64), np.full(n, -1.0)
    top = float(_sigmoid(np.array(-1.0)))
    for k, (left, right) in enumerate(series.windows):
        width = right - left + 1
        inside = np.arange(left, right + 1)
        window[inside] = k
        gain[inside] = _sigmoid(-(right - inside + 1) / width) / top
        end = series.windows[k + 1][0] if k + 1 < len(series.windows) else n
        after = np.arange(right + 1, end)
        y = (after - right) / max(width - 1, 1)
        gain[after] = np.where(y > 3, -1.0, _sigmoid(np.minimum(y, 3.0)))
    return Weights(window, gain)


def score(
    series: Sequence[Series], found: Sequence[Ints], profile: Profile
) -> tuple[float, int, int]:
    """(normalised score, false points, windows found) of detections over a corpus."""
    return _score([weigh(s) for s in series], found, profile, sum(len(s.windows) for s in series))


def best(
    series: Sequence[Series],
    scores: Sequence[Floats],
    profile: Profile,
    cooldown: Cooldown = NONE,
    threshold: float | None = None,
) -> Result:
    """The result at one threshold for all series, or at the one that serves them best."""
    weights, total = [weigh(s) for s in series], sum(len(s.windows) for s in series)
    tried = candidates(series, scores) if threshold is None else [threshold]
    results = []
    for at in tried:
        found = [
            detections(each, at, s.probation, cooldown)
            for s, each in zip(series, scores, strict=True)
        ]
        results.append(Result(*_reorder(_score(weights, found, profile, total), at), total))
    return max(results, key=lambda r: (r.score, r.threshold))


def candidates(series: Sequence[Series], scores: Sequence[Floats]) -> list[float]:
    """Thresholds worth trying: the highest scores there are, and a hundred quantiles below."""
    scored = np.concatenate([x[s.probation :] for s, x in zip(series, scores, strict=True)])
    tail = np.quantile(scored, 1 - np.logspace(-5, -0.5, 100))
    return sorted({*np.unique(scored)[-200:].tolist(), *tail.tolist()})


def _score(
    weights: Sequence[Weights], found: Sequence[Ints], profile: Profile, total: int
) -> tuple[float, int, int]:
    earned, false_points, hits = 0.0, 0, 0
    for (window, gain), points in zip(weights, found, strict=True):
        inside = window[points] >= 0
        false = points[~inside]
        earned += profile.false * float(gain[false].sum())
        false_points += len(false)
        # The earliest detection in a window has the highest gain.
        firsts: dict[int, float] = {}
        for k, g in zip(
            window[points[inside]].tolist(), gain[points[inside]].tolist(), strict=True
        ):
            firsts[k] = max(firsts.get(k, -1.0), g)
        earned += profile.hit * sum(firsts.values())
        hits += len(firsts)
    earned -= profile.miss * (total - hits)
    silent = -profile.miss * total
    span = profile.hit * total - silent
    return 100 * (earned - silent) / span if span else 0.0, false_points, hits


def _reorder(scored: tuple[float, int, int], at: float) -> tuple[float, float, int, int]:
    return scored[0], at, scored[1], scored[2]


def _sigmoid(y: Floats) -> Floats:
    return 2 / (1 + np.exp(5 * y)) - 1


def _epoch_ms(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)


def left_out(
    series: Sequence[Series], scores: Sequence[Floats], profile: Profile, cooldown: Cooldown
) -> dict[str, Result]:
    """Each group's score with the threshold that serves the *other* groups best."""
    groups = [s.name.partition("/")[0] for s in series]
    out = {}
    for group in sorted(set(groups)):
        ours = [i for i, g in enumerate(groups) if g == group]
        rest = [i for i, g in enumerate(groups) if g != group]
        if not rest or not any(series[i].windows for i in ours):
            continue
        at = best([series[i] for i in rest], [scores[i] for i in rest], profile, cooldown).threshold
        mine = [series[i] for i in ours], [scores[i] for i in ours]
        out[group] = best(*mine, profile, cooldown, at)
    return out


def run(
    series: Sequence[Series], detector: str, threshold: float | None
) -> dict[str, dict[str, Any]]:
    """Results per profile of a detector and the baselines: name -> profile -> result."""
    report: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys([detector, "zscore", "metronome"]):
        scores = [surprise(name, s) for s in series]
        cooldown = NONE if name == "metronome" else Cooldown()
        at = threshold if name == detector else None
        report[name] = {
            label: best(series, scores, profile, cooldown, at)._asdict()
            for label, profile in PROFILES.items()
        }
        if name == detector:
            others = left_out(series, scores, PROFILES["standard"], cooldown)
            report[name]["left_out"] = {g: r._asdict() for g, r in others.items()}
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.nab", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--corpus", type=Path, required=True, help="a copy of NAB")
    parser.add_argument(
        "--groups", nargs="*", default=[], help="only these (default: all there are)"
    )
    parser.add_argument("--detector", default="novelty", choices=names())
    parser.add_argument("--threshold", default="best", help="'best' for the corpus, or a number")
    parser.add_argument("--json", type=Path, help="also write the results there")
    args = parser.parse_args(arguments)
    try:
        series = read_corpus(args.corpus, args.groups)
        threshold = None if args.threshold == "best" else float(args.threshold)
    except (OSError, ValueError) as exc:
        print(f"bench.nab: {exc}", file=sys.stderr)
        return 2
    report = run(series, args.detector, threshold)
    _show(series, report)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return 0


def _show(series: Sequence[Series], report: dict[str, dict[str, Any]]) -> None:
    points, windows = sum(len(s.values) for s in series), sum(len(s.windows) for s in series)
    print(
        f"{len(series)} files, {points:,} points, {windows} labelled windows; one threshold for all"
    )
    print(
        f"{'detector':12} {'profile':10} {'score':>6} {'threshold':>10} {'found':>8} {'false':>6}"
    )
    for name, profiles in report.items():
        for label, r in profiles.items():
            if label == "left_out":
                continue
            found = f"{r['found']}/{r['windows']}"
            print(
                f"{name:12} {label:10} {r['score']:6.2f} {r['threshold']:10.4g} {found:>8}"
                f" {r['false_points']:6}"
            )
        for group, r in profiles.get("left_out", {}).items():
            print(f"  {group}, threshold from the other groups: {r['score']:.2f} standard")


if __name__ == "__main__":
    sys.exit(main())
