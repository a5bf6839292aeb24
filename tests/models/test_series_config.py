"""The series' configuration: what is not known is refused, or a typing error would switch a part off."""

import tomllib
from pathlib import Path

import pytest

from models.config import TABLES, load_series_config, parse_series_config
from models.errors import ConfigurationError

SHIPPED = tomllib.loads(
    (Path(__file__).parents[2] / "config" / "series.toml").read_text(encoding="utf-8")
)


def test_a_mistyped_table_is_refused_and_the_known_ones_are_named():
    with pytest.raises(ConfigurationError, match=r"\['calender'\].*'calendar'"):
        parse_series_config(SHIPPED | {"calender": {}})


def test_the_shipped_tables_are_known():
    assert SHIPPED.keys() <= TABLES
    assert parse_series_config(SHIPPED).measures


WINDOW = SHIPPED["windows"][0]
MEASURE = {"name": "ends", "kind": "count"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"time": SHIPPED["time"] | {"pane": 10}}, r"^\[time\] pane: duration 10 is not like 10s"),
        ({"time": SHIPPED["time"] | {"held": "soon"}}, r"^\[time\] held: duration 'soon'"),
        (
            {"time": SHIPPED["time"] | {"latness": "10s"}},
            r"^\[time\] has an unknown key 'latness'; did you mean 'lateness'\?",
        ),
        ({"time": {"pain": "10s"}}, "unknown key 'pain'; did you mean 'pane'"),
        ({"time": {"pane": "10s"}}, r"lacks \['lateness', 'idle', 'future'\]"),
        ({"time": 5}, r"time is written \[time\], once"),
        ({"windows": 5}, r"windows is written \[\[windows\]\]"),
        ({"windows": [WINDOW | {"detect": "yes"}]}, "window '10s': detect is true or .*'yes'"),
        ({"windows": [WINDOW | {"slid": "10s"}]}, "window '10s' has .*did you mean 'slide'"),
        ({"windows": [WINDOW | {"grace": 3600}]}, "window '10s' grace: duration 3600"),
        (
            {"limits": SHIPPED["limits"] | {"groups_per_tenant": -1}},
            r"^\[limits\]: Expected `int` >= 0 - at `\$.groups_per_tenant`",
        ),
        ({"limits": {"group_per_tenant": 1}}, "did you mean 'groups_per_tenant'"),
        ({"metrics": {"pane_min": "1s"}}, r"\[metrics\] lacks \['pane_max'\]"),
        ({"plays": SHIPPED["plays"] | {"group": []}}, r"\[plays\] .*did you mean 'groups'"),
        (
            {"plays": SHIPPED["plays"] | {"measures": [MEASURE | {"were": "failed"}]}},
            "measure 'ends' has an unknown key 'were'; did you mean 'where'",
        ),
        ({"detectors": [{"name": "lite", "metrics": "*"}]}, "did you mean 'metric'"),
        ({"calendar": {"time_zone": "UTC"}}, "calendar has .*did you mean 'timezone'"),
    ],
)
def test_a_mistake_is_told_by_its_key(change, reason):
    with pytest.raises(ConfigurationError, match=reason):
        parse_series_config(SHIPPED | change)


@pytest.mark.parametrize("table", ["time", "windows", "limits", "plays", "metrics"])
def test_a_table_that_is_missing_is_named(table):
    rest = {name: each for name, each in SHIPPED.items() if name != table}
    with pytest.raises(ConfigurationError, match=rf"there is no table \[+{table}"):
        parse_series_config(rest)


@pytest.mark.parametrize("text", [b"[tim", b"[tyme]", b"\xff"])
def test_the_file_is_named_once(tmp_path, text):
    path = tmp_path / "series.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigurationError, match=f"^series configuration {path}: ") as raised:
        load_series_config(path)
    assert str(raised.value).count("series configuration") == 1


JOINT = {"name": "host_health", "metrics": ["cpu", "memory"], "window": "1m"}


