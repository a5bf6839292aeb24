"""Which rules look at a window: asked for every window, so the answer is remembered per group."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from alerts.rules import Rule
from models.config import METRIC_PREFIX, group_name
from models.records import Window
from models.series import SeriesKey, parse_key

_REMEMBERED = 50_000


class RuleIndex:
    """The rules of one moment, by (group name, window size). Make a new one when rules change."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._plays: dict[tuple[str, int], list[Rule]] = {}
        self._metrics: list[Rule] = []
        self._attributed: dict[tuple[str, int], dict[str, str]] = {}
        self._known: dict[tuple[str, int, int], tuple[Rule, ...]] = {}
        self._apart: dict[tuple[str, str], list[Rule]] = {}
        for rule in self.rules:
            if rule.kind in {"joint", "release"}:
                self._apart.setdefault((rule.kind, rule.measure), []).append(rule)
            elif rule.tags is None:
                self._metrics.append(rule)
            elif rule.size is not None:
                self._plays.setdefault((group_name(rule.tags), rule.size), []).append(rule)

    def rules_for(self, window: Window) -> tuple[Rule, ...]:
        """The rules that look at this window, in the order they were given."""
        asked = (window.group, window.size, window.slide)
        known = self._known.get(asked)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._known[asked] = self._select(window)
        return known

    def joint(self, name: str, group: str) -> tuple[Rule, ...]:
        """The rules that look at a thing whose metrics are judged together, by its group key."""
        return self._looking("joint", name, group)

    def release(self, measure: str, group: str) -> tuple[Rule, ...]:
        """The rules that look at a measure of a track in its first week, by its group key."""
        return self._looking("release", measure, group)

    def released(self, tenant: str) -> tuple[str, ...]:
        """The measures that rules look at in a tenant's tracks' first weeks."""
        return tuple(
            measure
            for (kind, measure), rules in self._apart.items()
            if kind == "release" and any(rule.tenant in {"", tenant} for rule in rules)
        )

    def _looking(self, kind: str, name: str, group: str) -> tuple[Rule, ...]:
        asked = self._apart.get((kind, name))
        if not asked:
            return ()
        key = parse_key(group)
        return tuple(rule for rule in asked if _matches(rule, key))

    def attributed(self, tenant: str, size: int) -> dict[str, str]:
        """The measures that rules attribute in a tenant's windows of ``size`` ms, with their kinds."""
        found = self._attributed.get((tenant, size))
        if found is None:
            found = self._attributed[tenant, size] = {
                rule.measure: rule.measure_kind
                for rule in self.rules
                if rule.attribute and rule.size == size and rule.tenant in {"", tenant}
            }
        return found

    def _select(self, window: Window) -> tuple[Rule, ...]:
        key = parse_key(window.group)
        if key.name.startswith(METRIC_PREFIX):
            name = key.name.removeprefix(METRIC_PREFIX)
            candidates = [
                r
                for r in self._metrics
                if fnmatchcase(name, r.metric or "*") and _is_window_of(r, window)
            ]
        else:
            candidates = self._plays.get((key.name, window.size), [])
        return tuple(r for r in candidates if _matches(r, key))


def rules_for(window: Window, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules that look at one window; for many windows, keep a :class:`RuleIndex`."""
    return RuleIndex(rules).rules_for(window)


def _is_window_of(rule: Rule, window: Window) -> bool:
    """A metric's pane is its tumbling window, whatever size its spacing gave it."""
    if rule.size is None:
        return window.size == window.slide
    return rule.size == window.size


def _matches(rule: Rule, key: SeriesKey) -> bool:
    tags = dict(key.tags)
    return rule.tenant in {"", key.tenant} and all(
        tag in tags and fnmatchcase(tags[tag], glob) for tag, glob in rule.match.items()
    )
