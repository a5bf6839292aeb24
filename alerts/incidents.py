"""Where findings become alerts: one incident, its versions, and who is told of each.

The alerts step folds all findings of a tenant here. Everything is idempotent: a finding that comes
again, or after its incident has gone on, changes nothing.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass

import msgspec

from alerts.routing import STAGES, Transition
from alerts.rules import Receiver
from models.decoding import dead_letter
from models.events import Rejected
from models.flow import Batch, Counters, Output, State, struct_store
from models.records import Alert, Finding, decode_finding

INCIDENTS = "incidents"
CLOCKS = "incident-clocks"

KEPT = 7 * 86_400_000
"""How long, in ms, an incident that is over is still known, to recognise what comes again."""

SWEEP = 3_600_000
_ORDER = {"firing": 0, "resolved": 1, "retracted": 2}


@dataclass(frozen=True, slots=True)
class IncidentConfig:
    """What the alerts step is configured with.

    ``receivers``: all there are. ``counters`` counts ``finding`` {undecodable, early, repeated}: what
    cannot be read, waits for its incident's beginning, or changes nothing.
    """

    receivers: Sequence[Receiver] = ()
    counters: Counters | None = None


class Incident(msgspec.Struct, array_like=True):
    """An incident's last version. Without one, its ending came first and waits in ``early``.

    ``at``: event time of its last change; ``seen_at``: the clock's at that moment (both epoch ms).
    """

    alert: Alert | None
    at: int
    seen_at: int
    early: tuple[Finding, ...] = ()


class Clock(msgspec.Struct, array_like=True):
    """Event time of one tenant's stream, and when its incidents were last looked through.

    ``at`` and ``swept`` are event time, ``seen_at`` the clock's (all epoch ms).
    """

    at: int
    swept: int
    seen_at: int


INCIDENT_STORES = (struct_store(INCIDENTS, Incident), struct_store(CLOCKS, Clock))


def fold_findings(batch: Batch, state: State, now: int, config: IncidentConfig) -> list[Output]:
    """Turn findings into versions of alerts and notifications of them.

    ``now`` (ms) stamps versions as ``seen_at`` and decides nothing but how long ended streams are
    remembered. Bytes that are no finding go to ``dead-letters``.
    """
    outputs: list[Output] = []
    for record in batch.records:
        try:
            finding = decode_finding(record.value or b"")
        except (msgspec.DecodeError, ValueError) as exc:
            rejected = Rejected("undecodable_finding", str(exc)[:500])
            outputs.append(dead_letter(record, batch.source, batch.partition, rejected, now))
            _count(config, "undecodable")
            continue
        if finding.state == "pending":
            continue
        for transition in _apply(finding, state[INCIDENTS], now, config):
            for stage in STAGES:
                outputs += stage(transition, config.receivers)
        _tick(finding, state, now)
    return outputs


def _apply(
    finding: Finding, incidents: MutableMapping[str, Incident], now: int, config: IncidentConfig
) -> list[Transition]:
    """The new versions that a finding brings: none, one, or those that had waited for it."""
    key = f"{finding.tenant}:{finding.incident}"
    known = incidents.get(key)
    alert = known.alert if known is not None else None
    if alert is None and finding.state != "firing":
        early = known.early if known is not None else ()
        if any(f.state == finding.state for f in early):
            _count(config, "repeated")
            return []
        incidents[key] = Incident(None, finding.at, now, (*early, finding))
        _count(config, "early")
        return []
    takes_over = (
        alert is not None and alert.state == finding.state == "firing"
        and finding.takes_over != "" and alert.parent != ""
    )  # fmt: skip
    if alert is not None and _ORDER[finding.state] <= _ORDER[alert.state] and not takes_over:
        _count(config, "repeated")
        return []
    early = known.early if known is not None else ()
    waiting = sorted(early, key=lambda f: _ORDER[f.state])
    made = []
    for each in (finding, *waiting):
        alert = _version(each, alert, now)
        made.append(Transition(alert, each.receivers))
    incidents[key] = Incident(alert, made[-1].alert.updated_at, now)
    return made


def _version(finding: Finding, before: Alert | None, now: int) -> Alert:
    """The alert's next version. What it began with stays; what it is now comes from the finding."""
    is_over = finding.state != "firing"
    return Alert(
        id=finding.incident,
        revision=before.revision + 1 if before is not None else 0,
        tenant=finding.tenant,
        rule=finding.rule,
        rule_version=before.rule_version if before is not None else finding.rule_version,
        kind=finding.kind,
        state="firing" if finding.state == "pending" else finding.state,
        severity=before.severity if before is not None else finding.severity,
        series=finding.series,
        measure=finding.measure,
        tags=finding.tags,
        stream=finding.stream,
        started_at=finding.since,
        fired_at=before.fired_at if before is not None else finding.at,
        updated_at=finding.at if before is None else max(finding.at, before.updated_at),
        reason=finding.reason,
        summary=finding.summary,
        resolved_at=_resolved_at(finding, before) if is_over else None,
        value=finding.value,
        threshold=finding.threshold,
        score=finding.score,
        low=finding.low,
        high=finding.high,
        peak=finding.peak,
        seen_at=now,
        shape=finding.shape,
        tail=finding.tail,
        contributions=finding.contributions,
        parent=finding.parent if before is None or finding.takes_over else before.parent,
        cause=before.cause if before is not None else finding.cause,
        shares=before.shares if before is not None else finding.shares,
    )


def _resolved_at(finding: Finding, before: Alert | None) -> int:
    """A resolved alert that is taken back keeps the time it was resolved at."""
    if before is not None and before.resolved_at is not None:
        return before.resolved_at
    return finding.at


def _tick(finding: Finding, state: State, now: int) -> None:
    """Move the stream's clock; once an hour of its time, forget what has long been over."""
    clocks: MutableMapping[str, Clock] = state[CLOCKS]
    key = f"{finding.tenant}:{finding.stream}"
    clock = clocks.get(key) or Clock(finding.at, finding.at, now)
    at = max(clock.at, finding.at)
    if at - clock.swept >= SWEEP:
        _sweep(state, finding.tenant, finding.stream, at, now)
        clock = Clock(at, at, now)
    clocks[key] = Clock(at, clock.swept, now)


def _sweep(state: State, tenant: str, stream: str, at: int, now: int) -> None:
    incidents: MutableMapping[str, Incident] = state[INCIDENTS]
    clocks: MutableMapping[str, Clock] = state[CLOCKS]
    for key, incident in list(incidents.items()):
        owner = incident.alert or incident.early[0]
        is_ours = (owner.tenant, owner.stream) == (tenant, stream)
        is_over = incident.alert is None or incident.alert.state != "firing"
        if is_over and ((is_ours and at - incident.at > KEPT) or now - incident.seen_at > KEPT):
            del incidents[key]
    for key, clock in list(clocks.items()):
        if now - clock.seen_at > KEPT:
            del clocks[key]


def _count(config: IncidentConfig, reason: str) -> None:
    if config.counters is not None:
        config.counters.count("finding", reason)
