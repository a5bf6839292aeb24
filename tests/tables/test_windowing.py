"""Windows on a timeline: when they close, what is in them, and how late events revise them."""

import pytest

from models.records import Value, decode_dead_letter, decode_window
from models.series import format_key
from tests.support.window_timeline import (
    ALL,
    T0,
    D,
    H,
    M,
    S,
    Timeline,
    closed,
    play_parts,
    series_config,
    short,
    shorts,
)

SWEDEN = format_key("acme", "country", {"country": "SE"})
TENS = ("10s", "10s", "1h")
THIRTIES = ("30s", "10s", "1h")


# -- closing ----------------------------------------------------------------------------------------


def test_a_window_closes_when_the_watermark_reaches_its_end():
    line = Timeline(series_config(TENS))
    line.plays(0, "a").plays(0, "b").watermark(10 * S - 1)
    assert line.windows() == []
    line.watermark(10 * S)
    [output] = line.fold()
    window = decode_window(output.value)
    assert short(window) == (10, 0, 10, 0, 2)
    assert window.values["plays"] == Value(2.0, 2.0)
    assert window.values["listeners"].value == 2
    assert (window.group, window.stream, window.partition) == (ALL, "live", 3)
    assert (output.topic, output.key) == ("windows", ALL.encode())
    assert output.headers == (("stream", b"live"),)


def test_windows_come_by_end_then_by_size():
    line = Timeline(series_config(TENS, THIRTIES, ("20s", "20s", "1h")))
    line.plays(0, "a").watermark(40 * S)
    assert [(e, size) for size, _, e, _, _ in shorts(line.windows())] == [
        (10, 10), (20, 10), (20, 20), (30, 10), (30, 30), (40, 10), (40, 20), (40, 30),
    ]  # fmt: skip


def test_sliding_windows_begin_with_the_group_tumbling_ones_need_not():
    line = Timeline(series_config(("1m", "1m", "1h"), THIRTIES))
    line.plays(20 * S, "a").watermark(70 * S)
    assert shorts(line.windows()) == [
        (30, 20, 50, 0, 1),
        (30, 30, 60, 0, 0),
        (60, 0, 60, 0, 1),
        (30, 40, 70, 0, 0),
    ]


def test_a_group_begins_with_its_earliest_pane_whichever_partition_brings_it():
    line = Timeline(series_config(THIRTIES), sources=2)
    line.plays(30 * S, "a", source=0).plays(10 * S, "b", source=1)
    line.everywhere(60 * S)
    assert [w[1] for w in shorts(line.windows())] == [10, 20, 30]


def test_groups_move_together_whether_or_not_they_have_data():
    line = Timeline(series_config(TENS))
    line.plays(0, "a").plays(0, "b", group=SWEDEN).watermark(10 * S).fold()
    line.plays(10 * S, "a").watermark(20 * S)
    found = {w.group: w.count for w in line.windows()}
    assert found == {ALL: 1, SWEDEN: 0}


def test_an_empty_window_says_zero_where_things_are_counted_and_nothing_elsewhere():
    line = Timeline(series_config(TENS))
    line.plays(0, "a").watermark(10 * S).fold()
    line.watermark(20 * S)
    [window] = line.windows()
    assert window.values == {
        "plays": Value(0.0, 0.0),
        "listeners": Value(0.0, 0.0),
        "error_rate": Value(None, 0.0),
        "startup_p95": Value(None, 0.0),
        "completion": Value(None, 0.0),
    }


def test_zeros_end_a_day_after_the_last_data_and_the_group_begins_anew():
    line = Timeline(series_config(("1h", "1h", "2h"), ("3h", "1h", "2h"), pane="1h"))
    line.plays(0, "a").watermark(60 * H)
    found = shorts(line.windows())
    assert max(end for _, _, end, _, _ in found) == 25 * H // S
    assert line.counts == {("groups_dropped", "silent"): 1}
    assert set(line.keys()) == {"watermarks", "directory"}
    line.plays(70 * H, "b").watermark(73 * H)
    assert shorts(line.windows()) == [
        (3600, 70 * 3600, 71 * 3600, 0, 1),
        (3600, 71 * 3600, 72 * 3600, 0, 0),
        (3600, 72 * 3600, 73 * 3600, 0, 0),
        (10800, 70 * 3600, 73 * 3600, 0, 1),
    ]


