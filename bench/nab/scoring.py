"""NAB's scoring rule: what detections in and outside labelled windows earn, and the best threshold.

A window found earns up to 1, the earlier the more; a missed one and every false point cost. The
score is the sum between that of silence (0) and that of the first point of every window (100).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerts.conditions import REOPEN_SHARE, REOPEN_WINDOWS
from bench.nab.corpus import Series

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Profile(NamedTuple):
    """What a found window, a missed one and a false point weigh."""

    hit: float
    miss: float
    false: float


PROFILES = {
    "standard": Profile(1, 1, 0.11),
    "low_fp": Profile(1, 1, 0.22),
    "low_fn": Profile(1, 2, 0.11),
}


class Cooldown(NamedTuple):
    """No alert within ``share`` of the points seen, but ``least`` to ``most``, after another."""

    share: float = REOPEN_SHARE
    least: int = REOPEN_WINDOWS[0]
    most: int = REOPEN_WINDOWS[1]

    def until(self, point: int) -> float:
        """The first point that may alert again, after one that did."""
        return point + min(max(self.share * point, self.least), self.most)


NONE = Cooldown(0.0, 0, 0)


class Result(NamedTuple):
    """A score (0: as if silent, 100: perfect) with what it was reached with."""

    score: float
    threshold: float
    false_points: int
    found: int
    windows: int


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
            quiet_until = cooldown.until(i)
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
    """Thresholds worth trying: the highest scores there are, and four hundred quantiles below."""
    scored = np.concatenate([x[s.probation :] for s, x in zip(series, scores, strict=True)])
    tail = np.quantile(scored, 1 - np.logspace(-5, -1, 400))
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


def steady(
    series: Sequence[Series], scores: Sequence[Floats], profile: Profile, cooldown: Cooldown
) -> Result:
    """The result at the middle of a plateau: best on average over thresholds 4 % around.

    The very best threshold often lies at an edge beyond which a window is lost; data that it was
    not chosen on lies on either side.
    """
    scored = np.concatenate([x[s.probation :] for s, x in zip(series, scores, strict=True)])
    most = float(scored.max(initial=0.0)) or 1.0
    least = max(float(np.quantile(scored, 0.95)), most / 100)
    tried = np.geomspace(least, most, 1 + math.ceil(math.log(most / least) / math.log(1.02)))
    weights, total = [weigh(s) for s in series], sum(len(s.windows) for s in series)
    results = []
    for at in tried.tolist():
        found = [
            detections(each, at, s.probation, cooldown)
            for s, each in zip(series, scores, strict=True)
        ]
        results.append(Result(*_reorder(_score(weights, found, profile, total), at), total))
    padded = np.pad([r.score for r in results], 2, mode="edge")
    return results[int(np.convolve(padded, np.ones(5) / 5, "valid").argmax())]


def left_out(
    series: Sequence[Series],
    scores: Sequence[Floats],
    profile: Profile,
    cooldown: Cooldown,
    choose: Callable[..., Result] = steady,
) -> dict[str, Result]:
    """Each group's score with the threshold that ``choose`` finds best for the *other* groups."""
    groups = [s.name.partition("/")[0] for s in series]
    out = {}
    for group in sorted(set(groups)):
        ours = [i for i, g in enumerate(groups) if g == group]
        rest = [i for i, g in enumerate(groups) if g != group]
        if not rest or not any(series[i].windows for i in ours):
            continue
        others = [series[i] for i in rest], [scores[i] for i in rest]
        at = choose(*others, profile, cooldown).threshold
        mine = [series[i] for i in ours], [scores[i] for i in ours]
        out[group] = best(*mine, profile, cooldown, at)
    return out
