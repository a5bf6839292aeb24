"""A rule on one series, told as a timeline: push windows, want findings; time is the data's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alerts import rulestate
from alerts.conditions import advance
from alerts.rules import Rule, parse_rule
from models.config import load_series_config
from models.records import LIVE, Finding, Value, Window
from models.series import format_key

ROOT = Path(__file__).parents[2]
SERIES = load_series_config(ROOT / "config" / "series.toml")
T0 = 1_767_225_600_000
"""2026-01-01 00:00:00 UTC."""

TAGS = {"country": "FR", "platform": "ios"}


def rule(when: str = "error_rate > 0.05 for 20s", **keys: Any) -> Rule:
    """A rule on platform × country, every 10 s, unless said otherwise."""
    raw = {"id": "r", "when": when, "window": "10s", "severity": "page"}
    if "metric" not in keys:
        raw["group"] = ["platform", "country"]
    return parse_rule(raw | keys, SERIES)


class Timeline:
    """Pushes windows of one series through a rule; times are seconds after T0.

    Every push sends the state through its bytes, so each test is also one of crash and resume.
    """

    def __init__(
        self, rule: Rule, *, size: int = 10, slide: int | None = None, stream: str = LIVE
    ) -> None:
        self.rule = rule
        self.size = size
        self.slide = slide or size
        self.stream = stream
        self.state: rulestate.RuleState | None = None
        self.findings: list[Finding] = []
        name = rule.measure if rule.metric is None else "queue"
        tags = TAGS if rule.metric is None else {"host": "web-1"}
        self.series = format_key("acme", name, tags)

    def push(
        self,
        at: float,
        value: float | None = None,
        *,
        revision: int = 0,
        weight: float = 100.0,
        **verdict: Any,
    ) -> list[Finding]:
        """The window that starts `at`; returns what it brought."""
        start = T0 + round(at * 1000)
        made = Value(value, weight, **verdict)
        window = Window(
            "acme", format_key("acme", "g", TAGS), self.stream, start, start + self.size * 1000,
            self.size * 1000, self.slide * 1000, 100, {self.rule.measure: made}, revision,
        )  # fmt: skip
        state, findings = advance(self.rule, self.state, window, made, self.series)
        self.state = None if state is None else rulestate.decode(rulestate.encode(state))
        assert self.state == state
        self.findings += findings
        return findings

    def each(self, start: float, values: list[float | None], **verdict: Any) -> list[str]:
        """Windows one after the other from `start`; the states of what they brought."""
        brought = []
        for i, value in enumerate(values):
            brought += [f.state for f in self.push(start + i * self.slide, value, **verdict)]
        return brought

    def want(self, state: str, between: tuple[float, float]) -> Finding:
        """The only finding of this state whose event time lies between two instants."""
        low, high = (T0 + round(t * 1000) for t in between)
        found = [f for f in self.findings if f.state == state and low <= f.at <= high]
        assert len(found) == 1, f"{len(found)} {state} between {between}: {self.told()}"
        return found[0]

    def told(self) -> list[tuple[str, float]]:
        """(state, seconds) of everything so far."""
        return [(f.state, (f.at - T0) / 1000) for f in self.findings]
