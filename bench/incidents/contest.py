"""Detectors on simulated days: what each window scores, which alerts follow, what they hit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from math import isnan
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from bench.incidents.ground import (
    KINDS,
    PANE,
    SIZE,
    Counts,
    Floats,
    Ground,
    Track,
    kind_of,
    seen_on,
)
from bench.nab.scoring import Cooldown, detections
from ml import registry
from simulate.incidents import DAY, expected

RANDOM, METRONOME = "random", "metronome"
BASELINES = ("zscore", METRONOME, RANDOM)
WEEK = 7 * DAY

Alerts = list[Counts]
"""Of each series the windows that an alert begins with."""


class Scored(NamedTuple):
    """A ground and every detector's score of each window of each series."""

    ground: Ground
    scores: dict[str, list[Floats]]


class Row(NamedTuple):
    """How a detector did on one kind of incident. Delays in seconds of event time.

    ``weekly``: false alarms a week and series, of the series on which the kind is seen.
    """

    incidents: int
    found: int
    delays: tuple[float, ...]
    false: int
    weekly: float

    def as_json(self) -> dict[str, Any]:
        """The row in plain figures."""
        return {
            "incidents": self.incidents, "found": self.found, "false_alarms": self.false,
            "recall": round(self.found / self.incidents, 3) if self.incidents else None,
            "median_delay": median(self.delays) if self.delays else None,
            "worst_delay": max(self.delays, default=None),
            "false_alarms_a_series_week": round(self.weekly, 3),
        }  # fmt: skip


def score(ground: Ground, names: Iterable[str]) -> Scored:
    """Every window judged by every detector; the metronome needs no scores."""
    return Scored(
        ground,
        {
            name: [_scores(name, ground, n) for n in range(len(ground.tracks))]
            for name in names
            if name != METRONOME
        },
    )


def _scores(name: str, ground: Ground, number: int) -> Floats:
    """As the worker's judge: each window is scored, and one in each minute is learned.

    NaN where a window says nothing: learning, no value, too few plays.
    """
    track = ground.tracks[number]
    if name == RANDOM:
        return np.random.default_rng([ground.seed, number]).random(len(track.values))
    detector = registry.create(name)
    out = np.full(len(track.values), np.nan)
    at = ground.start
    for i, value in enumerate(track.values.tolist()):
        if not isnan(value):
            got = detector.score(value, at).score
            if got is not None:
                out[i] = got
            if at % SIZE == 0:
                detector.learn(value, at)
        at += PANE
    out[~track.is_heavy] = np.nan
    return out


def alerts(one: Scored, name: str, threshold: float) -> Alerts:
    """When the rule ``anomaly(...) >= threshold`` with ``reopen = "auto"`` begins an alert."""
    first, quiet = one.ground.first, Cooldown()
    return [detections(np.nan_to_num(each), threshold, first, quiet) for each in one.scores[name]]


def beats(one: Scored, weekly: float) -> Alerts:
    """Alerts at even distances, ``weekly`` a week and series, from an instant of the seed's on."""
    rng, first = np.random.default_rng([one.ground.seed, 7]), one.ground.first
    every = WEEK / PANE / weekly if weekly else np.inf
    out = []
    for track in one.ground.tracks:
        last = len(track.values)
        begin = first + rng.random() * min(every, 1e9)
        out.append(np.arange(begin, last, min(every, 1e9)).astype(np.int64))
    return out


def weekly_alerts(calm: Sequence[Scored], found: Callable[[Scored], Alerts]) -> float:
    """Alerts a week and series where nothing happens."""
    total = sum(len(each) for one in calm for each in found(one))
    return total * WEEK / sum(_span(one.ground) * len(one.ground.tracks) for one in calm)


def same_rate(calm: Sequence[Scored], name: str, weekly: float) -> float:
    """The lowest threshold at which a detector alerts no more often than ``weekly`` where all is calm."""
    first = calm[0].ground.first
    scored = np.concatenate([each[first:] for one in calm for each in one.scores[name]])
    scored = np.unique(scored[~np.isnan(scored)])
    # Above the highest score of all there is no alert.
    low, high = 0, len(scored)
    while low < high:
        middle = (low + high) // 2
        at = float(scored[middle])
        if weekly_alerts(calm, partial(alerts, name=name, threshold=at)) <= weekly:
            high = middle
        else:
            low = middle + 1
    return float(scored[low] if low < len(scored) else np.nextafter(scored[-1], np.inf))


def tally(scored: Sequence[Scored], found: Callable[[Scored], Alerts]) -> dict[str, Row]:
    """How alerts meet incidents, by kind.

    An incident is found if an alert begins on a series that it moves, with a window that overlaps
    it; the delay is from its start to that window's end. A false alarm begins with a window that
    overlaps no incident of any kind: what comes after one counts as false.
    """
    delays: dict[str, list[float]] = {kind: [] for kind in KINDS}
    number, false = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
    watched = dict.fromkeys(KINDS, 0.0)
    for one in scored:
        ends = one.ground.ends()
        when = [ends[each] for each in found(one)]
        for incident in one.ground.incidents:
            kind = kind_of(incident)
            number[kind] += 1
            moved = {(e.measure, *e.tags.items()) for e in expected(incident)}
            hits = [
                int(t[0]) - incident.start
                for track, each in zip(one.ground.tracks, when, strict=True)
                if (track.measure, *track.tags.items()) in moved
                and len(t := each[_overlaps(each, incident.start, incident.end)])
            ]
            if hits:
                delays[kind].append(min(hits) / 1000)
        for track, each in zip(one.ground.tracks, when, strict=True):
            during = np.zeros(len(each), dtype=bool)
            for incident in one.ground.incidents:
                during |= _overlaps(each, incident.start, incident.end)
            for kind in KINDS:
                if _shows(track, kind):
                    false[kind] += int((~during).sum())
                    watched[kind] += _span(one.ground) / WEEK
    return {
        kind: Row(number[kind], len(delays[kind]), tuple(delays[kind]), false[kind],
                  false[kind] / watched[kind] if watched[kind] else 0.0)
        for kind in KINDS
    }  # fmt: skip


def _overlaps(ends: Counts, start: int, end: int) -> Any:
    return (ends > start) & (ends - SIZE < end)


def _shows(track: Track, kind: str) -> bool:
    """Whether incidents of a kind move this series: those of one platform only move its own."""
    if track.measure not in seen_on(kind):
        return False
    return bool(track.tags) != kind.startswith("breakout")


def _span(ground: Ground) -> float:
    """How long a ground counts, in ms."""
    return (len(ground.tracks[0].values) - ground.first) * PANE
