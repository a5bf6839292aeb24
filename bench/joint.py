"""Breaks of how metrics go together: one joint detector against a detector a metric.

    python -m bench.joint [--seeds 3] [--days 4] [--quiet 1000]
    python -m bench.joint --at 4 [--held 2] [--seeds 20] [--days 14]
    python -m bench.joint --live [--hosts 200] [--minutes 160]

Four made-up metrics of a host, of which three follow its load. Every two hours, from the second day
on, one of the three shows for three minutes what it showed twelve hours before: nothing it has not
often been. Each judge gets the threshold that lets it speak in one of ``quiet`` other minutes, chosen
afterwards and so the best there is for it; counted are breaks in which it speaks, and for the joint
detector those in which the broken metric has the largest share. Beside it the largest of four
default detectors and of four z-scores (the trivial one). The data is ours: nothing was tuned on it.

``--at`` is a rule's view: alerts where every of ``held`` minutes in a row scores that much, on the same
hosts where nothing ever breaks, and the breaks in which one begins.

``--live`` measures what it costs in the stream (:mod:`bench.together`).
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from bench import together
from ml import registry
from ml.joint import JointDetector

METRICS = ("cpu", "memory", "requests", "errors")
_DAY = 1440
_EVERY, _LONG, _BACK = 120, 3, 720

Values = Mapping[str, float]
Judge = Callable[[Values, int], tuple[float, str]]


def host(days: int, seed: int, *, is_calm: bool = False) -> tuple[list[Values], dict[int, str]]:
    """Values a minute, and which metric is broken in which minutes; calm: none ever."""
    draw = random.Random(seed)
    rows: list[dict[str, float]] = []
    for i in range(days * _DAY):
        load = 100 + 50 * math.sin(2 * math.pi * i / _DAY) + draw.gauss(0, 10)
        rows.append({
            "cpu": 10 + 0.4 * load + draw.gauss(0, 1.5),
            "memory": 30 + 0.2 * load + draw.gauss(0, 1.0),
            "requests": 20 * load + draw.gauss(0, 40),
            "errors": draw.gauss(5, 1),
        })  # fmt: skip
    usual, broken = [dict(row) for row in rows], {}
    for start in () if is_calm else range(_DAY, days * _DAY - _LONG, _EVERY):
        metric = draw.choice(METRICS[:3])
        for i in range(start, start + _LONG):
            rows[i][metric] = usual[i - _BACK][metric]
            broken[i] = metric
    return list(rows), broken


def jointly() -> Judge:
    """The joint detector: its score, and the metric with the largest share."""
    detector = JointDetector(METRICS)

    def judge(values: Values, at: int) -> tuple[float, str]:
        verdict = detector.score(values, at)
        detector.learn(values, at)
        return verdict.score or 0.0, verdict.shares[0][0] if verdict.shares else ""

    return judge


def apart(name: str) -> Callable[[], Judge]:
    """A detector of this name a metric: the largest score, and whose it is."""

    def made() -> Judge:
        detectors = {metric: registry.create(name) for metric in METRICS}

        def judge(values: Values, at: int) -> tuple[float, str]:
            scores = []
            for metric, detector in detectors.items():
                scores.append((detector.score(values[metric], at).score or 0.0, metric))
                detector.learn(values[metric], at)
            return max(scores)

        return judge

    return made


def measure(made: Callable[[], Judge], days: int, seed: int, quiet: int) -> tuple[int, int, int]:
    """(breaks, those it speaks in, those in which it names the broken metric at its highest)."""
    rows, broken = host(days, seed)
    judge = made()
    said = [judge(values, i * 60_000) for i, values in enumerate(rows)]
    usual = sorted(score for i, (score, _) in enumerate(said) if i >= _DAY and i not in broken)
    threshold = usual[-1 - len(usual) // quiet]
    starts = [i for i in broken if i - 1 not in broken]
    peaks = {i: max(said[i : i + _LONG]) for i in starts}
    found = [i for i in starts if peaks[i][0] > threshold]
    return len(starts), len(found), sum(peaks[i][1] == broken[i] for i in found)


def rule(
    made: Callable[[], Judge], days: int, seed: int, at: float, held: int
) -> tuple[int, int, int]:
    """(alerts after the first day where nothing breaks, breaks, those in which an alert begins)."""
    calm, broken = host(days, seed, is_calm=True)[0], host(days, seed)
    begun = [i for i in begins(made, calm, at, held) if i >= _DAY]
    alerts = set(begins(made, broken[0], at, held))
    starts = [i for i in broken[1] if i - 1 not in broken[1]]
    return len(begun), len(starts), sum(any(i + k in alerts for k in range(_LONG)) for i in starts)


def begins(made: Callable[[], Judge], rows: Iterable[Values], at: float, held: int) -> list[int]:
    """The minutes in which a score has been at least ``at`` for ``held`` minutes, and no more."""
    judge, run, found = made(), 0, []
    for i, values in enumerate(rows):
        run = run + 1 if judge(values, i * 60_000)[0] >= at else 0
        if run == held:
            found.append(i)
    return found


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.joint")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--days", type=int, default=4)
    parser.add_argument("--quiet", type=int, default=1000)
    parser.add_argument("--at", type=float, help="a rule's score")
    parser.add_argument("--held", type=int, default=2, help="minutes in a row")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--minutes", type=int, default=160)
    args = parser.parse_args(argv)
    if args.live:
        print(together.run(lambda seed: host(1, seed)[0], args.hosts, args.minutes, METRICS))
        return 0
    judges = {
        "joint": jointly,
        "novelty a metric": apart("novelty"),
        "zscore a metric": apart("zscore"),
    }
    if args.at is not None:
        print("| | alerts a week where nothing breaks | worst seed | breaks found | worst seed |")
        print("|---|---|---|---|---|")
        for name, made in judges.items():
            seeds = [rule(made, args.days, seed, args.at, args.held) for seed in range(args.seeds)]
            weeks = (args.days - 1) / 7
            false, breaks, found = (sum(column) for column in zip(*seeds, strict=True))
            print(
                f"| {name} | {false / weeks / args.seeds:.1f} | {max(f for f, *_ in seeds) / weeks:.1f}"
                f" | {found} of {breaks} | {min(f / b for _, b, f in seeds):.0%} |"
            )
        return 0
    print("| | breaks found | worst seed | broken metric named | CPU µs an instant |")
    print("|---|---|---|---|---|")
    for name, made in judges.items():
        began = time.process_time()
        results = [measure(made, args.days, seed, args.quiet) for seed in range(args.seeds)]
        cost = (time.process_time() - began) / (args.seeds * args.days * _DAY) * 1e6
        breaks, found, named = (sum(column) for column in zip(*results, strict=True))
        worst = min(f / b for b, f, _ in results)
        print(f"| {name} | {found} of {breaks} | {worst:.0%} | {named} | {cost:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
