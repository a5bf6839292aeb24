"""The guard on what we replace inside Faust and aiokafka."""

import pytest

from engine import hooks
from models.errors import ConfigurationError


def test_every_replaced_function_is_the_one_the_engine_was_written_for():
    hooks.check_sources()


def test_another_source_is_refused_with_its_name(monkeypatch):
    monkeypatch.setitem(hooks.SOURCES, "faust thing", (hooks.source_hash, "0" * 16))
    with pytest.raises(ConfigurationError, match="faust thing has source hash"):
        hooks.check_sources()