def test_data_after_a_silence_begins_anew_even_while_old_state_is_kept():
    line = Timeline(series_config(("1h", "1h", "9d"), ("3h", "1h", "9d"), pane="1h"))
    line.plays(0, "a").watermark(30 * H).fold()
    assert line.state["instances"]
    line.plays(40 * H, "b").watermark(43 * H)
    assert [(w[0] // 3600, w[2] // 3600) for w in shorts(line.windows())] == [
        (1, 41), (1, 42), (1, 43), (3, 43),
    ]  # fmt: skip


def test_a_pane_far_ahead_waits_and_a_long_way_is_short_where_nothing_is():
    line = Timeline(series_config(TENS, THIRTIES))
    line.plays(0, "a").plays(20 * 365 * D, "b").watermark(20 * 365 * D)
    while line.fold():
        pass
    line.watermark(20 * 365 * D + 10 * S)
    assert [w[4] for w in shorts(line.windows())] == [1]


# -- the judge --------------------------------------------------------------------------------------


class ByCount:
    """Scores windows by their count, says what it saw, and writes it down."""

    stores = ()

    def __init__(self):
        self.seen = []
        self.forgotten = []

    def forget(self, gone, state):
        assert "instances" in state
        self.forgotten.append(gone)
        return ["farewell"]

    def __call__(self, window, spec, state, previous):
        self.seen.append((spec.name, window.end, window.revision, previous))
        if not window.revision and spec.detect:
            plays = window.values["plays"]
            plays.score, plays.low, plays.high = 1.5 + window.count, 0.25, 9.0
            window.values["listeners"].learning = True
        return window, ["more"]


def test_the_judge_sees_each_publication_and_its_outputs_follow_the_window():
    judge = ByCount()
    line = closed(TENS, ("20s", "10s", "1h", True), judge=judge)
    assert [(name, (end - T0) // S) for name, end, _, _ in judge.seen][:4] == [
        ("10s", 10), ("10s", 20), ("20s", 20), ("10s", 30),
    ]  # fmt: skip
    assert all(previous is None for *_, previous in judge.seen)
    line.records = []
    assert line.outputs[1::2] == ["more"] * (len(line.outputs) // 2)
    scored = [decode_window(o.value) for o in line.outputs[::2]]
    assert {w.values["plays"].score for w in scored if w.size == 20 * S} == {3.5}


@pytest.mark.parametrize("crash", [False, True])
def test_a_revision_is_judged_by_the_first_publications_band(crash):
    judge = ByCount()
    line = closed(TENS, ("20s", "10s", "1h", True), judge=judge)
    if crash:
        line.crash()
    for revision in (1, 2):
        judge.seen.clear()
        line.plays(10 * S, "x", late=True).watermark(60 * S + revision * 10 * S).fold()
        seen = {
            (name, end - T0): (number, previous)
            for name, end, number, previous in judge.seen
            if number
        }
        band = {
            "plays": Value(score=3.5, low=0.25, high=9.0),
            "listeners": Value(learning=True),
        }
        assert seen == {
            ("10s", 20 * S): (revision, None),
            ("20s", 20 * S): (revision, band),
            ("20s", 30 * S): (revision, band),
        }


def test_the_judge_is_told_of_groups_that_are_dropped():
    judge = ByCount()
    line = closed(TENS, judge=judge)
    line.plays(0, "a", stream="replay").watermark(0, stream="replay", ended=True)
    outputs = line.fold()
    (gone,) = judge.forgotten
    assert gone[:4] == ("acme", ALL, "replay", 10 * S)
    assert gone.why == "ended"
    assert "farewell" in outputs


def test_only_what_was_judged_or_revised_is_remembered():
    line = closed(TENS, ("20s", "10s", "1h", True), judge=ByCount())
    assert line.keys()["publications"] == 5
    assert "publications" not in closed(TENS, ("20s", "10s", "1h", True)).keys()  # noqa: SIM118


# -- bounds -----------------------------------------------------------------------------------------


def test_what_is_no_partial_becomes_a_dead_letter():
    line = Timeline()
    line.push(b"nonsense", key=b"k").plays(0, "a", parts={"n": -1}).push(b"").plays(0, "b")
    line.watermark(10 * S)
    outputs = line.fold()
    letters = [decode_dead_letter(o.value) for o in outputs if o.topic == "dead-letters"]
    assert [(d.reason, d.offset, d.topic, d.partition) for d in letters] == [
        ("bad_partial", 0, "partials", 3),
        ("bad_partial", 1, "partials", 3),
        ("bad_partial", 2, "partials", 3),
    ]
    assert letters[0].value == b"nonsense"
    assert line.counts == {("partials_rejected", "bad_partial"): 3}
    assert [decode_window(o.value).count for o in outputs if o.topic == "windows"] == [1]


def test_a_tenant_has_so_many_groups_and_no_more():
    line = Timeline(series_config(TENS, groups=2, metrics=1))
    for i in range(4):
        line.plays(0, "a", group=format_key("acme", "country", {"country": str(i)}))
    line.samples(0, 1.0).samples(0, 1.0, group=format_key("acme", "metric:other", {}))
    line.plays(0, "a").fold()
    assert len(line.state["instances"]) == 3
    assert line.counts == {("partials_refused", "over_limit"): 4}


def test_dropped_groups_make_room():
    line = Timeline(series_config(("1h", "1h", "1h"), pane="1h", groups=1))
    line.plays(0, "a").watermark(H).fold()
    line.plays(H, "a", group=SWEDEN).watermark(40 * H).plays(40 * H, "a", group=SWEDEN).fold()
    assert [key.split("|")[1] for key in line.state["instances"]] == ["country{country=SE}"]


def test_state_stays_bounded_on_a_long_run():
    line = Timeline(
        series_config(("10m", "10m", "1h"), ("1h", "10m", "2h"), ("6h", "1h", "24h"), pane="10m")
    )
    sizes = []
    for at in range(0, 5 * D, 10 * M):
        line.plays(at, "a", str(at)).plays(at, "b", group=SWEDEN)
        if at % (3 * H) == 0 and at:
            line.plays(at - 3 * H, "late", late=True)
        line.watermark(at + 10 * M).fold()
        sizes.append(sum(line.keys().values()))
    assert max(sizes[400:]) <= max(sizes[200:400])
    assert max(sizes) < 2 * 130


def test_a_long_way_is_walked_in_steps():
    line = closed(TENS, budget=20)
    line.watermark(H)
    counts = []
    while found := line.windows():
        counts.append(len(found))
        line.crash()
    assert counts == [20] * 17 + [14]


# -- a changed configuration ------------------------------------------------------------------------


def changed(line, *windows, **options):
    """The same stores after a restart with other windows."""
    other = Timeline(series_config(*windows, **options))
    other.state = line.crash().state
    return other


def test_a_new_kind_of_window_is_made_from_what_is_there():
    line = changed(closed(TENS), TENS, ("1m", "1m", "1h"))
    line.plays(60 * S, "a").watermark(2 * M)
    found = shorts(line.windows())
    assert found[-1] == (60, 60, 120, 0, 1)
    line.plays(0, "x", late=True).watermark(130 * S)
    assert shorts(line.revisions())[0] == (10, 0, 10, 1, 2)


def test_state_of_a_removed_kind_is_deleted():
    line = changed(closed(TENS, ("1m", "1m", "24h", True), judge=ByCount()), TENS)
    line.fold()
    assert not [key for key in line.state["panes"] if "p60000" in key]
    assert "publications" not in line.keys()  # noqa: SIM118


def test_a_changed_pane_begins_anew():
    line = changed(closed(TENS), ("20s", "20s", "1h"), pane="20s")
    line.plays(60 * S, "a").watermark(80 * S)
    assert shorts(line.windows()) == [(20, 60, 80, 0, 1)]
    assert len(line.state["instances"]) == 1
    assert play_parts("a")["n"] == 1
