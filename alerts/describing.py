"""A rule in words, before anything has happened: what it looks at, and when it speaks."""

from __future__ import annotations

from alerts.rules import PANE, Rule
from alerts.wording import duration_text, listed, measure_name, number, percent

_COMPARED = {">": "above", ">=": "at or above", "<": "below", "<=": "at or below"}
_SHAPES = {"variance": "change in variation"}
_SIDES = {"up": ", above what was expected", "down": ", below what was expected"}


def rule_text(rule: Rule) -> str:
    """Such as ``error rate of platform × country above 15 % for 20 s, in windows of 10 s``.

    The weight, the tags that are chosen and the quiet time follow where the rule has them.
    """
    parts = [f"{_subject(rule)} {_condition(rule)}{_lasting(rule)}", _window(rule)]
    if rule.match:
        parts.append(f"where {listed([f'{tag} is {glob}' for tag, glob in rule.match.items()])}")
    if rule.is_weighted and rule.min_weight:
        parts.append(f"with at least {rule.min_weight:g} {_weighed(rule)}")
    if rule.min_history:
        parts.append(f"from {duration_text(rule.min_history)} of history on")
    if rule.reopen is None:
        parts.append("then quiet for a time that grows with the stream's age")
    elif rule.reopen:
        parts.append(f"then quiet for {duration_text(rule.reopen)}")
    if rule.attribute:
        parts.append("with the slices that explain it")
    return ", ".join(part for part in parts if part)


def _subject(rule: Rule) -> str:
    if rule.metrics:
        return listed(rule.metrics)
    if rule.metric is not None:
        return "any metric" if rule.metric == "*" else f"metrics {rule.metric}"
    if rule.kind == "release":
        return f"{measure_name(rule.measure)} of a track in its first week"
    return f"{measure_name(rule.measure)} of {' × '.join(rule.tags or ()) or 'everything'}"


def _condition(rule: Rule) -> str:
    if rule.kind == "absence":
        return "silent"
    if rule.kind == "threshold":
        return f"{_COMPARED[rule.op]} {number(rule, rule.threshold)}"
    if rule.kind == "forecast":
        chance = percent(rule.probability)
        ahead = duration_text(rule.within)
        limit = number(rule, rule.threshold)
        return (
            f"expected {_COMPARED[rule.op]} {limit} within {ahead} (probability {chance} or more)"
        )
    side = _SIDES.get(rule.direction, "")
    shape = f": a {_SHAPES.get(rule.shape, rule.shape)}" if rule.shape else ""
    unit = "surprise" if rule.kind == "anomaly" else "deviations"
    said = "not together as they were" if rule.kind == "joint" else "unusual"
    return f"{said}{side} ({unit} {rule.threshold:g} or more){shape}"


def _lasting(rule: Rule) -> str:
    return f" for {duration_text(rule.hold)}" if rule.hold else ""


def _window(rule: Rule) -> str:
    if rule.size is None:
        return f"in each {PANE} of the metric"
    return f"in windows of {duration_text(rule.size)}"


def _weighed(rule: Rule) -> str:
    if rule.kind == "joint":
        return "metrics that have a value"
    return "samples a window" if rule.metric is not None else "plays a window"
