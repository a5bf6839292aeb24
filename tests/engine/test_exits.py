"""Leaving at once: what is written of the reason."""

import os

import pytest

from engine.exits import leave_now
from models.errors import ConfigurationError, FencedError


@pytest.mark.parametrize(("exc", "traced"), [(ConfigurationError, False), (FencedError, True)])
def test_a_traceback_is_left_out_where_the_message_says_all(exc, traced, monkeypatch, caplog):
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)
    leave_now("cannot go on", exc("why"))
    (line,) = caplog.records
    assert line.getMessage() == "leaving with code 70: cannot go on"
    assert bool(line.exc_info) is traced
    assert codes == [70]