def test_metrics_judged_together_are_read():
    one, other = parse_series_config(
        SHIPPED | {"joint": [JOINT, JOINT | {"name": "b", "tags": ["host"], "wait": "10s"}]}
    ).joints
    assert (one.metrics, one.window, one.tags, one.wait) == (
        ("cpu", "memory"),
        60_000,
        None,
        60_000,
    )
    assert (other.tags, other.wait, other.series) == (("host",), 10_000, "joint:b")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "host health"}, r"'host health' is no name; use letters, digits and _"),
        ({"metrics": ["cpu"]}, r"takes 2 to 16 different metrics, not \['cpu'\]"),
        ({"metrics": ["cpu", "cpu"]}, "different metrics"),
        ({"metrics": [f"m{i}" for i in range(17)]}, "2 to 16"),
        ({"metrics": ["cpu", "plays"]}, r"names \['plays'\], which are no metrics"),
        ({"metrics": ["cpu", "joint:host_health"]}, "no metrics"),
        ({"window": "15s"}, "window 15s is not made of whole panes of 10s"),
        ({"window": "soon"}, r"joint 'host_health': duration 'soon' is not like"),
        ({"wait": "0s"}, r"joint 'host_health': duration '0s' is zero"),
        ({"tags": []}, r"has tags \[\]; name different tags, or leave them out"),
        ({"tags": ["host", "host"]}, "name different tags"),
        (
            {"metric": "cpu"},
            "joint 'host_health' has an unknown key 'metric'; did you mean 'metrics'",
        ),
    ],
)
def test_metrics_that_cannot_be_judged_together_are_refused(change, reason):
    with pytest.raises(ConfigurationError, match=reason):
        parse_series_config(SHIPPED | {"joint": [JOINT | change]})


MINUTE = {"size": "1m", "slide": "10s", "grace": "1h", "retention": "2d"}
COUNT = {"name": "plays", "kind": "count"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"time": SHIPPED["time"] | {"latenes": "5s"}},
            r"\[time\] has an unknown key 'latenes'; did you mean 'lateness'",
        ),
        (
            {"windows": [MINUTE | {"detct": True}]},
            "window '1m' has an unknown key 'detct'; did you mean 'detect'",
        ),
        ({"limits": {"groups": 5}}, r"\[limits\] has an unknown key 'groups'"),
        (
            {"plays": SHIPPED["plays"] | {"group": []}},
            r"\[plays\] has an unknown key 'group'; did you mean 'groups'",
        ),
        (
            {"plays": {"groups": [[]], "measures": [COUNT | {"were": "failed"}]}},
            "measure 'plays' has an unknown key 'were'; did you mean 'where'",
        ),
        (
            {"metrics": SHIPPED["metrics"] | {"pane": "1m"}},
            r"\[metrics\] has an unknown key 'pane'",
        ),
        ({"windows": MINUTE}, r"windows is written \[\[windows\]\], one table each"),
        ({"detectors": {"name": "lite"}}, r"detectors is written \[\[detectors\]\]"),
        ({"joint": JOINT}, r"joint is written \[\[joint\]\]"),
        ({"limits": [SHIPPED["limits"]]}, r"limits is written \[limits\], once"),
    ],
)
def test_what_would_be_passed_over_is_refused(change, reason):
    with pytest.raises(ConfigurationError, match=reason):
        parse_series_config(SHIPPED | change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"time": SHIPPED["time"] | {"pane": 10}}, r"\[time\] pane: duration 10 is not like"),
        (
            {"windows": [MINUTE | {"grace": "long"}]},
            "window '1m' grace: duration 'long' is not like",
        ),
        (
            {"windows": [MINUTE | {"detect": "no"}]},
            "window '1m': detect is true or false, not 'no'",
        ),
        (
            {"plays": {"groups": [[]], "measures": [{"name": "x", "kind": "sum"}]}},
            "measure 'x': Invalid enum value 'sum'",
        ),
    ],
)
def test_an_error_says_which_key_it_is_about(change, reason):
    with pytest.raises(ConfigurationError, match=reason):
        parse_series_config(SHIPPED | change)


def test_windows_of_one_size_are_refused_for_rules_could_not_tell_them_apart():
    two = [MINUTE, MINUTE | {"slide": "30s"}]
    with pytest.raises(ConfigurationError, match="two windows have the same size"):
        parse_series_config(SHIPPED | {"windows": two})


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "series.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=str(path)):
        load_series_config(path)


def test_a_group_of_releases_takes_the_names_of_its_series():
    plays = SHIPPED["plays"] | {"groups": [[], ["release"]]}
    config = parse_series_config(SHIPPED | {"plays": plays})
    assert "release:plays" in config.measure_names
    assert "release:plays" not in parse_series_config(SHIPPED).measure_names
    assert config.limits.releases_per_tenant == 1000


def test_two_joints_of_one_name_are_refused_and_their_series_name_is_taken():
    with pytest.raises(ConfigurationError, match="two joints are called 'host_health'"):
        parse_series_config(SHIPPED | {"joint": [JOINT, JOINT]})
    assert "joint:host_health" in parse_series_config(SHIPPED | {"joint": [JOINT]}).measure_names
