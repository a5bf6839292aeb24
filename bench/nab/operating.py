"""Operating points: the best share of alerts inside a window, at a wanted recall, and its threshold.

One threshold for a group, and the same quiet time for all contenders: the metronome and published
scores, which have none of their own, too. Every score there is is tried, so nothing is missed
between thresholds; that the best one is chosen afterwards is no promise for other data.
"""

from __future__ import annotations

import argparse
from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bench.nab.contenders import Contest
from bench.nab.corpus import Series
from bench.nab.scoring import Cooldown, Floats, weigh
from ml.forecasting.protocol import WEEK


class Point(NamedTuple):
    """What a group's alerts at one threshold come to."""

    inside: int
    alerts: int
    found: int
    threshold: float


def quiet_time(text: str) -> tuple[str, Cooldown]:
    """A quiet time by its name: ``auto``, or always so many points.

    Raises:
        argparse.ArgumentTypeError: it is neither.
    """
    if text == "auto":
        return text, Cooldown()
    if not text.isdecimal():
        msg = f"{text!r} is neither 'auto' nor a whole number of points"
        raise argparse.ArgumentTypeError(msg)
    return text, Cooldown(0.0, int(text), int(text))


def share(text: str) -> float:
    """A number from 0 to 1.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    try:
        got = float(text)
    except ValueError:
        got = -1.0
    if not 0 <= got <= 1:
        msg = f"{text!r} is no number from 0 to 1"
        raise argparse.ArgumentTypeError(msg)
    return got


def operating(
    series: Sequence[Series],
    contests: Mapping[str, Contest],
    recall: float,
    quiet: Mapping[str, Cooldown],
) -> dict[str, Any]:
    """For each group with windows, contender and quiet time: its operating point; None: not reached."""
    groups: dict[str, dict[str, Any]] = {}
    for group in sorted({_group(s) for s in series if s.windows}):
        ours = [i for i, s in enumerate(series) if _group(s) == group]
        held = [series[i] for i in ours]
        weeks = sum(_weeks(s) for s in held)
        groups[group] = {
            "windows": sum(len(s.windows) for s in held),
            "series_weeks": round(weeks, 2),
            "contenders": {
                name: {
                    label: _told(best_at(held, [c.scores[i] for i in ours], recall, time), weeks)
                    for label, time in quiet.items()
                }
                for name, c in contests.items()
            },
        }
    return {"recall": recall, "quiet": list(quiet), "groups": groups}


def best_at(
    series: Sequence[Series], scores: Sequence[Floats], recall: float, cooldown: Cooldown
) -> Point | None:
    """The point of the best share inside, then of most windows found, then the highest threshold."""
    windows = sum(len(s.windows) for s in series)
    reached = [p for p in points(series, scores, cooldown) if p.found / windows >= recall]
    return max(reached, key=lambda p: (p.inside / p.alerts, p.found, p.threshold), default=None)


def points(
    series: Sequence[Series], scores: Sequence[Floats], cooldown: Cooldown
) -> Iterator[Point]:
    """What the alerts come to at each score that there is behind probation, the highest first."""
    alerts = [_Alerts(s, cooldown) for s in series]
    scored = [x[s.probation :] for s, x in zip(series, scores, strict=True)]
    of = np.repeat(np.arange(len(series)), [len(x) for x in scored])
    at = np.concatenate(
        [s.probation + np.arange(len(x)) for s, x in zip(series, scored, strict=True)]
    )
    score = np.concatenate(scored)
    order = np.argsort(-score, kind="stable")
    inside = total = found = 0
    steps = zip(score[order].tolist(), of[order].tolist(), at[order].tolist(), strict=True)
    last: float | None = None
    for threshold, k, i in steps:
        if last is not None and threshold < last:
            yield Point(inside, total, found, last)
        more_inside, more, more_found = alerts[k].add(i)
        inside, total, found = inside + more_inside, total + more, found + more_found
        last = threshold
    if last is not None:
        yield Point(inside, total, found, last)


class _Alerts:
    """One series' alerts while the threshold falls: at each what ``detections`` says there."""

    def __init__(self, series: Series, cooldown: Cooldown) -> None:
        self._end = len(series.values)
        self._window = weigh(series).window.tolist()
        self._cooldown = cooldown
        self._hits: Counter[int] = Counter()
        # Both end with a point behind the last one, so that a search always ends at one.
        self._over, self._alerts = [self._end], [self._end]

    def add(self, point: int) -> tuple[int, int, int]:
        """One more point reaches the threshold: the change in (alerts inside, alerts, found)."""
        insort(self._over, point)
        begin = bisect_right(self._alerts, point)
        if begin and point < self._cooldown.until(self._alerts[begin - 1]):
            return 0, 0, 0
        # From here alerts move, until one falls on one that there was.
        new, at = [], point
        while self._alerts[end := bisect_left(self._alerts, at)] != at:
            new.append(at)
            after = min(max(self._cooldown.until(at), at + 1), self._end)
            at = self._over[bisect_left(self._over, after)]
        gone, self._alerts[begin:end] = self._alerts[begin:end], new
        found = len(self._hits)
        came, went = self._inside(new), self._inside(gone)
        self._hits = (self._hits + came) - went
        return came.total() - went.total(), len(new) - len(gone), len(self._hits) - found

    def _inside(self, alerts: Sequence[int]) -> Counter[int]:
        return Counter(w for i in alerts if (w := self._window[i]) >= 0)


def _told(point: Point | None, weeks: float) -> dict[str, Any] | None:
    if point is None:
        return None
    return {
        "found": point.found,
        "inside": point.inside,
        "alerts": point.alerts,
        "precision": round(point.inside / point.alerts, 4),
        "threshold": point.threshold,
        "outside_per_series_week": round((point.alerts - point.inside) / weeks, 3),
    }


def _group(series: Series) -> str:
    return series.name.partition("/")[0]


def _weeks(series: Series) -> float:
    """From the end of probation, before which nothing alerts, to the last point."""
    return (series.times[-1] - series.times[series.probation]) / WEEK
