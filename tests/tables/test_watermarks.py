"""The watermark of a stream of plays: the least of its source partitions, and who does not count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import StateError
from models.records import Watermark
from tables.watermarks import END_OF_TIME, NEVER, WATERMARKS, StreamClock
from tests.support.window_timeline import T0, H, M, S, Timeline, short


def clock_of(*marks, partitions=2, whole=()):
    """The watermark after (source partition, at, flag) in this order."""
    clock = StreamClock("acme", "live", 0)
    for source, at, *flag in marks:
        flags = dict.fromkeys(flag, True)
        clock.hear(Watermark("acme", "live", "plays", source, at, **flags), at)
        clock.combine(partitions, whole)
    clock.combine(partitions, whole)
    return clock.combined


@pytest.mark.parametrize(
    ("marks", "combined"),
    [
        ([(0, 50)], NEVER),  # nothing was heard of partition 1: it holds
        ([(0, 50), (1, 30)], 30),
        ([(0, 50), (1, 30), (1, 20)], 30),  # it never goes back
        ([(0, 50), (1, 30, "idle")], 50),
        ([(0, 50), (1, 30, "idle"), (1, 30), (0, 90)], 50),  # awake again: it holds, not back
        ([(0, 50), (1, 30, "idle"), (1, 60), (0, 90)], 60),
        ([(0, 50, "idle"), (1, 30, "idle")], 50),  # all idle: the furthest
        ([(0, 50), (1, END_OF_TIME, "ended")], 50),
        ([(0, 50, "idle"), (1, END_OF_TIME, "ended")], 50),
        ([(0, 50), (1, END_OF_TIME)], 50),  # so late a time is an end
        ([(0, END_OF_TIME, "ended"), (1, END_OF_TIME, "ended")], END_OF_TIME),
    ],
)
def test_how_partitions_come_together(marks, combined):
    assert clock_of(*marks) == combined


def test_a_partition_that_is_idle_as_a_whole_does_not_hold_streams_it_never_named():
    assert clock_of((0, 50), whole={1}) == 50
    assert clock_of((1, 20), (0, 50), whole={1}) == 20
    assert clock_of(whole={0, 1}) == NEVER
    assert clock_of((0, END_OF_TIME, "ended"), whole={1}) == END_OF_TIME


marks = st.tuples(
    st.integers(0, 2), st.integers(-100, 100), st.sampled_from(["", "idle", "ended"])
)  # fmt: skip


@given(st.lists(marks, max_size=12), st.integers(0, 12))
def test_it_never_goes_back_and_survives_a_crash(found, cut):
    clock, seen = StreamClock("acme", "live", 3), NEVER
    for i, (source, at, flag) in enumerate(found):
        if i == cut:
            clock = WATERMARKS.decode(WATERMARKS.encode(clock))
        flags = {flag: True} if flag else {}
        clock.hear(Watermark("acme", "live", "plays", source, at, **flags), at)
        clock.combine(3, ())
        assert clock.combined >= seen
        seen = clock.combined
    expected = clock_of(*[(s, a, *([f] if f else [])) for s, a, f in found], partitions=3)
    assert clock.combined == expected


def test_foreign_state_is_an_error():
    with pytest.raises(StateError):
        WATERMARKS.decode(b"\x01")


# -- on a timeline ----------------------------------------------------------------------------------


def test_windows_wait_for_the_last_partition():
    line = Timeline(sources=2)
    line.plays(0, "a").watermark(30 * S)
    assert line.windows() == []
    line.plays(0, "b", source=1).watermark(10 * S, 1)
    assert [short(w) for w in line.windows()] == [(10, 0, 10, 0, 2)]


def test_a_partition_that_declares_itself_idle_as_a_whole_lets_windows_close():
    line = Timeline(sources=2)
    line.plays(0, "a").watermark(10 * S)
    assert line.windows() == []
    line.idle_partition(1)
    assert [short(w) for w in line.windows()] == [(10, 0, 10, 0, 1)]


def test_one_that_is_idle_no_more_holds_again():
    line = Timeline(sources=2)
    line.idle_partition(1).plays(0, "a").watermark(10 * S)
    assert len(line.windows()) == 1
    line.idle_partition(1, idle=False).watermark(20 * S)
    assert line.windows() == []
    line.watermark(20 * S, 1)
    assert len(line.windows()) == 1


def test_what_an_idle_partition_brings_behind_the_watermark_is_late():
    line = Timeline(sources=2)
    line.plays(0, "a").watermark(0, 1, idle=True).watermark(20 * S)
    assert [short(w) for w in line.windows()] == [(10, 0, 10, 0, 1), (10, 10, 20, 0, 0)]
    line.watermark(5 * S, 1).plays(0, "b", source=1).watermark(40 * S)
    assert line.windows() == []
    line.watermark(30 * S, 1)
    revised, first = line.windows()
    assert short(revised) == (10, 0, 10, 1, 2)
    assert revised.late == 1
    assert short(first) == (10, 20, 30, 0, 0)


def test_when_all_are_idle_silence_goes_on():
    line = Timeline(sources=2)
    line.plays(0, "a").watermark(10 * S).watermark(10 * S, 1).fold()
    line.watermark(10 * S, idle=True).watermark(30 * S, 1, idle=True)
    assert [short(w)[1:3] for w in line.windows()] == [(10, 20), (20, 30)]


def test_streams_have_clocks_of_their_own():
    line = Timeline()
    line.plays(0, "a").plays(0, "b", stream="replay").watermark(10 * S, stream="replay")
    assert [w.stream for w in line.windows()] == ["replay"]
    line.watermark(10 * S)
    assert [w.stream for w in line.windows()] == ["live"]


# -- the end of a stream ----------------------------------------------------------------------------


def test_a_stream_that_has_ended_closes_its_windows_and_is_forgotten():
    line = Timeline(sources=2)
    for source in (0, 1):
        line.plays(source * 10 * S, "a", source=source, stream="replay")
        line.watermark(10 * S, source, stream="replay")
    line.plays(0, "b").everywhere(10 * S).fold()
    line.watermark(0, 0, stream="replay", ended=True)
    assert line.windows() == []
    line.watermark(0, 1, stream="replay", ended=True)
    found = [short(w) for w in line.windows()]
    # Each kind goes on until it has one window that holds the last pane, and no further.
    assert found == [(10, 10, 20, 0, 1)]
    assert line.counts["groups_dropped", "ended"] == 1
    assert not [key for store in line.state.values() for key in store if "replay" in key]
    assert line.state["instances"]


def test_the_last_pane_of_a_stream_is_in_a_window_of_every_kind():
    line = Timeline()
    line.plays(0, "a", stream="replay").plays(2 * H + 5 * M, "b", stream="replay")
    line.watermark(0, stream="replay", ended=True)
    last = {}
    for w in line.windows():
        last[w.size] = short(w)
    assert last == {
        10 * S: (10, 7500, 7510, 0, 1),
        M: (60, 7450, 7510, 0, 1),
        H: (3600, 3960, 7560, 0, 1),
    }


def test_late_events_of_a_stream_that_ends_are_published():
    line = Timeline()
    line.plays(0, "a", stream="replay").plays(0, "b", stream="replay", late=True)
    line.watermark(0, stream="replay", ended=True)
    assert [(short(w), w.late) for w in line.windows()] == [
        ((10, 0, 10, 0, 1), 0),
        ((10, 0, 10, 1, 2), 1),
    ]


def test_a_stream_can_begin_again_after_its_end():
    line = Timeline()
    for _ in range(2):
        line.plays(0, "a", stream="replay").watermark(10 * S, stream="replay")
        assert [short(w) for w in line.windows()] == [(10, 0, 10, 0, 1)]
        line.watermark(0, stream="replay", ended=True).fold()
    assert set(line.keys()) == {"directory"}


def test_an_abandoned_stream_is_forgotten_after_a_week():
    line = Timeline(sources=2)
    line.plays(0, "a", stream="replay").watermark(10 * S, stream="replay")
    line.plays(0, "a").everywhere(10 * S).fold()
    line.now = T0 + 8 * 24 * H
    line.watermark(10 * S).fold()
    assert line.counts["groups_dropped", "abandoned"] == 1
    assert not [key for store in line.state.values() for key in store if "replay" in key]
    assert line.state["instances"]


# -- who holds it back ------------------------------------------------------------------------------

PATIENCE = M


def words(*told, partitions=3, whole=(), stream="live", cut=None):
    """What is found after each (source partition, Kafka time in s, watermark in s, flag)."""
    clock, found = StreamClock("acme", stream, 0), []
    for i, (source, heard, at, *flag) in enumerate(told):
        mark = Watermark("acme", stream, "plays", source, at * S, **dict.fromkeys(flag, True))
        clock.hear(mark, heard * S)
        if i == cut:
            clock = WATERMARKS.decode(WATERMARKS.encode(clock))
        found += [(heard, h) for h in clock.look(partitions, whole, PATIENCE)]
    return [(heard, h.source, h.at // S, h.over) for heard, h in found]


def others(begin, end):
    """Partitions 0 and 1 tell every ten seconds."""
    return [(i, t, t) for t in range(begin, end, 10) for i in (0, 1)]


@pytest.mark.parametrize("cut", [None, 3, 15, 20])
def test_a_partition_that_is_silent_while_others_go_on_holds_them_until_it_speaks(cut):
    found = words(*others(0, 20), (2, 20, 15), *others(20, 110), (2, 110, 40), cut=cut)
    assert found == [(90, 2, 15, False), (110, 2, 15, True)]


def test_one_that_nobody_has_ever_heard_of_holds_them_too():
    assert words(*others(100, 190)) == [(170, 2, 100, False)]
    assert words(*others(100, 190), whole={2}) == []


@pytest.mark.parametrize("flag", ["idle", "ended"])
def test_one_that_need_not_be_waited_for_does_not(flag):
    assert words(*others(0, 20), (2, 20, 15, flag), *others(20, 110)) == []
    told = (*others(0, 20), (2, 20, 15), *others(20, 100), (2, 100, 15, flag))
    assert words(*told) == [(90, 2, 15, False), (100, 2, 15, True)]


def test_a_pause_of_all_is_nobodys():
    """Workers are started anew after an hour: one is back first, the others are not to blame."""
    back = [(0, t, t - 3_500) for t in range(3_600, 3_650, 10)]
    calm = [*others(0, 50), (2, 45, 45), *back, (1, 3_650, 150)]
    assert words(*calm) == []
    assert words(*calm, *others(3_660, 3_910)) == []
    assert words(*calm, *others(3_660, 3_920)) == [(3_910, 2, 45, False)]


def behind(seconds, begin, end):
    """As :func:`others`, so far behind the clock and coming nearer, ten seconds in one."""
    return [(i, t, 10 * t - seconds) for t in range(begin, end, 10) for i in (0, 1)]


@pytest.mark.parametrize(
    ("lag", "patience"), [(30, 60), (60, 60), (120, 120), (300, 300), (14_000, 300)]
)
def test_one_that_was_behind_may_be_silent_as_long_for_five_minutes_at_most(lag, patience):
    """A worker that catches up may take its time for one of its partitions."""
    told = [*others(0, 20), (2, 20, 20 - lag)]
    assert words(*told, *others(20, 20 + patience + 10)) == []
    found = words(*told, *others(20, 20 + patience + 20))
    assert found == [(20 + patience + 10, 2, 20 - lag, False)]


def test_a_worker_that_catches_up_is_no_missing_owner():
    told = [*behind(14_000, 0, 20), (2, 20, -13_900), *behind(14_000, 20, 250)]
    assert words(*told, (2, 250, -13_000), *behind(14_000, 250, 500)) == []
    never = [*behind(14_000, 0, 310)]
    assert words(*never) == []
    assert words(*never, *behind(14_000, 310, 320)) == [(310, 2, -14_000, False)]


def test_where_nobody_is_ahead_nobody_is_held():
    assert words((1, 0, 10), (2, 0, 10), *[(0, t, 10) for t in range(0, 200, 10)]) == []


def test_a_named_stream_may_have_partitions_that_nobody_feeds():
    assert words(*others(0, 200), stream="replay") == []


def test_the_judge_is_told_who_holds_windows_back():
    class Judge:
        def __init__(self):
            self.told = []

        def __call__(self, window, spec, state, previous):
            return window, ()

        def held(self, held):
            self.told.append(held)
            return ["told"]

    judge = Judge()
    line, outputs = Timeline(sources=3, judge=judge), []
    for step in range(9):
        line.now = T0 + step * 10 * S
        for source in (0, 1):
            line.watermark(step * 10 * S, source)
        outputs += line.fold()
    (held,) = judge.told
    assert held[:3] == ("acme", "live", 2)
    assert held.silent == 70 * S
    assert outputs.count("told") == 1
