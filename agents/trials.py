"""What comes of models in service: how shadows compare, drifts as findings, shadows that they start.

Called by the judge after the detectors of a window have learned.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from agents import verdicts
from agents.modelbook import ModelBook
from agents.snapshots import DAY
from alerts.rulestate import incident_digest
from ml import life
from ml.drift import INPUTS, Drift
from ml.protocol import Detector
from ml.served import Compared, ServedDetector
from models.errors import ConfigurationError
from models.flow import Counters, Output, State, struct_store
from models.learning import Mark, Model, ShadowReport, key_of
from models.records import Finding, Window, to_json
from models.series import parse_key

REPORT_EVERY = 60_000
"""Event time between two reports of one comparison."""

MARKS = 50
BY_DRIFT = "drift"
"""Who made a model that a drift started."""


class Comparison(msgspec.Struct, array_like=True):
    """A shadow against an active model, over all series of a partition. See ``ShadowReport``."""

    against: str
    since: int
    until: int
    threshold: float
    windows: int = 0
    both: int = 0
    active: int = 0
    shadow: int = 0
    active_findings: int = 0
    shadow_findings: int = 0
    marks: list[Mark] = []
    reported: int = 0

    def take(self, compared: Compared, series: str, size: int) -> None:
        """Add one window."""
        self.until = max(self.until, compared.at + size)
        self.windows += 1
        self.both += compared.active and compared.shadow
        self.active += compared.active and not compared.shadow
        self.shadow += compared.shadow and not compared.active
        self.active_findings += compared.active_began
        self.shadow_findings += compared.shadow_began
        if compared.active_began or compared.shadow_began:
            by: Literal["both", "active", "shadow"] = "active" if compared.active else "shadow"
            if compared.active and compared.shadow:
                by = "both"
            self.marks = [*self.marks[1 - MARKS :], Mark(series, compared.at, by)]


COMPARISONS = struct_store("comparisons", Comparison)
"""``<tenant>:<shadow's id>`` -> how it compares, on this partition."""


class Trials:
    """Publishes what detectors in service have noticed.

    Counts ``retrainings_refused`` {once_a_day, over_limit}: a family is retrained at most once a day
    of event time, and has at most two shadows.
    """

    def __init__(
        self, book: ModelBook, counters: Counters, series_of: Callable[[str, str], str]
    ) -> None:
        self._book = book
        self._counters = counters
        self._series_of = series_of
        self._started: dict[tuple[str, str], int] = {}

    def outputs(
        self, window: Window, detectors: Mapping[str, Detector], state: State
    ) -> list[Output]:
        """Reports, findings and models that this window brought."""
        made: list[Output] = []
        for measure in window.values:
            served = detectors.get(measure)
            if not isinstance(served, ServedDetector):
                continue
            if served.compared:
                made += self._compare(window, measure, served, state)
            if served.drifts:
                made += self._drifts(window, measure, served)
        return made

    def _compare(
        self, window: Window, measure: str, served: ServedDetector, state: State
    ) -> list[Output]:
        made = []
        for compared in served.compared:
            key = f"{window.tenant}:{compared.model}"
            store = state[COMPARISONS.name]
            known: Comparison | None = store.get(key)
            if known is None or known.against != served.model:
                known = Comparison(served.model, compared.at, compared.at, compared.threshold)
                known.reported = compared.at
            known.take(compared, self._series_of(window.group, measure), window.size)
            store[key] = known
            if known.until - known.reported >= REPORT_EVERY:
                known.reported = known.until
                report = _report(window, compared.model, known)
                made.append(Output("models", key_of(report), to_json(report)))
        served.compared.clear()
        return made

    # -- drift --------------------------------------------------------------------------------------

    def _drifts(self, window: Window, measure: str, served: ServedDetector) -> list[Output]:
        made = []
        model = self._book.models.get((window.tenant, served.model))
        for drift in served.drifts:
            series = self._series_of(window.group, measure)
            finding = _finding(window, measure, series, served.model, drift)
            for state in ("firing", "resolved"):
                told = msgspec.structs.replace(finding, state=state)
                made.append(verdicts.output(told))
            if model is not None and model.spec.get("retrain"):
                made += self._retrain(model, finding)
        served.drifts.clear()
        return made

    def _retrain(self, model: Model, finding: Finding) -> list[Output]:
        """A new version of the family, as a shadow; nothing where the limits forbid it."""
        family = (model.tenant, model.family)
        known = {m.id: m for (tenant, _), m in self._book.models.items() if tenant == model.tenant}
        times = [
            m.created_at
            for m in known.values()
            if m.family == model.family and m.created_by == BY_DRIFT
        ]
        last = max([*times, self._started.get(family, -DAY)], default=-DAY)
        if finding.at - last < DAY:
            self._counters.count("retrainings_refused", "once_a_day", 1)
            return []
        candidate = life.new_version(
            known.values(),
            tenant=model.tenant,
            family=model.family,
            kind=model.kind,
            selector=model.selector,
            spec=model.spec,
            created_by=BY_DRIFT,
            now=finding.at,
            parent=model.id,
            reason=finding.reason,
        )
        try:
            (shadow,) = life.transition(
                known | {candidate.id: candidate}, candidate.id, "shadow",
                by=BY_DRIFT, now=finding.at, reason=finding.reason,
            )  # fmt: skip
        except ConfigurationError:
            self._counters.count("retrainings_refused", "over_limit", 1)
            return []
        self._started[family] = finding.at
        audit = [
            Output("audit", model.tenant.encode(), to_json(change))
            for change in life.changes(known, [shadow])
        ]
        return [Output("models", key_of(shadow), to_json(shadow)), *audit]


def _report(window: Window, model: str, known: Comparison) -> ShadowReport:
    counts = msgspec.structs.asdict(known)
    del counts["reported"]
    return ShadowReport(tenant=window.tenant, model=model, partition=window.partition, **counts)


def _finding(window: Window, measure: str, series: str, model: str, drift: Drift) -> Finding:
    tags = dict(parse_key(window.group).tags)
    subject = f"{parse_key(series).name.replace('_', ' ')}"
    if tags:
        subject += f" in {' × '.join(tags[t] for t in sorted(tags))}"
    return Finding(
        incident=incident_digest(
            window.tenant, "drift", drift.of, series, window.stream, str(drift.at)
        ),
        tenant=window.tenant,
        rule=f"drift-{drift.of}",
        rule_version=model,
        kind="drift",
        state="firing",
        series=series,
        stream=window.stream,
        measure=measure,
        tags=tags,
        severity="ticket",
        since=drift.since,
        at=window.end,
        window_start=window.start,
        window_end=window.end,
        reason=reason(subject, drift),
        value=drift.after,
        summary=f"Drift: {subject}",
    )


def reason(subject: str, drift: Drift) -> str:
    """A drift in words: ``the level of plays in FR has shifted: mean 812 -> 640 since ...``."""
    since = dt.datetime.fromtimestamp(drift.since / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M")
    moved = f"mean {drift.before:.4g} -> {drift.after:.4g} since {since} UTC"
    if drift.of == INPUTS:
        return f"the level of {subject} has shifted: {moved}"
    return f"the surprise at {subject} has shifted: {moved}; what its model learned fits less"
