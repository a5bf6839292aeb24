"""The life of a forecast rule: pending, firing, resolved, by what is expected and not by what is."""

from typing import Any

from msgspec.structs import replace

from alerts import rulestate
from alerts.conditions import advance
from alerts.outlook import Outlook
from models.records import LIVE, Window
from models.series import format_key
from tests.alerts.timeline import T0, Timeline, rule

HOUR = 3_600_000
WHEN = "forecast(value) >= 0.9 within 6h with 80% for 20s"


class Ahead(Timeline):
    """A timeline of outlooks on a disk."""

    def __init__(self, when: str = WHEN, **keys: Any) -> None:
        super().__init__(rule(when, metric="disk_used", window="pane", **keys))
        self.series = format_key("acme", "metric:disk_used", {"host": "db-1"})

    def expect(self, at, probability, ahead=None, value=0.7, revision=0):
        start = T0 + round(at * 1000)
        made = Outlook(value, 100.0, score=probability, ahead=ahead)
        window = Window(
            "acme", self.series, LIVE, start, start + 10_000, 10_000, 10_000, 1,
            {"value": made}, revision,
        )  # fmt: skip
        state, findings = advance(self.rule, self.state, window, made, self.series)
        self.state = None if state is None else rulestate.decode(rulestate.encode(state))
        self.findings += findings
        return findings


def test_it_is_pending_then_fires_then_resolves():
    disk = Ahead()
    disk.expect(0, 0.5, 5 * HOUR)
    disk.expect(10, 0.86, 4 * HOUR)
    disk.expect(20, 0.88, 4 * HOUR)
    disk.expect(30, 0.88, 4 * HOUR)
    disk.expect(40, 0.3)
    disk.expect(50, 0.2)

    assert disk.told() == [("pending", 20), ("firing", 30), ("resolved", 60)]


def test_the_reason_says_what_is_expected_and_how_surely():
    disk = Ahead()
    (pending,) = disk.expect(0, 0.86, 4 * HOUR + 400_000)

    assert pending.reason == "disk_used of db-1 will cross 0.9 in about 4 h (probability 86 %)"
    assert (pending.kind, pending.score, pending.threshold) == ("forecast", 0.86, 0.9)
    disk.expect(10, 0.9, 4 * HOUR)
    disk.expect(20, 0.1)
    (resolved,) = disk.expect(30, 0.08)
    assert "not expected to cross 0.9 within 6 h (probability 8 %)" in resolved.reason


def test_an_unlikely_crossing_may_be_asked_for_and_a_crossed_limit_says_so():
    may = Ahead("forecast(value) >= 0.9 within 6h with 20%")
    (fired,) = may.expect(0, 0.34)
    assert fired.reason == "disk_used of db-1 may cross 0.9 within 6 h (probability 34 %)"
    over = Ahead()
    (pending,) = over.expect(0, 1.0, 0, value=0.93)
    assert pending.reason == "disk_used of db-1 is 0.93, at or above 0.9 already"


def test_a_learning_forecaster_says_nothing():
    disk = Ahead()
    assert disk.expect(0, None) == []
    assert disk.state is None


def test_late_events_do_not_take_back_what_was_expected():
    disk = Ahead()
    for at in (0, 10, 20):
        disk.expect(at, 0.9, HOUR)
    assert disk.expect(0, None, value=0.1, revision=1) == []
    assert disk.state.incident.phase == "firing"


def test_the_weight_that_a_rule_wants_holds_for_forecasts():
    disk = Ahead(min_weight=200)
    assert disk.expect(0, 0.99, HOUR) == []


def test_an_outlook_is_a_value_all_the_way():
    assert replace(Outlook(1.0, ahead=5), low=0.0).ahead == 5
