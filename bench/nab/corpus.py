"""A copy of the Numenta Anomaly Benchmark: its series, labelled windows and published scores.

A directory with NAB's own ``data/<group>/<file>.csv``, ``labels/combined_windows.json`` and, for
published detectors, ``results/<name>/<group>/<name>_<file>.csv`` (github.com/numenta/NAB).
"""

from __future__ import annotations

import csv
import datetime as dt
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


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


def thin(series: Series, by: int) -> Series:
    """Every ``by``-th point of the series alone, as if it were sampled less often."""
    values = series.values[::by]
    windows = [(-(-a // by), min(b // by, len(values) - 1)) for a, b in series.windows]
    return Series(f"{series.name}/every {by}", series.times[::by], values, windows)


def rescale(series: Series, factor: float) -> Series:
    """The same series in another unit: what a detector makes of it should not change."""
    return series._replace(values=[value * factor for value in series.values])


def raise_to(series: Series, power: float) -> Series:
    """The values to a power, signs kept: the same order, and a heavier or lighter tail."""
    values = [math.copysign(abs(value) ** power, value) for value in series.values]
    return series._replace(values=values)


def published(corpus: Path, detector: str, series: Series) -> NDArray[np.float64]:
    """The scores that a detector's results hold for a series, one a point.

    Raises:
        FileNotFoundError: there are none.
        ValueError: they are not one a point.
    """
    path = results_path(corpus / "results", detector, series)
    with path.open(encoding="utf-8", newline="") as file:
        scores = np.array([float(row["anomaly_score"]) for row in csv.DictReader(file)])
    if len(scores) != len(series.values):
        msg = f"{path} holds {len(scores)} scores for {len(series.values)} points"
        raise ValueError(msg)
    return scores


def results_path(root: Path, detector: str, series: Series) -> Path:
    """Where NAB keeps a detector's scores of a series."""
    group, _, file = series.name.partition("/")
    return root / detector / group / f"{detector}_{file}"


def _epoch_ms(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp() * 1000)
