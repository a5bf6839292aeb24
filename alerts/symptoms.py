"""What a window shows beside its value: its shape, its rarity, or that it is silent.

Separate from the life of a condition, which only asks whether a window breaches.
"""

from __future__ import annotations

from msgspec.structs import replace

from alerts.rules import Rule
from alerts.rulestate import Incident
from models.records import Value

_COUNTED = frozenset({"count", "distinct"})
"""Measures that say nought where nothing happens; the others have no value then."""


def is_silent(rule: Rule, value: Value) -> bool:
    """Whether the rule's measure says nothing: no value, or a count of nought."""
    return value.value is None or (rule.measure_kind in _COUNTED and value.value == 0)


def has_spoken(rule: Rule, value: Value) -> bool:
    """Whether the series begins here, for a rule that asks how old it is or whether it ever was."""
    if rule.kind == "absence":
        return not is_silent(rule, value)
    return value.value is not None and bool(rule.min_history or rule.reopen is None)


def shape_holds(rule: Rule, value: Value) -> bool:
    """Whether the surprise looks as the rule wants it to."""
    return not rule.shape or value.shape == rule.shape


def with_symptoms(incident: Incident, value: Value, *, is_worse: bool) -> Incident:
    """The incident after one more breaching window: the latest shape, the rarity of the worst."""
    worst = value if is_worse else incident
    return replace(
        incident,
        shape=value.shape or incident.shape,
        tail=worst.tail,
        contributions=worst.contributions,
    )
