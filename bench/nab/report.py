"""What is said of a contest: scores and thresholds, per file and group, and NAB's results files."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.nab.contenders import Contest
from bench.nab.corpus import Series, results_path
from bench.nab.scoring import NONE, PROFILES, best, detections, left_out, steady


def report(series: Sequence[Series], contest: Contest, threshold: float | None) -> dict[str, Any]:
    """The results of a contender, at one threshold for all series or at each profile's best."""
    results = {
        label: best(series, contest.scores, profile, contest.cooldown, threshold)
        for label, profile in PROFILES.items()
    }
    at = results["standard"].threshold
    middle = steady(series, contest.scores, PROFILES["standard"], contest.cooldown)
    files = per_file(series, contest, at)
    others, plain = (
        left_out(series, contest.scores, PROFILES["standard"], contest.cooldown, choose)
        for choose in (steady, best)
    )
    return {
        "scores": {label: round(r.score, 3) for label, r in results.items()},
        "threshold": {label: r.threshold for label, r in results.items()},
        "found": {label: r.found for label, r in results.items()},
        "false_points": {label: r.false_points for label, r in results.items()},
        "windows": results["standard"].windows,
        "steady": {"threshold": middle.threshold, "standard": round(middle.score, 3)},
        "left_out": {group: round(r.score, 3) for group, r in others.items()},
        "left_out_at_best": {group: round(r.score, 3) for group, r in plain.items()},
        "us_per_point": contest.us_per_point,
        "bytes_per_series": contest.bytes_per_series,
        "per_group": per_group(files),
        "per_file": files,
    }


def per_file(
    series: Sequence[Series], contest: Contest, threshold: float
) -> dict[str, dict[str, Any]]:
    """For each file: its windows, those found, and when each detection was, in or out of one."""
    out = {}
    for s, scores in zip(series, contest.scores, strict=True):
        points = detections(scores, threshold, s.probation, contest.cooldown)
        within = [
            next((k for k, (a, b) in enumerate(s.windows) if a <= i <= b), -1) for i in points
        ]
        out[s.name] = {
            "points": len(s.values),
            "windows": len(s.windows),
            "found": len({k for k in within if k >= 0}),
            "inside": [iso(s.times[i]) for i, k in zip(points, within, strict=True) if k >= 0],
            "outside": [iso(s.times[i]) for i, k in zip(points, within, strict=True) if k < 0],
        }
    return out


def per_group(files: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """For each group: the share of windows found, and of alerts that lie in one."""
    out: dict[str, dict[str, Any]] = {}
    for name, file in files.items():
        group = out.setdefault(
            name.partition("/")[0], {"windows": 0, "found": 0, "alerts": 0, "inside": 0}
        )
        group["windows"] += file["windows"]
        group["found"] += file["found"]
        group["alerts"] += len(file["inside"]) + len(file["outside"])
        group["inside"] += len(file["inside"])
    for group in out.values():
        group["recall"] = round(group["found"] / group["windows"], 3) if group["windows"] else None
        group["precision"] = (
            round(group["inside"] / group["alerts"], 3) if group["alerts"] else None
        )
    return out


def emit(
    root: Path, name: str, series: Sequence[Series], contest: Contest, threshold: float
) -> list[Path]:
    """Write each file's scores as NAB reads them: in [0, 1], as surprise / (1 + surprise).

    NAB knows no quiet time: within the one after a detection at ``threshold``, scores are 0.
    """
    paths = []
    for s, scores in zip(series, contest.scores, strict=True):
        written = np.maximum(scores, 0.0)
        if contest.cooldown != NONE:
            over = written >= threshold
            over[detections(scores, threshold, s.probation, contest.cooldown)] = False
            over[: s.probation] = False
            written = np.where(over, 0.0, written)
        path = results_path(root, name.replace(":", "_"), s)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["timestamp", "value", "anomaly_score"])
            for at, value, score in zip(s.times, s.values, written.tolist(), strict=True):
                rows.writerow([iso(at), value, score / (1.0 + score)])
        paths.append(path)
    return paths


def iso(at: int) -> str:
    """An epoch ms as NAB writes it."""
    return dt.datetime.fromtimestamp(at / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")
