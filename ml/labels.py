"""What people's labels say of rules, detectors and thresholds.

Apart from :mod:`ml.training` because labels judge whatever alerted, not only what was trained here.
Pure: the caller brings the labels and what was claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from typing import NamedTuple

from ml.served import THRESHOLD
from models.learning import Label

USUAL = THRESHOLD
"""The threshold without labels: that of the rules that ship."""

LOWEST = 0.5
"""True labels lower a threshold to no less than this share of the usual one: below, all is noise."""

HIGHEST = 5.0
"""False labels raise it to no more than this multiple, so that nothing makes a detector deaf."""

MARGIN = 1.1
"""How far above a false label's peak the threshold goes: the next such peak is not exactly the same."""


class Claim(NamedTuple):
    """That something was wrong with a series in [since, until): an alert, or a detector's finding.

    Times are epoch ms; ``id`` is the alert's, "" for a finding; ``rule`` and ``detector`` are who
    made it, "" where none did.
    """

    series: str
    since: int
    until: int
    id: str = ""
    rule: str = ""
    detector: str = ""


class Quality(NamedTuple):
    """How claims stand against labels.

    Of the claims ``right`` met a true label, ``wrong`` a false one and no true one, ``expected`` only
    an expected one, ``unjudged`` none. Of the ``events`` (true labels) ``found`` met a claim.
    """

    right: int
    wrong: int
    expected: int
    unjudged: int
    events: int
    found: int

    @property
    def precision(self) -> float | None:
        """Right claims among those that were right or wrong; None where nobody judged any.

        Expected claims count neither way: something did happen, and nobody wanted to hear of it.
        """
        judged = self.right + self.wrong
        return self.right / judged if judged else None

    @property
    def recall(self) -> float | None:
        """Events that were found; None without events."""
        return self.found / self.events if self.events else None


class Threshold(NamedTuple):
    """From which score on a series is worth an alert, and why.

    ``value`` is in the score's unit: deviations, of most detectors.
    """

    value: float
    reason: str


def quality(
    claims: Iterable[Claim],
    labels: Iterable[Label],
    is_wanted: Callable[[Label], bool] = lambda _: True,
) -> Quality:
    """How all claims stand against all labels; ``is_wanted`` says which true labels are events.

    A label of an alert speaks of the claim with that id, and of every other that overlaps it.
    """
    by_series: dict[str, list[Label]] = {}
    for label in labels:
        by_series.setdefault(label.series, []).append(label)
    count = {"true": 0, "false": 0, "expected": 0, "": 0}
    met: set[str] = set()
    for claim in claims:
        spoken = [label for label in by_series.get(claim.series, ()) if _meets(label, claim)]
        verdicts = {label.verdict for label in spoken}
        count[next((v for v in ("true", "false", "expected") if v in verdicts), "")] += 1
        met |= {label.id for label in spoken}
    events = {
        label.id
        for own in by_series.values()
        for label in own
        if label.verdict == "true" and is_wanted(label)
    }
    right, wrong, expected, unjudged = count.values()
    return Quality(right, wrong, expected, unjudged, len(events), len(events & met))


def quality_by_rule(claims: Iterable[Claim], labels: Iterable[Label]) -> dict[str, Quality]:
    """The quality of each rule that claimed something, or that a label names."""
    return _by(list(claims), list(labels), lambda c: c.rule, lambda label: label.rule)


def quality_by_detector(claims: Iterable[Claim], labels: Iterable[Label]) -> dict[str, Quality]:
    """The quality of each detector that claimed something, or that a label names."""
    return _by(list(claims), list(labels), lambda c: c.detector, lambda label: label.detector)


def threshold_for(series: str, labels: Iterable[Label], usual: float = USUAL) -> Threshold:
    """From which score on this series is worth an alert, given what people said of it. Own method.

    Only labels of the series with a ``peak`` count, and none that say *expected*. False labels raise
    the threshold to just above their largest peak: one label to no more than twice the usual value,
    two to three times, and so on up to :data:`HIGHEST`. True labels then lower it to the smallest
    of their peaks, so that what was real would be found again; a peak below :data:`LOWEST` of the
    usual value is left out, as a threshold there would alert on everything. Where the two contradict
    each other the true ones win: a missed event costs more than a false alert.

    So a further false label never lowers the value, a further true one never raises it, and the
    value is at most every true peak that was not left out. It lies between LOWEST and HIGHEST times
    ``usual``.
    """
    own = [la for la in labels if la.series == series and la.peak is not None and isfinite(la.peak)]
    false = [la.peak for la in own if la.verdict == "false" and la.peak is not None]
    true = [la.peak for la in own if la.verdict == "true" and la.peak is not None]
    heard = [peak for peak in true if peak >= LOWEST * usual]
    value, said = usual, []
    if false:
        ceiling = usual * min(1 + len(false), HIGHEST)
        value = max(usual, min(max(false) * MARGIN, ceiling))
        bound = ", held back until there are more" if max(false) * MARGIN > value else ""
        said.append(f"{_count(false, 'false label')} up to a score of {max(false):g}{bound}")
    if heard and min(heard) < value:
        value = min(heard)
        said.append(
            f"lowered to find {_count(heard, 'event')}, the least with a score of {value:g}"
        )
    elif heard:
        said.append(f"{_count(heard, 'event')} still found")
    if len(heard) < len(true):
        lost = len(true) - len(heard)
        said.append(f"{lost} with a score below {LOWEST * usual:g} left out: that is noise")
    if not said:
        return Threshold(usual, f"usual threshold {usual:g}: no label of the series has a score")
    return Threshold(value, f"{value:.4g} (usually {usual:g}): {'; '.join(said)}")


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'s' if len(things) > 1 else ''}"


def _meets(label: Label, claim: Claim) -> bool:
    if label.alert and label.alert == claim.id:
        return True
    return label.since < claim.until and claim.since < label.until


def _by(
    claims: list[Claim],
    labels: list[Label],
    maker: Callable[[Claim], str],
    named: Callable[[Label], str],
) -> dict[str, Quality]:
    """Quality by who claimed. An event that names nobody counts for whoever spoke of its series."""
    names = {maker(c) for c in claims} | {named(label) for label in labels}
    found = {}
    for name in sorted(names - {""}):
        own = [c for c in claims if maker(c) == name]
        series = {c.series for c in own} | {la.series for la in labels if named(la) == name}

        def is_wanted(label: Label, name: str = name, series: set[str] = series) -> bool:
            return named(label) == name or (not named(label) and label.series in series)

        found[name] = quality(own, labels, is_wanted)
    return found
