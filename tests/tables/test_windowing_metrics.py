"""Windows of metrics: panes of their own spacing, clocks of their own, gaps that stay gaps."""

import pytest
from msgspec.structs import replace

from models.series import format_key
from tables.kinds import metric_plan
from tests.support.window_timeline import D, H, M, S, Timeline, series_config, short, shorts

SHIPPED = series_config()
OTHER = format_key("acme", "metric:cpu", {"host": "b"})


@pytest.mark.parametrize(
    ("pane", "kinds"),
    [
        (10 * S, [("pane", 10, 10, 1), ("1m", 60, 10, 1), ("1h", 3600, 60, 24)]),
        (30 * S, [("pane", 30, 30, 1), ("1m", 60, 30, 1), ("1h", 3600, 60, 24)]),
        (M, [("pane", 60, 60, 1), ("1h", 3600, 60, 24)]),
        (5 * M, [("pane", 300, 300, 1), ("1h", 3600, 300, 24)]),
        (7 * M, [("pane", 420, 420, 1)]),
        (H, [("pane", 3600, 3600, 24)]),
        (D, [("pane", 86400, 86400, 24)]),
    ],
)
def test_the_kinds_of_window_that_follow_from_a_pane(pane, kinds):
    plan = metric_plan(SHIPPED, pane)
    found = [(k.spec.name, k.size // S, k.slide // S, k.grace // H) for k in plan.kinds]
    assert found == kinds
    assert plan.kinds[0].spec.detect


def test_kinds_that_become_the_same_are_one():
    """The configuration has no two of one size; what makes kinds of windows does not rely on it."""
    config = series_config(("1h", "1m", "1h"))
    (hour,) = config.windows
    config = replace(config, windows=(hour, replace(hour, slide=2 * M)))
    assert len(metric_plan(config, 5 * M).kinds) == 2


def test_a_pane_is_a_window_when_the_series_watermark_passes_it():
    line = Timeline()
    line.samples(0, 1.0, 3.0, wm=9 * S)
    assert line.windows() == []
    line.samples(10 * S, 5.0, wm=11 * S)
    [window] = line.windows()
    assert short(window) == (10, 0, 10, 0, 2)
    value = window.values["value"]
    assert (value.value, value.weight) == (2.0, 2.0)
    assert (value.minimum, value.maximum, value.variance) == (1.0, 3.0, 1.0)


def test_gaps_stay_gaps():
    line = Timeline()
    line.samples(0, 1.0).samples(50 * S, 2.0, wm=3 * M)
    found = shorts(line.windows())
    assert [w for w in found if w[0] == 10] == [(10, 0, 10, 0, 1), (10, 50, 60, 0, 1)]
    assert [w[2] for w in found if w[0] == 60] == [60, 70, 80, 90, 100, 110]


def test_each_series_has_its_own_clock():
    line = Timeline()
    line.samples(0, 1.0, wm=0).samples(0, 1.0, wm=M, group=OTHER)
    assert {w.group for w in line.windows()} == {OTHER}
    line.watermark(H)  # of plays
    assert line.windows() == []


def test_silence_of_the_source_partition_closes_panes():
    line = Timeline(sources=2)
    line.samples(0, 1.0, wm=0, source=0).samples(0, 1.0, wm=0, source=1, group=OTHER)
    line.watermark(M, 1, topic="metrics").idle_partition(1, topic="metrics")
    assert line.windows() == []
    line.watermark(M, 1, topic="metrics", idle=True)
    assert {w.group for w in line.windows()} == {OTHER}
    line.watermark(M, 0, topic="metrics", idle=True)
    assert len({w.group for w in line.windows()}) == 1


def test_the_end_of_a_stream_closes_its_series():
    line = Timeline()
    line.samples(0, 1.0, wm=0, size=M, stream="load").samples(0, 1.0, wm=0, size=M)
    line.watermark(0, stream="load", topic="metrics", ended=True)
    found = line.windows()
    assert {w.stream for w in found} == {"load"}
    assert shorts(found) == [(60, 0, 60, 0, 1)]
    assert [it.stream for it in line.state["instances"].values()] == ["live"]


def test_late_samples_revise_and_fill_gaps():
    line = Timeline()
    line.samples(0, 1.0).samples(20 * S, 2.0, wm=30 * S).fold()
    line.crash().samples(0, 4.0, late=True).samples(10 * S, 9.0, late=True)
    assert line.crash().windows() == []
    line.samples(30 * S, 2.0, wm=40 * S)
    found = line.revisions()
    assert shorts(found) == [(10, 0, 10, 1, 2), (10, 10, 20, 1, 1)]
    assert [w.values["value"].value for w in found] == [2.5, 9.0]
    assert [w.late for w in found] == [1, 1]


def test_samples_behind_the_watermark_are_late_even_if_they_are_not_marked():
    line = Timeline()
    line.samples(0, 1.0, wm=30 * S).fold()
    line.samples(0, 3.0, wm=40 * S)
    assert shorts(line.windows()) == [(10, 0, 10, 1, 2)]


def test_a_daily_metric():
    line = Timeline()
    for day in range(4):
        line.samples(day * D, float(day), size=D, wm=day * D - H)
    assert [w[1] // 86_400 for w in shorts(line.windows())] == [0, 1]
    assert sum(line.keys().values()) < 8


def test_a_series_that_stops_is_forgotten():
    line = Timeline()
    for at in range(0, H, 10 * S):
        line.samples(at, 1.0, wm=at)
    for hours in range(2, 40):
        line.watermark(hours * H, topic="metrics", idle=True).fold()
    assert set(line.keys()) == {"directory"}
    assert line.counts == {("groups_dropped", "silent"): 1}


def test_a_long_way_is_walked_in_steps():
    line = Timeline(budget=2)
    line.samples(0, 1.0, wm=0).samples(10 * S, 2.0, wm=3 * H)
    counts = []
    while found := line.windows():
        counts.append(len(found))
        line.crash()
    assert counts == [2, 2, 1]
