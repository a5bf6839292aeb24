"""Every kind of surprise a rule can ask for, from values to findings: each is found, others are not."""

import random
from functools import cache

import pytest

from agents.detectors import DetectorChoice
from agents.judging import JUDGE_STORES, RuleBook, RuleJudge
from alerts.rules import parse_rule
from models.records import Finding, Value, Window, decode_finding
from tests.alerts.timeline import SERIES

MINUTE = next(w for w in SERIES.windows if w.detect)
USUAL = 1200
AFTER = 40

WHEN = {
    "up": "anomaly(plays) >= 1.5 up",
    "down": "anomaly(plays) >= 1.5 down",
    "spike": "anomaly(plays) >= 1.5 shape spike",
    "dip": "anomaly(plays) >= 1.5 shape dip",
    "level shift": 'anomaly(plays) >= 1.5 shape "level shift"',
    "variance": "anomaly(plays) >= 1.5 shape variance",
    "drop to zero": 'anomaly(plays) >= 1.5 shape "drop to zero"',
    "absence": "absent(plays) for 5m",
}

ALONE = {"window": "1m", "group": [], "severity": "info", "attribute": False}
"""A rule whose findings do not wait for those of other slices."""


def course(kind: str) -> list[float]:
    """Forty minutes after twenty usual hours around 100."""
    draw = random.Random(11)
    usual = [draw.gauss(100, 4) for _ in range(AFTER)]
    match kind:
        case "calm":
            return usual
        case "spikes":
            return [v + 80 * (i in {5, 6}) for i, v in enumerate(usual)]
        case "dips":
            return [v - 60 * (i in {5, 6}) for i, v in enumerate(usual)]
        case "shift up":
            return [v + 40 * (i >= 5) for i, v in enumerate(usual)]
        case "shift down":
            return [v - 40 * (i >= 5) for i, v in enumerate(usual)]
        case "wilder":
            return [100 + 2.6 * (v - 100) for v in usual]
        case "silence":
            return [v * (i < 5) for i, v in enumerate(usual)]
    raise ValueError(kind)


@cache
def fired(kind: str) -> frozenset[str]:
    """The rules of :data:`WHEN` that fire in that course."""
    rules = [parse_rule({"id": name, "when": when} | ALONE, SERIES) for name, when in WHEN.items()]
    judge = RuleJudge(RuleBook(rules), [MINUTE.size], DetectorChoice())
    state = {spec.name: {} for spec in JUDGE_STORES}
    draw = random.Random(7)
    findings: list[Finding] = []
    for i, value in enumerate([draw.gauss(100, 4) for _ in range(USUAL)] + course(kind)):
        start = i * MINUTE.size
        window = Window(
            "demo", "demo|all{}", "live", start, start + MINUTE.size, MINUTE.size, MINUTE.slide, 1,
            {"plays": Value(value, value)},
        )  # fmt: skip
        _, outputs = judge(window, MINUTE, state)
        if i >= USUAL:
            findings += [decode_finding(o.value) for o in outputs if o.topic == "findings"]
    return frozenset(f.rule for f in findings if f.state == "firing")


@pytest.mark.parametrize(
    ("kind", "finds", "leaves"),
    [
        ("calm", set(), set(WHEN)),
        ("spikes", {"up", "spike"}, {"dip", "level shift", "drop to zero", "absence"}),
        ("dips", {"down", "dip"}, {"spike", "level shift", "drop to zero", "absence"}),
        ("shift up", {"up", "spike", "level shift"}, {"down", "dip", "drop to zero", "absence"}),
        ("shift down", {"down", "dip", "level shift"}, {"up", "spike", "drop to zero", "absence"}),
        ("wilder", {"variance"}, {"level shift", "drop to zero", "absence"}),
        ("silence", {"down", "drop to zero", "absence"}, {"up", "spike"}),
    ],
)
def test_what_is_asked_for_is_found_and_nothing_else(kind, finds, leaves):
    assert finds <= fired(kind)
    assert not leaves & fired(kind)


def test_all_there_is_to_ask_for_is_found_somewhere():
    courses = ("spikes", "dips", "shift up", "shift down", "wilder", "silence")

    assert frozenset().union(*(fired(kind) for kind in courses)) == WHEN.keys()
