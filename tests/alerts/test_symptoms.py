"""Rules that want one shape of a surprise, rules on silence, and what an incident says of itself."""

import msgspec
import pytest

from alerts.grammar import parse_when
from alerts.incidents import INCIDENT_STORES, IncidentConfig, fold_findings
from alerts.rules import rule_from_json, rule_to_json
from alerts.rulestate import RuleState, decode
from models.errors import ConfigurationError
from models.flow import Batch, Record
from models.records import Finding, decode_alert, to_json
from tests.alerts.timeline import T0, Timeline, rule

SPIKE = {"low": 100.0, "high": 140.0, "score": 3.0, "shape": "spike", "tail": 0.01}
SHIFT = {"low": 100.0, "high": 140.0, "score": 2.5, "shape": "level shift", "tail": 0.02}
CALM = {"low": 100.0, "high": 140.0, "score": 0.0}


def plays(when, **keys):
    return rule(when, window="1m", group=[], **keys)


@pytest.mark.parametrize(
    "text",
    [
        'anomaly(plays) >= 2 shape "level shift" for 1m',
        'anomaly(plays) >= 2 up shape "spike"',
        'anomaly(plays) >= 1.5 down shape "drop to zero" for 10s',
        "absent(plays) for 5m",
    ],
)
def test_a_condition_is_written_as_it_was_read(text):
    assert str(parse_when(text)) == text


@pytest.mark.parametrize(
    ("loose", "shape"),
    [
        ("anomaly(plays)>=2 shape spike", "spike"),
        ("anomaly(plays) >= 2 shape 'level shift'", "level shift"),
        ("anomaly(plays) >= 2 shape drop to zero for 1m", "drop to zero"),
        ("anomaly(plays) >= 2 shape variance", "variance"),
        ("anomaly(plays) >= 2 shape dip", "dip"),
    ],
)
def test_shapes_need_no_quotes(loose, shape):
    condition = parse_when(loose)

    assert condition.shape == shape
    assert parse_when(str(condition)) == condition


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("anomaly(plays) >= 2 shape bump", "'bump' is none of spike, dip"),
        ("anomaly(plays) >= 0.5 shape spike", "from a score of 1 on"),
        ("anomaly(plays) >= 2 up shape dip", "a dip is never up"),
        ("anomaly(plays) >= 2 down shape spike", "a spike is never down"),
        ("plays > 2 shape spike", "only anomaly"),
        ("absent(plays)", "not of the form"),
        ("absent(plays) > 3 for 1m", "not of the form"),
        ("absent(plays) for 0s", "zero"),
        ('anomaly(plays) >= 2 shape "spike', "not of the form"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        parse_when(text)


def test_absence_of_a_metric_is_refused_for_its_windows_end_with_it():
    with pytest.raises(ConfigurationError, match="no windows any more"):
        rule("absent(value) for 5m", metric="*", window="pane")


def test_a_rule_with_a_shape_crosses_its_topic_and_one_without_is_what_it_was():
    shaped = plays("anomaly(plays) >= 2 shape spike")

    assert rule_from_json(rule_to_json(shaped)) == shaped
    assert b"shape" not in rule_to_json(plays("anomaly(plays) >= 2"))


def test_only_the_shape_asked_for_fires():
    line = Timeline(plays('anomaly(plays) >= 2 shape "level shift" for 2m'), size=60)
    line.each(0, [400.0] * 4, **SPIKE)
    line.each(240, [400.0] * 2, **SHIFT)

    assert line.told() == [("pending", 300.0), ("firing", 360.0)]


def test_a_level_shift_that_began_as_a_spike_is_called_by_its_last_name():
    """Its rarity is that of the most surprising window, which was the spike."""
    line = Timeline(plays("anomaly(plays) >= 2 for 3m"), size=60)
    line.each(0, [400.0], **SPIKE, contributions={"level": 0.7})
    line.each(60, [400.0] * 2, **SHIFT, contributions={"jump": 0.9})
    firing = line.want("firing", (180, 180))
    line.each(180, [120.0] * 4, **CALM)
    resolved = line.want("resolved", (200, 500))

    for finding in (firing, resolved):
        assert (finding.shape, finding.tail) == ("level shift", 0.01)
        assert finding.contributions == {"level": 0.7}
    assert firing.reason.endswith(
        ": a level shift, one in 100 of its own surprises, mostly in level"
    )
    assert resolved.reason.endswith("it was 400 at worst, a level shift")


def test_an_alert_carries_what_its_finding_says():
    line = Timeline(plays("anomaly(plays) >= 2"), size=60)
    (finding,) = line.push(0, 400.0, **SPIKE, contributions={"level": 0.7})
    state = {spec.name: {} for spec in INCIDENT_STORES}
    record = Record(0, T0, b"acme", to_json(finding))
    outputs = fold_findings(Batch("findings", 0, [record], at_end=True), state, 0, IncidentConfig())
    alert = next(decode_alert(out.value) for out in outputs if out.topic == "alerts")

    assert (alert.shape, alert.tail, alert.contributions) == ("spike", 0.01, {"level": 0.7})


def test_a_finding_of_before_is_still_read():
    line = Timeline(plays("anomaly(plays) >= 2"), size=60)
    (finding,) = line.push(0, 400.0, low=100.0, high=140.0, score=3.0)

    assert b"shape" not in to_json(finding)
    assert msgspec.json.decode(to_json(finding), type=Finding).contributions == {}


def test_an_incident_of_before_is_still_read():
    """Its last three fields came later: without them nothing is said."""
    line = Timeline(plays("anomaly(plays) >= 2"), size=60)
    line.push(0, 400.0, **SPIKE)
    version, first, quiet, incident = msgspec.msgpack.decode(msgspec.msgpack.encode(line.state))
    old = decode(msgspec.msgpack.encode([version, first, quiet, incident[:-3]]))

    assert isinstance(old, RuleState)
    assert (old.incident.shape, old.incident.tail, old.incident.contributions) == ("", None, {})


class TestAbsence:
    """`absent(...)`: what used to speak and has fallen silent."""

    def test_silence_fires_after_its_time_and_ends_with_the_first_sound_that_stays(self):
        line = Timeline(rule("absent(plays) for 30s", group=["platform"]))
        line.each(0, [5.0, 0.0, 0.0, 0.0, 0.0, 2.0, 3.0, 4.0])
        firing, resolved = line.want("firing", (40, 40)), line.want("resolved", (60, 90))

        assert firing.kind == "absence"
        assert firing.reason == "plays of ios: nothing for 30 s, after there was something"
        assert "there is something again" in resolved.reason

    def test_what_never_spoke_has_not_fallen_silent(self):
        line = Timeline(rule("absent(plays) for 30s", group=["platform"]))

        assert line.each(0, [0.0] * 20) == []

    def test_a_measure_without_data_is_silent_whatever_weight_is_wanted(self):
        line = Timeline(rule("absent(startup_p95) for 20s", min_weight=30))

        assert line.each(0, [700.0, None, None]) == ["pending", "firing"]

    def test_a_short_silence_is_none(self):
        line = Timeline(rule("absent(plays) for 30s", group=["platform"]))
        line.each(0, [5.0, 0.0, 0.0, 5.0, 0.0, 0.0, 5.0])

        assert {state for state, _ in line.told()} == {"pending"}

    def test_late_events_take_a_silence_back(self):
        line = Timeline(rule("absent(plays) for 20s", group=["platform"]))
        line.each(0, [5.0, 0.0, 0.0])
        line.push(10, 3.0, revision=1)

        assert line.told()[-1][0] == "retracted"
        assert line.findings[-1].reason.endswith("was 3, not silent")
