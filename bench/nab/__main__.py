"""The Numenta Anomaly Benchmark: detectors on a copy of its corpus, at one threshold for all.

    python -m bench.nab --corpus DIR [--groups G ...] [--detector NAME] [--threshold best|T]
                        [--decimate 2 3] [--rescale 1.19 1.41 1.68] [--power 0.5 2 3] [--beside NAME ...]
                        [--recall R [--quiet auto|POINTS ...]] [--json OUT] [--emit DIR] [--plots DIR]

The corpus is not shipped (see bench/nab/corpus.py). NAME is one of ours, ``river:HalfSpaceTrees``
and other detectors of River as shipped, or one of the corpus' published results. Every run prints
the trivial baselines beside it; ``--beside all`` all of River's and all published ones. A surprise
becomes a detection by the threshold and a quiet time after each, the one of ``reopen = "auto"``;
published scores count at every point, as in NAB. ``--recall`` also gives each contender's best share
of alerts inside a window where at least that share of a group's windows is found, all of them with
the quiet times of ``--quiet`` (see bench/nab/operating.py).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from bench.machine import about
from bench.nab.contenders import Contest, enter, names
from bench.nab.corpus import Series, decimate, raise_to, read_corpus, rescale, thin
from bench.nab.operating import operating, quiet_time, share
from bench.nab.pictures import draw
from bench.nab.report import emit, report
from bench.nab.scoring import PROFILES, best, left_out
from ml import registry

BASELINES = ("zscore", "metronome")


def main(arguments: Sequence[str] | None = None) -> int:
    args = _arguments(arguments)
    try:
        series = read_corpus(args.corpus, args.groups)
        threshold = None if args.threshold == "best" else float(args.threshold)
        contest = enter(args.detector, args.corpus, series, args.workers)
        beside = {
            name: enter(name, args.corpus, series, args.workers)
            for name in _beside(args)
            if name != args.detector
        }
    except (OSError, ValueError) as exc:
        print(f"bench.nab: {exc}", file=sys.stderr)
        return 2
    result = {"detector": args.detector, **report(series, contest, threshold)}
    at = result["threshold"]["standard"]
    if args.decimate:
        result["decimated"] = _decimated(args, series, at)
    if args.rescale or args.power:
        result["otherwise"] = _otherwise(args, series, at)
    result["baselines"] = {
        name: report(series, other, None)["scores"] for name, other in beside.items()
    }
    result |= _operating(args, series, {args.detector: contest, **beside})
    _show(series, result)
    _write(args, series, contest, result, at)
    return 0


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    about_us = (__doc__ or "").split("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m bench.nab", description=about_us)
    parser.add_argument("--corpus", type=Path, required=True, help="a copy of NAB")
    parser.add_argument(
        "--groups", nargs="*", default=[], help="only these (default: all there are)"
    )
    parser.add_argument("--detector", default="novelty", help="ours, river:NAME, or published")
    parser.add_argument("--threshold", default="best", help="'best' for the corpus, or a number")
    parser.add_argument(
        "--decimate",
        nargs="*",
        type=int,
        default=[],
        metavar="N",
        help="also on means of N points, and on every Nth alone",
    )
    parser.add_argument(
        "--rescale",
        nargs="*",
        type=float,
        default=[],
        metavar="F",
        help="also on the same values times F: another unit, another place in a detector's cells",
    )
    parser.add_argument(
        "--power",
        nargs="*",
        type=float,
        default=[],
        metavar="P",
        help="also on the values to the power of P: a heavier or lighter tail",
    )
    parser.add_argument(
        "--beside", nargs="*", default=BASELINES, metavar="NAME", help="'all', or other detectors"
    )
    _operating_arguments(parser)
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 4))
    parser.add_argument("--json", type=Path, help="also write the results there")
    parser.add_argument("--emit", type=Path, help="also write NAB results files there")
    parser.add_argument("--plots", type=Path, help="also draw a page for each file there")
    return parser.parse_args(arguments)


def _operating_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recall",
        type=share,
        metavar="R",
        help="also each group's best share of alerts inside where this share of windows is found",
    )
    parser.add_argument(
        "--quiet",
        nargs="+",
        type=quiet_time,
        default=[quiet_time("auto")],
        metavar="Q",
        help="for --recall: 'auto', or points without another alert after one (default: auto)",
    )


def _beside(args: argparse.Namespace) -> list[str]:
    """The names of the contenders that are run for comparison."""
    if args.beside != ["all"]:
        return list(args.beside)
    return [*BASELINES, *(n for n in names(args.corpus) if n not in registry.names())]


def _decimated(
    args: argparse.Namespace, series: Sequence[Series], at: float
) -> dict[str, dict[str, float]]:
    """Standard scores on coarser copies: at their own best threshold, and at the corpus'."""
    out, standard = {}, PROFILES["standard"]
    kinds = {"means of": decimate, "every": thin}
    for (kind, coarser), by in product(kinds.items(), args.decimate):
        copies = [coarser(s, by) for s in series]
        contest = enter(args.detector, args.corpus, copies, args.workers)
        own = best(copies, contest.scores, standard, contest.cooldown)
        same = best(copies, contest.scores, standard, contest.cooldown, at)
        out[f"{kind} {by}"] = {
            "best": round(own.score, 3), "threshold": own.threshold, "same": round(same.score, 3),
        }  # fmt: skip
    return out


