"""A shadow beside the active model: partitions are summed up, findings held against labels."""

from __future__ import annotations

import pytest

from ml.comparison import WEEK, compare
from models.learning import Label, Mark, ShadowReport

SERIES = "demo|plays{}"


def report(partition=0, against="old.1", **changes) -> ShadowReport:
    fields = {
        "tenant": "demo", "model": "new.2", "against": against, "partition": partition,
        "since": partition * 100, "until": WEEK // 2, "windows": 100, "both": 6, "active": 3,
        "shadow": 1, "threshold": 2.0, "active_findings": 4, "shadow_findings": 2,
    }  # fmt: skip
    return ShadowReport(**(fields | changes))


def label(verdict, since, until, series=SERIES) -> Label:
    return Label("demo", f"{series}{since}", series, since, until, verdict, "ann", 0)


def test_partitions_are_summed_up():
    (found,) = compare([report(0), report(1, windows=300)], [])
    assert (found.windows, found.both, found.active_only, found.shadow_only) == (400, 12, 6, 2)
    assert (found.since, found.until) == (0, WEEK // 2)
    assert found.agreement == pytest.approx(1 - 8 / 400)
    assert found.per_week(found.active_findings) == pytest.approx(16)
    assert found.per_week(found.shadow_findings) == pytest.approx(8)
    assert found.shadow_quality.precision is None


def test_each_active_model_has_a_comparison_of_its_own():
    found = compare([report(against="b.1"), report(1, against="a.1")], [])
    assert [c.against for c in found] == ["a.1", "b.1"]
    assert compare([], []) == []


def test_findings_are_held_against_labels():
    marks = [
        Mark(SERIES, 100, "both"), Mark(SERIES, 300, "active"), Mark(SERIES, 500, "shadow"),
        Mark("demo|other{}", 100, "shadow"),
    ]  # fmt: skip
    labels = [label("true", 50, 101), label("false", 300, 400), label("false", 500, 600)]
    (found,) = compare([report(marks=marks[:2]), report(1, marks=marks[2:])], labels)
    assert found.active_quality[:4] == (1, 1, 0, 0)
    assert found.shadow_quality[:4] == (1, 1, 0, 1)
    assert found.active_quality.recall == 1.0


def test_without_windows_nothing_differs():
    (found,) = compare([report(windows=0, active=0, shadow=0, both=0, until=0)], [])
    assert found.agreement == 1.0
