"""Rules that can be read, and mean nothing: limits no ratio reaches, braces that hold no place."""

import pytest

from alerts.rules import parse_rules
from models.errors import ConfigurationError
from tests.alerts.timeline import SERIES

RULE = {"id": "r", "when": "plays > 1", "window": "10s", "group": ["country"], "severity": "page"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"summary": "x {"}, r"summary 'x \{' has a brace that is no placeholder; .*\{country\}"),
        ({"summary": "in {country"}, "no placeholder"),
        ({"summary": "in country}"}, "no placeholder"),
        ({"summary": "in {the country}"}, "no placeholder"),
        ({"group": None, "metric": "*", "when": "value > 1", "summary": "on {host"}, "no placeh"),
        ({"when": "error_rate > 15"}, r"error_rate > 15 is never true, .*; did you mean 0\.15\?"),
        ({"when": "error_rate >= 1.5"}, r"never true, .*; did you mean 0\.015"),
        ({"when": "error_rate < 15"}, r"always true, .*; did you mean 0\.15"),
        ({"when": "error_rate <= 1"}, "always true, as a ratio is 0 to 1$"),
        ({"when": "error_rate >= 0"}, "always true, as a ratio is 0 to 1$"),
        ({"when": "error_rate > 1"}, "never true, as a ratio is 0 to 1$"),
        ({"when": "error_rate < 0"}, "never true, as a ratio is 0 to 1$"),
        ({"when": "error_rate <= -0.1"}, "never true, as a ratio is 0 to 1$"),
        ({"when": "error_rate > 500"}, "never true, as a ratio is 0 to 1$"),
        ({"when": "forecast(skip_rate) >= 90 within 1h"}, "never true, .*; did you mean 0.9"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_may_be(change, reason):
    raw = {k: v for k, v in (RULE | change).items() if v is not None}

    with pytest.raises(ConfigurationError, match=reason):
        parse_rules({"rules": [raw]}, SERIES)


@pytest.mark.parametrize(
    "change",
    [
        {"when": "error_rate >= 1"},
        {"when": "error_rate <= 0"},
        {"when": "error_rate < 1"},
        {"when": "anomaly(error_rate) >= 2", "window": "1m"},
        {"when": "startup_p95 > 1500"},
        {"summary": "starts slowly in {country}"},
    ],
)
def test_what_can_be_meant_is_taken(change):
    parse_rules({"rules": [RULE | change]}, SERIES)
