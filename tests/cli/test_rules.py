"""`backbeat rules check`: what a rules file says, and what is wrong with it."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from alerts.describing import rule_text
from alerts.rules import parse_rule
from cli.main import app
from models.errors import ConfigurationError
from tests.alerts.test_rules import JOINT, RELEASED, TOGETHER, WITH_RELEASES
from tests.alerts.timeline import SERIES

GOOD = """
[[rules]]
id = "errors"
when = "error_rate > 0.15 for 20s"
window = "10s"
group = ["platform", "country"]
severity = "page"

[[receivers]]
name = "hook"
kind = "webhook"
"""
BAD = """
[[rules]]
id = "late"
when = "plays > 1"
window = "15s"
group = []
severity = "page"

[[rules]]
id = "loud"
when = "plays > 1"
window = "10s"
group = []
severity = "loud"
"""


def check(*words: object):
    return CliRunner().invoke(app, ["rules", "check", *map(str, words)])


def test_the_shipped_rules_are_listed_and_right():
    done = check()
    assert done.exit_code == 0, done.output
    assert "5 right, 0 wrong: config/rules.toml" in done.stdout
    assert "✓ playback-errors  threshold  page    error rate of platform × country" in done.stdout
    assert "→ webhook  page, ticket" in done.stdout


def test_a_rule_is_a_line_and_all_mistakes_are_told(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(GOOD + BAD)
    done = check(path)
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("✓ errors  threshold  page")
    assert lines[1].startswith("✗ rule 'late': window '15s' is not kept; possible here: 10s, 1m")
    assert lines[2].startswith("✗ rule 'loud': Invalid enum value 'loud'")
    assert lines[-1].startswith(f"1 right, 2 wrong: {path}")


def test_the_configured_file_is_read_without_another(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    monkeypatch.setenv("BACKBEAT_RULES_CONFIG", str(path))
    assert f"1 right, 0 wrong: {path}" in check().stdout


@pytest.mark.parametrize(
    ("series", "reason"),
    [
        ("[tim]", "unknown tables"),
        ('[[detectors]]\nname = "crystal"\nmetric = "*"\n', "there is no detector 'crystal'"),
        ('[calendar]\ntimezone = "Europe/Pari"\n', "time zone 'Europe/Pari' is not known"),
    ],
)
def test_series_that_the_worker_refuses_are_refused(series, reason, tmp_path):
    path = tmp_path / "series.toml"
    path.write_text(Path("config/series.toml").read_text(encoding="utf-8") + series)
    done = check("--series", path)
    assert isinstance(done.exception, ConfigurationError)
    assert reason in str(done.exception)


def test_a_file_that_is_none_is_one_line_as_every_known_failure(tmp_path):
    done = check(tmp_path / "none.toml")
    assert isinstance(done.exception, ConfigurationError)
    assert str(tmp_path / "none.toml") in str(done.exception)


TOTAL = {"id": "r", "severity": "info", "window": "1m", "group": []}
METRIC = {"id": "r", "severity": "info", "window": "pane", "metric": "disk_*"}


@pytest.mark.parametrize(
    ("raw", "series", "text"),
    [
        (
            TOTAL | {"when": "plays <= 3"},
            SERIES,
            "plays of everything at or below 3, in windows of 1 min",
        ),
        (
            TOTAL | {"when": "absent(plays) for 5m", "group": ["plan"], "match": {"plan": "f*"}},
            SERIES,
            "plays of plan silent for 5 min, in windows of 1 min, where plan is f*",
        ),
        (
            TOTAL | {"when": 'anomaly(plays) >= 2.5 up shape "level shift"', "attribute": False},
            SERIES,
            (
                "plays of everything unusual, above what was expected (surprise 2.5 or more): a level "
                "shift, in windows of 1 min"
            ),
        ),
        (
            METRIC | {"when": "forecast(value) >= 0.9 within 6h with 80%", "min_weight": 2},
            SERIES,
            (
                "metrics disk_* expected at or above 0.9 within 6 h (probability 80 % or more), in each "
                "pane of the metric, with at least 2 samples a window"
            ),
        ),
        (
            METRIC | {"when": "value > 1", "metric": "*", "reopen": "1h"},
            SERIES,
            "any metric above 1, in each pane of the metric, then quiet for 1 h",
        ),
        (
            JOINT | {"min_weight": 2, "reopen": "auto"},
            TOGETHER,
            (
                "cpu and memory not together as they were (deviations 4 or more) for 2 min, in windows "
                "of 1 min, with at least 2 metrics that have a value, then quiet for a time that grows "
                "with the stream's age"
            ),
        ),
        (
            RELEASED,
            WITH_RELEASES,
            (
                "plays of a track in its first week unusual, below what was expected (deviations 3 or "
                "more) for 2 h, in windows of 1 h"
            ),
        ),
    ],
)
def test_a_rule_in_words(raw, series, text):
    assert rule_text(parse_rule(raw, series)) == text
