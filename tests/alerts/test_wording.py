"""Reasons in words, read as a page: see `golden/reasons.txt`."""

import pytest
from msgspec.structs import replace

from alerts import wording
from alerts.outlook import Aged, Together
from alerts.rules import parse_rule
from models.config import JointSpec
from models.records import Value
from tests.alerts.timeline import SERIES, T0, rule

IOS = {"platform": "ios", "country": "FR"}
ERRORS = rule("error_rate > 0.05 for 20s")
START = rule("anomaly(startup_p95) >= 3 up", window="1m")
PLAYS = rule("anomaly(plays) >= 3", window="1m", group=[])
SILENT = rule("plays < 1 for 60s", group=["platform"], summary="No plays from {platform}")
QUEUE = rule("anomaly(value) >= 2", metric="*", window="pane")
LOAD = rule("value >= 97.5", metric="*", window="pane")


def about(of, name, tags):
    return wording.subject_text(of, name, tags)


def test_reasons_read_as_they_should(golden):
    errors, start = about(ERRORS, "error_rate", IOS), about(START, "startup_p95", IOS)
    plays, silent = about(PLAYS, "plays", {}), about(SILENT, "plays", {"platform": "ios"})
    queue = about(QUEUE, "queue_depth", {"host": "web-1", "dc": "par"})
    load = about(LOAD, "cpu", {"host": "web-1"})
    band, narrow = {"low": 1150.2, "high": 1479.9}, {"low": 30.0, "high": 30.0}
    shift = {"shape": "level shift", "tail": 0.0011}
    weekly = {"against this hour of the week": 0.56, "level": 0.21}
    several = {"contributions": {"level": 0.34, "jump": 0.3, "value": 0.2}}
    even = {"value": 0.2, "level": 0.2, "jump": 0.19}
    quiet = rule("absent(plays) for 5m", group=["platform"])
    lines = [
        wording.breach_reason(ERRORS, errors, Value(0.3123), 20_000),
        wording.breach_reason(START, start, Value(4210.4, 90, 6.0, **band), 50_000),
        wording.breach_reason(START, start, Value(42.25, 90, 6.0), 60_000),
        wording.breach_reason(PLAYS, plays, Value(12_345.0, 1, 4.0, 20_100.7, 22_000), 60_000),
        wording.breach_reason(PLAYS, plays, Value(1200.0, 1, 4.0, 1150, 1480), 60_000),
        wording.breach_reason(SILENT, silent, Value(0.0), 60_000),
        wording.breach_reason(QUEUE, queue, Value(0.01234567, 1, 2.5, -0.5, 0.001), 300_000),
        wording.breach_reason(QUEUE, queue, Value(-3.5e-7, 1, 2.5, **narrow), 0),
        wording.breach_reason(LOAD, load, Value(98.25), 3_900_000),
        wording.breach_reason(
            START, start, Value(4210.4, 90, 6.0, **band, **shift, contributions=weekly), 50_000
        ),
        wording.breach_reason(
            PLAYS, plays, Value(0.0, 1, 4.0, 1150, 1480, shape="drop to zero"), 0
        ),
        wording.breach_reason(PLAYS, plays, Value(1200.0, 1, 4.0, 1150, 1480, **several), 0),
        wording.breach_reason(
            PLAYS, plays, Value(12.0, 1, 4.0, 1150, 1480, tail=0.4, contributions=even), 0
        ),
        wording.breach_reason(quiet, silent, Value(0.0), 300_000),
        wording.resolved_reason(quiet, silent, Value(12.0), 60_000, 0.0),
        wording.retracted_reason(quiet, silent, Value(12.0), T0),
        wording.resolved_reason(
            START, start, Value(1300.0, 90, 0.1, **band, shape="spike"), 60_000, 4210.4
        ),
        wording.resolved_reason(ERRORS, errors, Value(0.012), 20_000, 0.3123),
        wording.resolved_reason(START, start, Value(1300.0, 90, 0.1, **band), 60_000, 4210.4),
        wording.resolved_reason(START, start, Value(2300.0, 90, 0.1, **band), 60_000, 4210.4),
        wording.resolved_reason(LOAD, load, Value(12.0), 172_800_000, None),
        wording.gap_reason(errors, 110_000),
        wording.retracted_reason(ERRORS, errors, Value(0.031), T0),
        wording.retracted_reason(START, start, Value(1200.0, **band), T0),
        wording.summary_text(SILENT, silent, {"platform": "ios"}),
        wording.summary_text(ERRORS, errors, IOS),
    ]

    golden("reasons.txt", "\n".join(lines) + "\n")


