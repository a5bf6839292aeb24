"""Whether two runs published the same, told so that it can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.pipeline import Results


def assert_same(ours: Results, theirs: Results) -> None:
    """Windows in all their revisions, findings, alerts and notifications are the same."""
    for name in ("windows", "findings", "alerts"):
        found = _differences(getattr(ours, name), getattr(theirs, name))
        assert not found, f"{len(found)} {name} differ:\n" + "\n".join(found[:3])
    assert ours.notifications == theirs.notifications
    assert ours.dead == theirs.dead
    assert ours.late == theirs.late


def _differences(ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> list[str]:
    keys = sorted(ours.keys() | theirs.keys(), key=str)
    different = [key for key in keys if ours.get(key) != theirs.get(key)]
    return [f"{key}:\n  {ours.get(key)}\n  {theirs.get(key)}" for key in different]