def _otherwise(
    args: argparse.Namespace, series: Sequence[Series], at: float
) -> dict[str, dict[str, Any]]:
    """Standard scores of other values at the same times: at their own best threshold, at the corpus',
    and with groups left out.

    ``left_out`` is the worst group at the steady threshold of the others, ``left_out_at_best`` at
    their plainly best one; 0 where there is one group only. With ``--recall`` operating points too.
    """
    out: dict[str, dict[str, Any]] = {}
    standard = PROFILES["standard"]
    kinds: list[tuple[str, Callable[[Series, float], Series], float]]
    kinds = [("times", rescale, f) for f in args.rescale]
    kinds += [("power", raise_to, p) for p in args.power]
    for kind, other, by in kinds:
        copies = [other(s, by) for s in series]
        contest = enter(args.detector, args.corpus, copies, args.workers)
        own = best(copies, contest.scores, standard, contest.cooldown)
        same = best(copies, contest.scores, standard, contest.cooldown, at)
        steady, plain = (
            left_out(copies, contest.scores, standard, contest.cooldown, **choose)
            for choose in ({}, {"choose": best})
        )
        out[f"{kind} {by:g}"] = {
            "best": round(own.score, 3), "threshold": own.threshold, "same": round(same.score, 3),
            "left_out": round(min((r.score for r in steady.values()), default=0.0), 3),
            "left_out_at_best": round(min((r.score for r in plain.values()), default=0.0), 3),
            **_operating(args, copies, {args.detector: contest}),
        }  # fmt: skip
    return out


def _operating(
    args: argparse.Namespace, series: Sequence[Series], contests: dict[str, Contest]
) -> dict[str, Any]:
    if args.recall is None:
        return {}
    return {"operating": operating(series, contests, args.recall, dict(args.quiet))}


def _write(
    args: argparse.Namespace,
    series: Sequence[Series],
    contest: Contest,
    result: dict[str, Any],
    at: float,
) -> None:
    if args.json:
        text = json.dumps({"about": about(), **result}, indent=1)
        args.json.write_text(text + "\n", encoding="utf-8")
    if args.emit:
        emit(args.emit, args.detector, series, contest, at)
    if args.plots:
        draw(args.plots, args.detector, series, contest, at)


def _show(series: Sequence[Series], result: dict[str, Any]) -> None:
    points = sum(len(s.values) for s in series)
    print(f"{len(series)} files, {points:,} points, {result['windows']} labelled windows")
    print(f"{'detector':24} {'standard':>9} {'low FP':>9} {'low FN':>9}")
    for name, scores in {result["detector"]: result["scores"], **result["baselines"]}.items():
        print(f"{name:24} " + " ".join(f"{scores[label]:9.2f}" for label in PROFILES))
    print(
        f"at {result['threshold']['standard']:.4g}: {result['found']['standard']} windows found,"
        f" {result['false_points']['standard']} false points"
    )
    middle = result["steady"]
    print(f"steady at {middle['threshold']:.4g}: {middle['standard']:.2f} standard")
    for group, score in result["left_out"].items():
        plain = result["left_out_at_best"][group]
        print(f"  {group}, threshold of the other groups: steady {score:.2f}, best {plain:.2f}")
    for by, r in result.get("decimated", {}).items():
        print(f"  {by}: {r['best']:.2f} at {r['threshold']:.3g}, {r['same']:.2f} at ours")
    for by, r in result.get("otherwise", {}).items():
        print(
            f"  {by}: {r['best']:.2f} at {r['threshold']:.3g}, {r['same']:.2f} at ours, worst group"
            f" left out: steady {r['left_out']:.2f}, best {r['left_out_at_best']:.2f}"
        )
    for group, r in result["per_group"].items():
        print(
            f"  {group}: {r['found']}/{r['windows']} windows, {r['inside']}/{r['alerts']} alerts"
            " inside one"
        )
    if result["us_per_point"] is not None:
        print(f"{result['us_per_point']} µs a point, {result['bytes_per_series']:,} bytes a series")
    for by, r in {"": result, **result.get("otherwise", {})}.items():
        _show_operating(by, r.get("operating", {"groups": {}}))


def _show_operating(by: str, points: dict[str, Any]) -> None:
    for group, r in points["groups"].items():
        print(
            f"{group}{by and ', '}{by}, {r['series_weeks']} series-weeks: best share of alerts inside at"
            f" {100 * points['recall']:g} % of {r['windows']} windows or more"
        )
        for (name, each), quiet in product(r["contenders"].items(), points["quiet"]):
            print(f"  {name:24} quiet {quiet:>5}: {_point(each[quiet], r['windows'])}")


def _point(at: dict[str, Any] | None, windows: int) -> str:
    if at is None:
        return "not reached"
    return (
        f"{at['found']}/{windows} windows, {at['inside']}/{at['alerts']} alerts inside one"
        f" ({100 * at['precision']:.1f} %) at {at['threshold']:.4g},"
        f" {at['outside_per_series_week']:.2f} outside a series-week"
    )


if __name__ == "__main__":
    sys.exit(main())