def test_tags_come_in_the_order_the_rule_was_written_in():
    turned = rule(group=["country", "platform"])

    assert about(ERRORS, "error_rate", IOS) == "error rate of ios × FR"
    assert about(turned, "error_rate", IOS) == "error rate of FR × ios"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1, "1"), (1234567.8, "1,234,568"), (12.3456, "12.35"), (0.000123456, "0.000123"),
     (-5.5, "−5.5"), (1e15, "1.000e+15"), (2e-9, "2.000e−09"), (999.96, "1,000"), (-0.0, "0")],
)  # fmt: skip
def test_numbers_of_metrics_have_four_digits(value, text):
    assert wording.number(QUEUE, value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(500, "500 ms"), (50_000, "50 s"), (60_000, "1 min"), (3_900_000, "1 h 5 min"),
     (90_061_000, "1 d 1 h")],
)  # fmt: skip
def test_durations_have_at_most_two_units(ms, text):
    assert wording.duration_text(ms) == text


def test_a_tracks_first_week_is_told_by_its_hour():
    raw = {"id": "course", "when": "release(plays) >= 3 for 2h", "severity": "page"}
    own = parse_rule(raw, replace(SERIES, groups=(("release",),)))
    tags = {"release": "t42@2026-11-27T00:00Z"}
    subject = about(own, "release:plays", tags)
    assert subject == "plays of t42"
    assert about(own, "release:plays", {"release": "odd"}) == "plays of odd"
    few = Aged(120.0, 120, 5.1, 900, 2_400, shape="dip", tail=0.0025, hour=29)
    assert wording.breach_reason(own, subject, few, 7_200_000) == (
        "plays of t42 in its 30th hour are 120, expected 900–2,400 as releases go, for 2 h: a dip, "
        "one in 400 of releases' hours"
    )
    inside = Aged(950.0, 950, 2.1, 900, 2_400, hour=0)
    assert wording.breach_reason(own, subject, inside, 0) == (
        "plays of t42 in its 1st hour are 950, expected 900–2,400 as releases go"
    )
    calm = Aged(1000.0, 1000, 0.4, 900, 2_400, shape="dip", hour=32)
    assert wording.resolved_reason(own, subject, calm, 7_200_000, 120.0) == (
        "plays of t42 in its 33rd hour are 1,000, as expected (900–2,400), for 2 h; it was 120 at "
        "worst, a dip"
    )
    assert wording.gone_reason(subject, 0, "over") == "plays of t42: its first week is over"
    assert wording.summary_text(own, subject, tags) == "Plays of t42: course"


@pytest.mark.parametrize(
    ("hour", "text"), [(0, "1st"), (1, "2nd"), (10, "11th"), (21, "22nd"), (111, "112th")]
)
def test_hours_are_counted_in_words(hour, text):
    own = rule("anomaly(plays) >= 3", window="1m", group=[])
    told = wording.breach_reason(own, "plays", Aged(1.0, 1, 5.0, hour=hour), 0)
    assert told.startswith(f"plays in its {text} hour are 1")


def test_metrics_judged_together_are_told_with_shares_and_what_is_missing():
    metrics = ("cpu", "memory", "requests")
    joint = JointSpec("health", metrics, 60_000, ("host",), 60_000)
    raw = {"id": "host-health", "when": "joint(health) >= 4 for 2m", "severity": "page"}
    own = parse_rule(raw, replace(SERIES, joints=(joint,)))
    subject = about(own, "joint:health", {"host": "db-1"})
    clear = Together(6.1, 3, 6.1, contributions={"requests": 0.71, "cpu": 0.2, "memory": 0.09})
    even = Together(5.0, 2, 5.0, contributions={"requests": 0.45, "cpu": 0.4}, missing=("memory",))
    apart = "cpu, memory and requests of db-1 do not go together as they did"
    assert wording.breach_reason(own, subject, clear, 120_000) == (
        f"{apart}: a joint surprise of 6.1 deviations, mostly requests (71 %), for 2 min"
    )
    assert wording.breach_reason(own, subject, even, 0) == (
        f"{apart}: a joint surprise of 5 deviations, mostly requests (45 %) and cpu (40 %); "
        "without memory"
    )
    assert wording.resolved_reason(own, subject, Together(0.4, 3, 0.4), 300_000, 6.1) == (
        "cpu, memory and requests of db-1 go together again: a joint surprise of 0.4 deviations, "
        "for 5 min; it was 6.1 at worst"
    )
    assert wording.summary_text(own, subject, {"host": "db-1"}) == (
        "Cpu, memory and requests of db-1: host health"
    )


@pytest.mark.parametrize(
    ("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed(names, text):
    assert wording.listed(names) == text
