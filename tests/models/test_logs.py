"""What lines look like, and which of others' are written."""

import logging

import pytest

from models.settings import Settings
from tests.support.logs import logged


@pytest.mark.parametrize(
    ("name", "level", "written"),
    [
        ("mode.timers", "warning", False),  # "Timer livelock is overlapping", under any load
        ("mode.timers", "error", True),
        ("mode.services", "error", True),
        ("httpx", "info", False),  # whole addresses
        ("httpcore.connection", "debug", False),
        ("backbeat.engine", "debug", True),
    ],
)
def test_what_is_written_of_others(name, level, written):
    with logged(Settings(log_level="debug")) as lines:
        getattr(logging.getLogger(name), level)("a line")
        assert bool(lines()) is written
