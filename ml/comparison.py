"""A shadow beside the active model, as the partitions' reports tell it together. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ml.labels import Claim, Quality, quality
from models.learning import Label, ShadowReport

WEEK = 604_800_000


class Comparison(NamedTuple):
    """A model held against an active one, over all partitions; ``since``/``until`` in epoch ms.

    ``windows`` were judged by both; at the threshold were ``both``, ``active_only`` or
    ``shadow_only``. Findings are runs of such windows, of all series together. The qualities are of
    the latest findings (some fifty a partition) against labels.
    """

    against: str
    since: int
    until: int
    windows: int
    both: int
    active_only: int
    shadow_only: int
    active_findings: int
    shadow_findings: int
    active_quality: Quality
    shadow_quality: Quality

    @property
    def agreement(self) -> float:
        """The share of windows of which both say the same; 1 without windows."""
        different = self.active_only + self.shadow_only
        return 1 - different / self.windows if self.windows else 1.0

    def per_week(self, findings: int) -> float:
        """Findings in a week, of all series together."""
        return findings * WEEK / max(self.until - self.since, 1)


def compare(reports: Iterable[ShadowReport], labels: Iterable[Label]) -> list[Comparison]:
    """The reports of one model summed up, one for each model that it was held against."""
    known = list(labels)
    by_other: dict[str, list[ShadowReport]] = {}
    for report in reports:
        by_other.setdefault(report.against, []).append(report)
    return [_sum(own, known) for _, own in sorted(by_other.items())]


def _sum(reports: Sequence[ShadowReport], labels: Sequence[Label]) -> Comparison:
    return Comparison(
        against=reports[0].against,
        since=min(r.since for r in reports),
        until=max(r.until for r in reports),
        windows=sum(r.windows for r in reports),
        both=sum(r.both for r in reports),
        active_only=sum(r.active for r in reports),
        shadow_only=sum(r.shadow for r in reports),
        active_findings=sum(r.active_findings for r in reports),
        shadow_findings=sum(r.shadow_findings for r in reports),
        active_quality=_quality(reports, labels, "active"),
        shadow_quality=_quality(reports, labels, "shadow"),
    )


def _quality(reports: Sequence[ShadowReport], labels: Sequence[Label], who: str) -> Quality:
    """Of one of the two. A finding is where it began: a label must hold its first window's start."""
    marks = [m for r in reports for m in r.marks]
    series = {m.series for m in marks}
    since, until = min(r.since for r in reports), max(r.until for r in reports)
    own = [la for la in labels if la.series in series and la.since < until and since < la.until]
    return quality((Claim(m.series, m.at, m.at + 1) for m in marks if m.by in {who, "both"}), own)
