"""The series' configuration: what is not known is refused, or a typing error would switch a part off."""

import tomllib
from pathlib import Path

import pytest

from models.config import TABLES, parse_series_config
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
