"""A judge that asks for it is told how far plays are published, after each edge's windows."""

from models.flow import Output
from models.records import decode_window
from tables.watermarks import END_OF_TIME
from tests.support.window_timeline import T0, H, S, Timeline, series_config


class Watcher:
    """Passes windows on and writes down how far they are."""

    def __call__(self, window, spec, state, previous):
        return window, ()

    def passed(self, tenant, stream, at, partition):
        return [Output("evidence", tenant.encode(), f"{stream} {at} {partition}".encode())]


def told(outputs) -> list[str | int]:
    """The ends of windows and what was told, in order; seconds after T0."""
    found: list[str | int] = []
    for output in outputs:
        if output.topic == "windows":
            found.append((decode_window(output.value).end - T0) // S)
        else:
            stream, at, partition = output.value.decode().split()
            assert (stream, partition) == ("live", "3")
            found.append("end" if int(at) >= END_OF_TIME else f"passed {(int(at) - T0) // S}")
    return found


def test_it_is_told_after_the_windows_of_each_edge():
    line = Timeline(series_config(("10s", "10s", "1h")), judge=Watcher())
    line.plays(0, "a").plays(10 * S, "b").watermark(25 * S)
    assert told(line.fold()) == [10, "passed 10", 20, "passed 20"]


def test_a_partition_without_groups_of_a_stream_tells_too():
    line = Timeline(series_config(("10s", "10s", "1h")), judge=Watcher())
    assert told(line.watermark(25 * S).fold()) == ["passed 20"]
    assert told(line.watermark(28 * S).fold()) == []


def test_what_is_left_by_a_budget_is_not_told_before_it_is_published():
    line = Timeline(series_config(("10s", "10s", "1h")), judge=Watcher(), budget=1)
    line.plays(0, "a").plays(10 * S, "b").watermark(25 * S)
    assert told(line.fold()) == [10, "passed 10"]
    assert told(line.fold()) == [20, "passed 20"]


def test_the_end_of_a_stream_is_told():
    line = Timeline(series_config(("10s", "10s", "1h")), judge=Watcher())
    line.plays(0, "a").watermark(END_OF_TIME - T0, ended=True)
    assert told(line.fold())[-1] == "end"


def test_metrics_have_nobody_to_tell():
    line = Timeline(series_config(("10s", "10s", "1h")), judge=Watcher())
    line.samples(0, 1.0, wm=H)
    assert not [t for t in told(line.fold()) if isinstance(t, str)]
