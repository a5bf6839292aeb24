"""Rules as users write them: what is understood, and what is refused with what would be right."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from alerts.grammar import Condition, parse_when
from alerts.rules import (
    load_rules,
    parse_rule,
    parse_rules,
    rule_from_json,
    rule_key,
    rule_to_json,
)
from alerts.selection import RuleIndex, rules_for
from models.config import JointSpec, WindowSpec, load_series_config
from models.errors import ConfigurationError, StateError
from models.records import Window
from models.series import format_key
from tests.alerts.timeline import SERIES, rule

ROOT = Path(__file__).parents[2]
RULE = {"id": "r", "when": "plays > 1", "window": "10s", "group": ["country"], "severity": "page"}
HOOK = {"name": "hook", "kind": "webhook"}


def window(name: str = "country_platform", size: int = 10, slide: int | None = None, **tags: str):
    tags = tags or {"country": "FR", "platform": "ios"}
    ms = size * 1000
    key = format_key("acme", name, tags)
    return Window("acme", key, "live", 0, ms, ms, (slide or size) * 1000, 1, {})


def test_the_shipped_rules_are_right():
    series = load_series_config(ROOT / "config" / "series.toml")
    rules, receivers = load_rules(ROOT / "config" / "rules.toml", series)

    assert {"playback-errors", "platform-silent", "metric-unusual"} <= {r.id for r in rules}
    assert [r.name for r in receivers] == ["webhook"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "error_rate > 0.05 for 20s",
            Condition("threshold", "error_rate", ">", 0.05, "any", 20_000),
        ),
        ("plays<1", Condition("threshold", "plays", "<", 1.0, "any", 0)),
        (
            "value >= -1.5e3 for 1h30m",
            Condition("threshold", "value", ">=", -1500, "any", 5_400_000),
        ),
        ("anomaly(plays) >= 3", Condition("anomaly", "plays", ">=", 3.0, "any", 0)),
        ("anomaly( x ) >= 8 up for 30s", Condition("anomaly", "x", ">=", 8.0, "up", 30_000)),
        ("release(plays) >= 3", Condition("release", "plays", ">=", 3.0, "any", 0)),
        ("release(x) >= 3 up for 2h", Condition("release", "x", ">=", 3.0, "up", 7_200_000)),
        ("anomaly(x) >= .5 down", Condition("anomaly", "x", ">=", 0.5, "down", 0)),
        (
            "forecast(disk) >= 0.9 within 6h",
            Condition("forecast", "disk", ">=", 0.9, "any", 0, "", 21_600_000, 0.5),
        ),
        (
            "forecast( x ) <= -1 within 90m with 80% for 10m",
            Condition("forecast", "x", "<=", -1.0, "any", 600_000, "", 5_400_000, 0.8),
        ),
    ],
)
def test_conditions_are_understood(text, expected):
    assert parse_when(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not of the form"),
        ("plays", "not of the form"),
        ("plays == 3", "not of the form"),
        ("plays > many", "not of the form"),
        ("plays > 3 for", "not of the form"),
        ("plays > 3 for 20", "not like 10s"),
        ("plays > 3 for 0s", "zero"),
        ("plays > 3 up", "only anomaly"),
        ("release(plays) > 3", "large"),
        ("release(plays) >= 0", "above 0"),
        ('release(plays) >= 3 shape "dip"', "only anomaly"),
        ("release(plays) >= 3 within 2h", "only forecast"),
        ("anomaly(plays) < 3", "large"),
        ("anomaly(plays) >= 0", "above 0"),
        ("plays > 3; plays < 1", "not of the form"),
        ("forecast(x) >= 3", "how far"),
        ("forecast(x) > 3 within 6h", "reaches a limit"),
        ("forecast(x) >= 3 within 367d", "366d ahead at most"),
        ("forecast(x) >= 3 up within 6h", "only anomaly"),
        ("forecast(x) >= 3 within 6h with 100%", "1 to 99 %, not 100"),
        ("forecast(x) >= 3 within 6", "not like 10s"),
        ("plays > 3 within 6h", "only forecast"),
        ("anomaly(x) >= 3 with 80%", "only forecast"),
    ],
)
def test_other_conditions_are_refused(text, reason):
    with pytest.raises(ConfigurationError, match=reason):
        parse_when(text)


@given(
    anomaly=st.booleans(), threshold=st.floats(1e-6, 1e9), hold=st.integers(0, 10**7),
    op=st.sampled_from([">", ">=", "<", "<="]), direction=st.sampled_from(["any", "up", "down"]),
)  # fmt: skip
def test_a_conditions_text_means_the_condition(anomaly, threshold, hold, op, direction):
    threshold = float(f"{threshold:.12g}")
    if anomaly:
        condition = Condition("anomaly", "m", ">=", threshold, direction, hold)
    else:
        condition = Condition("threshold", "m", op, threshold, "any", hold)

    assert parse_when(str(condition)) == condition


@given(
    limit=st.floats(-1e9, 1e9), op=st.sampled_from([">=", "<="]), hold=st.integers(0, 10**7),
    within=st.integers(1, 10**9), percent=st.integers(1, 99),
)  # fmt: skip
def test_a_forecasts_text_means_the_forecast(limit, op, hold, within, percent):
    limit = float(f"{limit:.12g}")
    condition = Condition("forecast", "m", op, limit, "any", hold, "", within, percent / 100)

    assert parse_when(str(condition)) == condition


@given(threshold=st.floats(1e-6, 1e9), hold=st.integers(0, 10**7))
def test_a_joint_conditions_text_means_the_condition(threshold, hold):
    threshold = float(f"{threshold:.12g}")
    condition = Condition("joint", "health", ">=", threshold, "any", hold)

    assert parse_when(str(condition)) == condition


RELEASED = {"id": "w", "when": "release(plays) >= 3 down for 2h", "severity": "page"}
HOURLY = WindowSpec(3_600_000, 60_000, 0, False, 0)
WITH_RELEASES = replace(SERIES, groups=(*SERIES.groups, ("release",)))


def test_a_rule_on_releases_needs_to_say_neither_group_nor_window():
    made = parse_rule(RELEASED | {"match": {"release": "t42@*"}}, WITH_RELEASES)
    assert (made.kind, made.measure, made.measure_kind) == ("release", "plays", "count")
    assert (made.tags, made.size, made.attribute) == (("release",), 3_600_000, False)
    assert parse_when("release(plays) >= 3 down for 2h") == parse_when(RELEASED["when"])
    assert rule_from_json(rule_to_json(made)) == made
    said = {"group": ["release"], "window": "1h", "summary": "{release} is off"}
    told = parse_rule(RELEASED | said, WITH_RELEASES)
    assert told.tags == ("release",)


@pytest.mark.parametrize(
    ("change", "series", "reason"),
    [
        ({}, {"groups": SERIES.groups}, r"needs the group \['release'\] in series.toml"),
        ({}, {"windows": SERIES.windows[:1]}, "needs one window of 1h, .*, not 0 of 1h"),
        ({}, {"windows": (HOURLY, replace(HOURLY, slide=3_600_000))}, "not 2 of 1h"),
        ({}, {"windows": (replace(HOURLY, slide=2_400_000),)}, "not slide 40m"),
        ({"when": "release(plais) >= 3"}, {}, "did you mean 'plays'"),
        ({"when": "release(error_rate) >= 3"}, {}, "only counts"),
        ({"group": ["country"]}, {}, "leave out `group`"),
        ({"metric": "cpu"}, {}, "leave out `group`"),
        ({"window": "10s"}, {}, "looks at hours"),
        ({"attribute": True}, {}, "looks at hours"),
        ({"summary": "{country}"}, {}, r"summary asks for \['country'\]"),
        ({"match": {"country": "FR"}}, {}, r"match has \['country'\]"),
    ],
)
def test_a_rule_on_releases_that_cannot_work_is_refused(change, series, reason):
    with pytest.raises(ConfigurationError, match=reason):
        parse_rule(RELEASED | change, replace(WITH_RELEASES, **series))


def test_rules_on_releases_are_chosen_by_measure_tenant_and_track():
    made = parse_rule(RELEASED | {"match": {"release": "t42@*"}}, WITH_RELEASES, tenant="acme")
    index = RuleIndex([made])
    group = "acme|metric:release:plays{release=t42@2026-11-27T00:00Z}"
    assert index.release("plays", group) == (made,)
    assert index.release("plays", group.replace("t42", "t43")) == ()
    assert index.release("listeners", group) == ()
    assert index.released("acme") == ("plays",)
    assert index.released("other") == ()


JOINT = {"id": "j", "when": "joint(health) >= 4 for 2m", "severity": "page"}
TOGETHER = replace(
    SERIES, joints=(JointSpec("health", ("cpu", "memory"), 60_000, ("host",), 60_000),)
)


def test_a_joint_rule_has_its_metrics_and_window_from_its_table():
    made = parse_rule(JOINT, TOGETHER)
    assert (made.kind, made.measure, made.metrics) == ("joint", "health", ("cpu", "memory"))
    assert (made.size, made.hold, made.threshold, made.attribute) == (60_000, 120_000, 4.0, False)
    assert rule_from_json(rule_to_json(made)) == made
    assert parse_rule(JOINT | {"window": "60s"}, TOGETHER) == made


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"when": "joint(healt) >= 4"}, r"no \[\[joint\]\] table.*did you mean 'health'"),
        ({"when": "joint(health) > 4"}, r"large: joint\(...\) >= <score>"),
        ({"when": "joint(health) >= 0"}, "must be above 0"),
        ({"when": "joint(health) >= 4 up"}, "only anomaly.*a joint surprise has none"),
        ({"when": 'joint(health) >= 4 shape "spike"'}, "only anomaly"),
        ({"when": "joint(health) >= 4 within 2h"}, "only forecast"),
        ({"group": ["country"]}, "leave out `group` and `metric`"),
        ({"metric": "cpu"}, "leave out `group` and `metric`"),
        ({"window": "10s"}, "window '10s': joint 'health' is judged in 1m"),
        ({"attribute": True}, "attribute is for plays"),
        ({"match": {"dc": "par"}}, r"match has \['dc'\]; things of joint 'health' have the tags"),
    ],
)
def test_a_joint_rule_that_cannot_work_is_refused(change, reason):
    with pytest.raises(ConfigurationError, match=reason):
        parse_rule(JOINT | change, TOGETHER)


def test_joint_rules_are_chosen_by_table_tenant_and_tags():
    made = parse_rule(JOINT | {"match": {"host": "db-*"}}, TOGETHER)
    index = RuleIndex([made, replace(made, id="k", tenant="acme"), rule()])
    found = [r.id for r in index.joint("health", "acme|metric:joint:health{host=db-1}")]
    assert found == ["j", "k"]
    assert index.joint("health", "other|metric:joint:health{host=db-1}") == (made,)
    assert index.joint("health", "acme|metric:joint:health{host=web-1}") == ()
    assert index.joint("other", "acme|metric:joint:other{host=db-1}") == ()
    assert index.rules_for(window("metric:cpu", 60, host="db-1")) == ()


@given(text=st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(text):
    with contextlib.suppress(ConfigurationError):
        parse_when(text)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"group": None, "metric": None}, "either `group`"),
        ({"metric": "*"}, "not both"),
        ({"group": ["city"]}, r"\['city'\] is not kept"),
        ({"group": ["country"], "match": {"platform": "ios"}}, r"match has \['platform'\]"),
        ({"when": "play > 1"}, "did you mean 'plays'"),
        ({"when": "value > 1"}, "measure 'value' is unknown"),
        ({"window": "15s"}, "'15s' is not kept; possible here: 10s, 1m, 1h"),
        ({"window": "pane"}, "'pane' is for metrics"),
        ({"window": None}, "lacks a `window`; possible here: 10s, 1m, 1h"),
        ({"when": "anomaly(plays) >= 3"}, "10s has no detector; possible here: 1m"),
        ({"group": None, "metric": "cpu", "when": "plays > 1"}, "one measure: value"),
        ({"severity": "loud"}, "loud"),
        ({"severty": "page"}, "'severty'; did you mean 'severity'"),
        ({"min_weight": -1}, "negative"),
        ({"min_history": "soon"}, "min_history: duration 'soon' is not like"),
        ({"reopen": "never"}, "reopen: duration 'never' is not like .* or \"auto\""),
        ({"id": " "}, "id is empty"),
        ({"summary": "in {platform}"}, r"\['platform'\]"),
        ({"receivers": ["hoook"]}, "did you mean 'hook'"),
        ({"min_weight": "20"}, "Expected `float`"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_what_would(change, reason):
    raw = {k: v for k, v in (RULE | change).items() if v is not None}

    with pytest.raises(ConfigurationError, match=reason):
        parse_rules({"rules": [raw], "receivers": [HOOK]}, SERIES)


def test_a_window_may_be_written_in_any_unit():
    assert rule(window="60s") == rule(window="1m")


def test_a_mistake_in_a_rule_is_told_with_its_file(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text('[[rules]]\nid = "mine"\nwhen = "plays"\nseverity = "page"\n')

    with pytest.raises(ConfigurationError, match=f"^rules {path}: rule 'mine': when 'plays' is"):
        load_rules(path, SERIES)


def test_the_version_is_that_of_the_content():
    assert rule().version == rule().version
    assert len(rule().version) == 12
    changed = [rule(), rule(min_weight=1), rule("error_rate > 0.06 for 20s"), rule(reopen="1m")]
    assert len({r.version for r in changed}) == 4


def test_a_saved_rule_is_the_rule():
    for each in (rule(), rule("anomaly(value) >= 2", metric="cpu*", window="pane", reopen="auto")):
        assert rule_from_json(rule_to_json(each)) == each
    assert rule_key("acme", "r") == "acme:r"


@pytest.mark.parametrize("value", [b"", b"null", b"{}", b'{"id": 3}', b"\xff"])
def test_foreign_bytes_are_no_saved_rule(value):
    with pytest.raises(StateError):
        rule_from_json(value)


def test_rules_are_chosen_by_group_and_window():
    ten, minute, total = rule(), rule(id="m", window="1m"), rule(id="t", group=[])
    index = RuleIndex([ten, minute, total])

    assert index.rules_for(window()) == (ten,)
    assert index.rules_for(window(size=60, slide=10)) == (minute,)
    assert index.rules_for(window(size=3600, slide=60)) == ()
    assert index.rules_for(window("all")) == (total,)
    assert index.rules_for(window()) is index.rules_for(window())


def test_rules_are_narrowed_by_tags():
    german, nordic = (
        rule(id="de", match={"country": "DE"}),
        rule(id="n", match={"country": "[SN]*"}),
    )

    assert rules_for(window(country="DE", platform="ios"), [german, nordic]) == (german,)
    assert rules_for(window(country="NO", platform="ios"), [german, nordic]) == (nordic,)
    assert rules_for(window(country="FR", platform="ios"), [german, nordic]) == ()


def test_rules_on_metrics_look_at_their_panes_by_name():
    cpu = rule("value > 90", metric="cpu*", window="pane")
    long = rule("value > 90", metric="*", window="1m", id="long")
    rules = [cpu, long]

    assert rules_for(window("metric:cpu_load", host="a"), rules) == (cpu,)
    assert rules_for(window("metric:cpu_load", 300, host="a"), rules) == (cpu,)
    assert rules_for(window("metric:cpu_load", 60, 10, host="a"), rules) == (long,)
    assert rules_for(window("metric:queue", 10, host="a"), rules) == ()


def test_a_tenants_rule_is_for_that_tenant():
    assert rules_for(window(), [replace(rule(), tenant="other")]) == ()
    assert len(rules_for(window(), [replace(rule(), tenant="acme")])) == 1


@pytest.mark.parametrize(
    ("when", "keys", "attributes"),
    [
        ("anomaly(plays) >= 2", {}, True),
        ("anomaly(error_rate) >= 2", {}, True),
        ("anomaly(completion) >= 2", {}, True),
        ("anomaly(plays) >= 2", {"attribute": False}, False),
        ("anomaly(startup_p95) >= 2", {}, False),
        ("anomaly(listeners) >= 2", {}, False),
        ("plays < 1", {}, False),
        ("plays < 1", {"attribute": True}, True),
    ],
)
def test_anomalies_of_what_adds_up_are_attributed_unless_told_otherwise(when, keys, attributes):
    made = rule(when, window="1m", **keys)
    assert made.attribute is attributes
    found = RuleIndex([made]).attributed("acme", 60_000)
    assert found == ({made.measure: made.measure_kind} if attributes else {})
    assert RuleIndex([made]).attributed("acme", 10_000) == {}


def test_a_tenants_rule_attributes_for_that_tenant():
    index = RuleIndex([replace(rule("anomaly(plays) >= 2", window="1m"), tenant="other")])
    assert index.attributed("acme", 60_000) == {}
    assert index.attributed("other", 60_000) == {"plays": "count"}


@pytest.mark.parametrize(
    ("when", "keys", "message"),
    [
        ("anomaly(startup_p95) >= 2", {"window": "1m"}, "changes of a quantile do not add up"),
        ("plays < 1", {"window": "10s"}, "window 10s has no expected values; possible here: 1m"),
        ("value > 1", {"metric": "*", "window": "pane"}, "a metric has no dimension groups"),
    ],
)
def test_what_cannot_be_attributed_is_refused(when, keys, message):
    with pytest.raises(ConfigurationError, match=message):
        rule(when, attribute=True, **keys)
