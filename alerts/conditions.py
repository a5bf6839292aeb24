"""The life of one rule on one series: inactive, pending, firing, resolved, and taken back.

Decided in event time from windows alone, so that the same windows give the same findings however
they were batched. Separate from incidents, which meet only later, per tenant.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec.structs import replace

from alerts import wording
from alerts.grammar import SURPRISES
from alerts.rules import Rule
from alerts.rulestate import Incident, RuleState, Seen, incident_id, remembered
from alerts.symptoms import has_spoken, is_silent, shape_holds, with_symptoms
from models.config import METRIC_PREFIX
from models.records import Finding, Value, Window
from models.series import parse_key

LONG_GAP = 10
"""Windows without data after which an incident ends: nothing shows that it goes on."""

REVISABLE = 24 * 3_600_000
"""How long, in ms of event time, late events may still take back an incident that has ended."""

REOPEN_SHARE = 0.04
REOPEN_WINDOWS = (30, 300)
"""``reopen = "auto"``: quiet for this share of the stream's age, within these numbers of windows.
The older a stream, the rarer its news: of all levers on false alarms this is the largest."""

_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}

Step = tuple[RuleState | None, list[Finding]]
FindingState = Literal["pending", "firing", "resolved", "retracted"]


class _At(NamedTuple):
    """Where a decision is made."""

    rule: Rule
    window: Window
    value: Value
    series: str


def advance(
    rule: Rule, state: RuleState | None, window: Window, value: Value, series_key: str
) -> Step:
    """Take one window of one series into account.

    ``value`` is the rule's measure of ``window``; first publications come in order of event time,
    revisions whenever. Returns the new state (the same object if nothing changed, None if there is
    nothing to remember) and the changes it brought, oldest first.
    """
    at = _At(rule, window, value, series_key)
    if window.revision:
        return _revise(at, state)
    breach = breaches(rule, value)
    incident = state.incident if state is not None else None
    if incident is None:
        state = _with_first(rule, state, window, value)
        return _open(at, state) if breach else (state, [])
    if state is None or incident.phase == "ended":
        return _after(at, state, incident, breach)
    if window.end <= incident.data_end:
        return state, []
    return _follow(at, state, incident, breach)


def abandon(
    rule: Rule, state: RuleState, window: Window, series_key: str, why: str
) -> list[Finding]:
    """What ends an incident of a series of which nothing more will be seen.

    ``window`` is the one that would have come, without values; ``why`` is ``silent``, ``ended`` (the
    stream) or ``over`` (a track's first week). Only an incident that fires leaves a finding.
    """
    incident = state.incident
    if incident is None or incident.phase != "firing":
        return []
    at = _At(rule, window, Value(), series_key)
    gap = window.end - incident.data_end
    return _end(at, state, incident, wording.gone_reason(_subject(at), gap, why))[1]


def breaches(rule: Rule, value: Value) -> bool | None:
    """Whether a window breaches the rule; None where it says nothing.

    It says nothing without a value, with less weight than the rule wants (unless it counts), or
    while the detector or the forecaster is learning. A rule on absence is the other way round.
    """
    got = value.value
    if rule.kind == "absence":
        return is_silent(rule, value)
    if got is None or (rule.is_weighted and value.weight < rule.min_weight):
        return None
    if rule.kind == "threshold":
        return _COMPARE[rule.op](got, rule.threshold)
    if value.score is None:
        return None
    if rule.kind == "forecast":
        return value.score >= rule.probability
    return (
        value.score >= rule.threshold
        and shape_holds(rule, value)
        and _direction_holds(rule, got, value.low, value.high)
    )


def holds(evidence: tuple[Seen, ...], hold: int) -> bool:
    """Whether somewhere in the evidence breaching windows lasted ``hold`` ms without a break."""
    start: int | None = None
    for seen in evidence:
        if not seen.is_breach:
            start = None
            continue
        start = seen.start if start is None else start
        if seen.end - start >= hold:
            return True
    return False


def _direction_holds(rule: Rule, value: float, low: float | None, high: float | None) -> bool:
    if rule.direction == "any" or low is None or high is None:
        return True
    return value > high if rule.direction == "up" else value < low


def _with_first(
    rule: Rule, state: RuleState | None, window: Window, value: Value
) -> RuleState | None:
    """The series' beginning, remembered only for rules that ask how old it is."""
    if state is None and has_spoken(rule, value):
        return RuleState(first=window.start)
    return state


def _open(at: _At, state: RuleState | None) -> Step:
    """A breaching window while nothing is going on; what never spoke cannot fall silent."""
    rule, window, value = at.rule, at.window, at.value
    if rule.kind == "absence" and (state is None or state.first is None):
        return state, []
    first = window.start if state is None or state.first is None else state.first
    quiet_until = state.quiet_until if state is not None else 0
    if window.start - first < rule.min_history or window.start < quiet_until:
        return state, []
    incident = Incident(
        id=incident_id(rule, window, at.series),
        phase="pending",
        since=window.start,
        revision=-1,
        data_end=window.end,
        evidence=(_seen(at, is_breach=True),),
        peak=value.value,
        peak_score=value.score,
        low=value.low,
        high=value.high,
        shape=value.shape,
        tail=value.tail,
        contributions=value.contributions,
    )
    incident, findings = _rise(at, incident)
    if not findings:
        incident, finding = _say(at, incident, "pending", _breach_reason(at, incident))
        findings = [finding]
    return replace(state or RuleState(), incident=incident), findings


def _after(at: _At, state: RuleState | None, incident: Incident, breach: bool | None) -> Step:
    """A window after an incident that is kept only because late events may still take it back."""
    if state is None:
        return None, []
    if at.window.end <= incident.data_end:
        return state, []
    if breach:
        return _open(at, state)
    if at.window.start - incident.ended_at <= REVISABLE:
        return state, []
    return _without_incident(at, state), []


def _follow(at: _At, state: RuleState, incident: Incident, breach: bool | None) -> Step:
    """A window while an incident is pending or firing."""
    window = at.window
    reached = window.end if breach is None else window.start
    if (gap := reached - incident.data_end) > LONG_GAP * window.slide:
        reason = wording.gap_reason(_subject(at), gap)
        ended, findings = _end(at, state, incident, reason)
        if breach:
            reopened, more = _open(at, ended)
            return reopened, findings + more
        return ended, findings
    if breach is None:
        return state, []
    if breach:
        incident, findings = _rise(at, _breaching(at, incident))
        return replace(state, incident=incident), findings
    if incident.phase == "pending":
        return _end(at, state, incident, "")
    clear = incident.clear + window.end - max(window.start, incident.data_end)
    evidence = remembered(incident.evidence, _seen(at, is_breach=False))
    incident = replace(incident, clear=clear, data_end=window.end, evidence=evidence)
    if clear < max(at.rule.hold, window.size):
        return replace(state, incident=incident), []
    value = replace(at.value, shape=incident.shape)
    reason = wording.resolved_reason(at.rule, _subject(at), value, clear, incident.peak)
    return _end(at, state, incident, reason)


def _breaching(at: _At, incident: Incident) -> Incident:
    """The incident with one more breaching window."""
    value, peak, score = at.value, incident.peak, incident.peak_score
    if at.rule.kind in SURPRISES:
        is_worse = score is None or (value.score or 0.0) > score
    else:
        is_worse = _is_worse(at.rule, value.value, peak)
    if is_worse:
        peak, score = value.value, value.score
    incident = with_symptoms(incident, value, is_worse=is_worse)
    if at.rule.kind == "release":  # of another hour, which has another band
        incident = replace(incident, low=value.low, high=value.high)
    return replace(
        incident,
        clear=0,
        data_end=at.window.end,
        peak=peak,
        peak_score=score,
        evidence=remembered(incident.evidence, _seen(at, is_breach=True)),
    )


def _is_worse(rule: Rule, value: float | None, peak: float | None) -> bool:
    if value is None or peak is None:
        return peak is None
    return value > peak if rule.op in {">", ">="} else value < peak


def _rise(at: _At, incident: Incident) -> tuple[Incident, list[Finding]]:
    """Pending becomes firing once the breach has lasted."""
    if incident.phase != "pending" or at.window.end - incident.since < at.rule.hold:
        return incident, []
    incident = replace(incident, phase="firing")
    incident, finding = _say(at, incident, "firing", _breach_reason(at, incident))
    return incident, [finding]


def _end(at: _At, state: RuleState, incident: Incident, reason: str) -> Step:
    """Nothing goes on any more. What never fired leaves no trace."""
    if incident.phase == "pending":
        return _without_incident(at, state), []
    end = at.window.end
    incident, finding = _say(at, incident, "resolved", reason)
    incident = replace(incident, phase="ended", ended_at=end)
    quiet = _quiet(at, state)
    quiet_until = end + quiet if quiet else 0
    return replace(state, incident=incident, quiet_until=quiet_until), [finding]


def _without_incident(at: _At, state: RuleState) -> RuleState | None:
    """What is left to remember when an incident is forgotten."""
    if state.first is None and state.quiet_until <= at.window.end:
        return None
    return replace(state, incident=None)


def _quiet(at: _At, state: RuleState) -> int:
    """Ms after an incident in which no other begins."""
    if at.rule.reopen is not None:
        return at.rule.reopen
    slide = at.window.slide
    age = at.window.end - (state.first if state.first is not None else at.window.start)
    least, most = REOPEN_WINDOWS
    return int(min(max(REOPEN_SHARE * age, least * slide), most * slide))


def _revise(at: _At, state: RuleState | None) -> Step:
    """A window published again after late events: it may take an incident back, never begin one.

    The verdict on the revised value uses the band of the first publication.
    """
    incident = state.incident if state is not None else None
    if state is None or incident is None:
        return state, []
    place = next((i for i, s in enumerate(incident.evidence) if _is_same(s, at.window)), None)
    if place is None:
        return state, []
    seen = incident.evidence[place]
    if (is_breach := _still_breaches(at, seen)) == seen.is_breach:
        return state, []
    changed = replace(seen, is_breach=is_breach)
    evidence = (*incident.evidence[:place], changed, *incident.evidence[place + 1 :])
    incident = replace(incident, evidence=evidence)
    if incident.phase == "pending":
        if evidence[0].is_breach:
            return replace(state, incident=incident), []
        return _without_incident(at, state), []
    if holds(evidence, at.rule.hold):
        return replace(state, incident=incident), []
    known = replace(at.value, low=seen.low, high=seen.high)
    reason = wording.retracted_reason(at.rule, _subject(at), known, at.window.start)
    _, finding = _say(at, incident, "retracted", reason)
    return _without_incident(at, replace(state, quiet_until=0)), [finding]


def _is_same(seen: Seen, window: Window) -> bool:
    return seen.start == window.start and seen.end == window.end


def _still_breaches(at: _At, seen: Seen) -> bool:
    """Whether a window of the evidence breaches with its revised value."""
    now, rule = at.value, at.rule
    if now.value is None:
        return seen.is_breach
    if rule.kind == "forecast":  # what was expected then is not changed by what is known now
        return seen.is_breach
    if rule.kind != "anomaly":
        verdict = breaches(rule, now)
        return seen.is_breach if verdict is None else verdict
    if seen.low is None or seen.high is None:
        return seen.is_breach
    was_outside = not seen.low <= seen.value <= seen.high
    is_outside = not seen.low <= now.value <= seen.high
    if was_outside and not is_outside:
        return False
    if now.score is not None and now.score < rule.threshold:
        return False
    return seen.is_breach and _direction_holds(rule, now.value, seen.low, seen.high)


def _seen(at: _At, *, is_breach: bool) -> Seen:
    value, window = at.value, at.window
    got = 0.0 if value.value is None else value.value
    return Seen(window.start, window.end, is_breach, got, value.low, value.high)


def _subject(at: _At) -> str:
    key = parse_key(at.series)
    return wording.subject_text(at.rule, key.name.removeprefix(METRIC_PREFIX), dict(key.tags))


def _breach_reason(at: _At, incident: Incident) -> str:
    known = replace(
        at.value,
        low=incident.low,
        high=incident.high,
        shape=incident.shape,
        tail=incident.tail,
        contributions=incident.contributions,
    )
    return wording.breach_reason(at.rule, _subject(at), known, at.window.end - incident.since)


def _say(at: _At, incident: Incident, state: FindingState, reason: str) -> tuple[Incident, Finding]:
    """The finding of a change, and the incident that has made it."""
    rule, window, value = at.rule, at.window, at.value
    incident = replace(incident, revision=incident.revision + 1)
    tags = dict(parse_key(at.series).tags)
    finding = Finding(
        incident=incident.id,
        tenant=window.tenant,
        rule=rule.id,
        rule_version=rule.version,
        kind=rule.kind,
        state=state,
        series=at.series,
        stream=window.stream,
        measure=rule.measure,
        tags=tags,
        severity=rule.severity,
        since=incident.since,
        at=window.end,
        window_start=window.start,
        window_end=window.end,
        reason=reason,
        value=value.value,
        threshold=rule.threshold,
        score=value.score,
        low=incident.low,
        high=incident.high,
        peak=incident.peak,
        revision=incident.revision,
        receivers=list(rule.receivers),
        summary=wording.summary_text(rule, _subject(at), tags),
        shape=incident.shape,
        tail=incident.tail,
        contributions=incident.contributions,
    )
    return incident, finding
