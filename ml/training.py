"""Training a detector over stored history, a series at a time.

A detector judges every value before it learns it, so one pass gives both what it has learned and how
it would have done. Pure; a caller may stop between the steps that the generator yields.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import NamedTuple

from ml import registry, specs
from ml.comparison import WEEK
from ml.labels import Claim, quality
from ml.specs import Spec
from models.errors import ConfigurationError
from models.learning import Label

STEP = 500
"""Values between two places where a training can be stopped: some ten milliseconds."""


class History(NamedTuple):
    """The windows of one series that do not overlap: (start in epoch ms, finite value), oldest first.

    ``size`` is that of the windows in ms.
    """

    series: str
    size: int
    points: Sequence[tuple[int, float]]


class Learned(NamedTuple):
    """What came of one series. ``body`` is the detector's state after the window that starts ``at``
    (epoch ms).

    ``judged`` are the points with a score; ``findings`` the stretches in which every score was at or
    above the threshold.
    """

    history: History
    at: int
    body: bytes
    judged: int
    findings: list[Claim]


class Summary(NamedTuple):
    """The figures of a whole training, and the span of its data (epoch ms, half-open)."""

    metrics: dict[str, float]
    data_from: int
    data_until: int


def complete(spec: Spec) -> dict[str, str | float | int | bool]:
    """The specification with the detector's name, whatever the default becomes.

    Raises:
        ConfigurationError: it says what nothing can be made of.
    """
    specs.check(spec)
    return {"name": registry.DEFAULT, **spec}


def train(spec: Spec, history: History) -> Generator[int, None, Learned]:
    """Judge and learn one series; yields the number of points done, returns what was learned.

    Findings are counted from the specification's own threshold.

    Raises:
        ConfigurationError: the specification cannot be used, or there are no points.
    """
    if not history.points:
        msg = f"series {history.series} has no values to learn from"
        raise ConfigurationError(msg)
    detector, threshold = specs.detector_of(spec), specs.threshold_of(spec)
    name = str(spec.get("name", registry.DEFAULT))
    judged, findings = 0, list[Claim]()
    begun: int | None = None
    end = at = history.points[0][0]
    for number, (at, value) in enumerate(history.points, 1):
        score = detector.score(value, at).score
        detector.learn(value, at)
        judged += score is not None
        loud = score is not None and score >= threshold
        if begun is not None and (not loud or at > end):
            findings.append(Claim(history.series, begun, end, detector=name))
            begun = None
        if loud:
            begun = at if begun is None else begun
        end = at + history.size
        if number % STEP == 0:
            yield number
    if begun is not None:
        findings.append(Claim(history.series, begun, end, detector=name))
    return Learned(history, at, detector.dump(), judged, findings)


def summarise(spec: Spec, learned: Sequence[Learned], labels: Iterable[Label] = ()) -> Summary:
    """The figures of a training: at least one series.

    ``findings_per_week`` is the mean over the series, ``findings_per_week_most`` the worst of them;
    a week is one of judged windows. ``share_learning`` is the share of windows without a score.
    ``precision`` and ``recall`` are there where labels of these series within the data allow them.
    """
    points = sum(len(one.history.points) for one in learned)
    judged = sum(one.judged for one in learned)
    rates = [_per_week(one) for one in learned]
    since = min(one.history.points[0][0] for one in learned)
    until = max(one.at + one.history.size for one in learned)
    metrics = {
        "series": float(len(learned)),
        "points": float(points),
        "threshold": specs.threshold_of(spec),
        "share_learning": 1.0 - judged / points,
        "findings_per_week": sum(rates) / len(rates),
        "findings_per_week_most": max(rates),
    }
    return Summary(metrics | _against_labels(learned, labels), since, until)


def _against_labels(learned: Sequence[Learned], labels: Iterable[Label]) -> dict[str, float]:
    spans = {
        one.history.series: (one.history.points[0][0], one.at + one.history.size) for one in learned
    }
    own = []
    for label in labels:
        span = spans.get(label.series)
        if span is not None and label.since < span[1] and span[0] < label.until:
            own.append(label)
    if not own:
        return {}
    found = quality((claim for one in learned for claim in one.findings), own)
    figures = {
        "labels": float(len(own)),
        "precision": found.precision,
        "recall": found.recall,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _per_week(one: Learned) -> float:
    """Findings in a week of judged windows; 0 where none was judged."""
    weeks = one.judged * one.history.size / WEEK
    return len(one.findings) / weeks if weeks else 0.0
