"""What of a detector's verdict goes along with a window's value or finding, and what a revision keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec.structs import replace

from alerts.conditions import abandon, advance
from alerts.rules import Rule
from alerts.rulestate import RuleState
from ml.protocol import Verdict
from models.flow import Output
from models.records import REMARKABLE, Finding, Value, Window, to_json
from models.topics import ALERT_ID_HEADER, STREAM_HEADER

_TOLD = 3
"""Contexts whose share of a score is told: more than two are never put into words."""

_LEAST = 0.05
"""The least share that is told."""


def judged(value: Value, verdict: Verdict, model: str = "") -> Value:
    """The value with score and band; what a surprise looks like only where it is remarkable.

    ``model`` is the id of the model that gave the verdict, "" for the configured detector.
    """
    score, tail = verdict.score, verdict.tail
    value = replace(
        value, score=score, low=verdict.low, high=verdict.high, learning=score is None, model=model
    )
    if score is None or score < REMARKABLE:
        return value
    return replace(
        value,
        shape=verdict.shape,
        tail=None if tail is None else float(f"{tail:.2g}"),
        contributions=shares(verdict.contributions, score),
    )


def shares(parts: tuple[tuple[str, float], ...], score: float) -> dict[str, float]:
    """The largest contributions to a score (> 0) as shares of it, largest first, in hundredths."""
    largest = sorted(parts, key=lambda part: -part[1])[:_TOLD]
    return {name: round(part / score, 2) for name, part in largest if part >= _LEAST * score}


def rejudged(value: Value, first: Value | None) -> Value:
    """A revised value under the verdict of its first publication: 0 if it is inside that band."""
    if first is None or value.value is None:
        return value
    score, low, high = first.score, first.low, first.high
    if score is not None and low is not None and high is not None and low <= value.value <= high:
        return replace(
            value, score=0.0, low=low, high=high, learning=first.learning, model=first.model
        )
    return replace(
        value,
        score=score,
        low=low,
        high=high,
        learning=first.learning,
        model=first.model,
        shape=first.shape,
        tail=first.tail,
        contributions=first.contributions,
    )


def looked_at(
    rules: Iterable[Rule],
    states: Mapping[str, RuleState],
    window: Window,
    value: Value,
    series: str,
) -> tuple[dict[str, RuleState], list[Output]]:
    """What these rules remember of a series after one more value of it, and what they found.

    ``states`` are theirs by rule; of a rule that is not among ``rules`` nothing is remembered.
    """
    kept: dict[str, RuleState] = {}
    outputs: list[Output] = []
    for rule in rules:
        after, findings = advance(rule, states.get(rule.id), window, value, series)
        if after is not None:
            kept[rule.id] = after
        outputs += map(output, findings)
    return kept, outputs


def abandoned(
    rules: Iterable[Rule], states: Mapping[str, RuleState], window: Window, series: str, why: str
) -> Iterator[Output]:
    """What ends the incidents of a series of which nothing more will be seen: :func:`abandon`'s."""
    for rule in rules:
        if (state := states.get(rule.id)) is not None:
            yield from map(output, abandon(rule, state, window, series, why))


def published(window: Window) -> Output:
    """A window that was judged apart from those of the windows step, as it is written."""
    header = ((STREAM_HEADER, window.stream.encode()),)
    return Output("windows", window.group.encode(), to_json(window), header)


def output(finding: Finding) -> Output:
    """A finding as it is written, with what feeds look for in its headers."""
    headers = (
        (ALERT_ID_HEADER, finding.incident.encode()),
        (STREAM_HEADER, finding.stream.encode()),
    )
    return Output("findings", finding.tenant.encode(), to_json(finding), headers)
