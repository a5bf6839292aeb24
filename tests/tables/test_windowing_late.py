"""Late events on a timeline: which windows they revise, when, how often, and until when."""

from models.series import format_key
from tables.instances import AT_ONCE
from tests.support.window_timeline import T0, H, M, S, Timeline, closed, series_config, shorts

SWEDEN = format_key("acme", "country", {"country": "SE"})
TENS = ("10s", "10s", "1h")
THIRTIES = ("30s", "10s", "1h")


def test_late_events_revise_every_closed_window_that_they_are_in():
    line = closed(TENS, THIRTIES)
    line.plays(20 * S, "x", "y", late=True).watermark(70 * S)
    found = line.revisions()
    assert shorts(found) == [
        (10, 20, 30, 1, 3),
        (30, 0, 30, 1, 5),
        (30, 10, 40, 1, 5),
        (30, 20, 50, 1, 5),
    ]
    assert {w.late for w in found} == {2}
    assert {w.values["plays"].value for w in found} == {3.0, 5.0}


def test_late_events_wait_for_the_edge_that_they_were_noticed_by():
    """All that was noticed by an edge makes one revision, however it is cut into batches."""
    line = closed(TENS)
    line.plays(0, "x", noticed=80 * S).plays(10 * S, "x", noticed=90 * S).watermark(70 * S)
    assert line.revisions() == []
    line.crash().plays(0, "y", noticed=80 * S, source=0)
    assert line.windows() == []
    line.crash().watermark(80 * S)
    assert shorts(line.windows()) == [(10, 0, 10, 1, 3), (10, 70, 80, 0, 0)]
    line.watermark(110 * S)
    assert shorts(line.revisions()) == [(10, 10, 20, 1, 2)]
    assert line.crash().revisions() == []


def test_late_events_of_the_next_pane_make_another_revision():
    line = closed(TENS)
    line.plays(0, "x", noticed=70 * S).plays(0, "y", noticed=80 * S).watermark(90 * S)
    assert shorts(line.revisions()) == [(10, 0, 10, 1, 2), (10, 0, 10, 2, 3)]


def test_the_first_publication_holds_no_late_event_and_a_revision_follows_at_once():
    line = closed(TENS, THIRTIES)
    line.plays(50 * S, "x", noticed=70 * S).plays(60 * S, "a").plays(60 * S, "y", noticed=70 * S)
    line.watermark(70 * S)
    assert shorts(line.windows()) == [
        (10, 50, 60, 1, 2),
        (30, 30, 60, 1, 4),
        (10, 60, 70, 0, 1),
        (30, 40, 70, 0, 3),
        (10, 60, 70, 1, 2),
        (30, 40, 70, 1, 5),
    ]


def test_beyond_grace_small_windows_stay_while_larger_ones_are_still_revised():
    line = closed(("10s", "10s", "1m"), ("1m", "1m", "10m"))
    line.watermark(3 * M).fold()
    line.plays(0, "x", "y", late=True).watermark(4 * M)
    assert shorts(line.revisions()) == [(60, 0, 60, 1, 8)]
    assert line.counts == {("late_events_ignored", "10s"): 2}
    line.watermark(11 * M).fold()
    line.plays(0, "z", late=True).watermark(12 * M)
    assert line.revisions() == []
    assert line.counts["late_events_ignored", "1m"] == 1


def test_grace_counts_from_the_watermark_of_the_source_partition_that_is_late():
    """That is one pane before the edge it was noticed by, wherever the other partitions are."""
    line = Timeline(series_config(("10s", "10s", "1m")), sources=2)
    line.plays(0, "a").watermark(20 * S, 1).watermark(200 * S)
    line.plays(0, "b", noticed=80 * S)
    line.plays(0, "c", noticed=70 * S, source=1)
    line.everywhere(200 * S)
    found = [w for w in shorts(line.windows()) if w[2] == 10]
    assert found == [(10, 0, 10, 0, 1), (10, 0, 10, 1, 2)]
    assert line.counts == {("late_events_ignored", "10s"): 1}


def test_a_late_event_in_an_empty_window_of_plays_revises_its_zero():
    line = closed(TENS)
    line.watermark(80 * S).fold()
    line.plays(70 * S, "x", late=True).watermark(90 * S)
    assert shorts(line.revisions()) == [(10, 70, 80, 1, 1)]


def test_a_group_that_begins_late_has_tumbling_windows_only():
    line = closed(TENS, THIRTIES)
    line.plays(20 * S, "x", late=True, group=SWEDEN).watermark(70 * S)
    assert shorts(line.revisions()) == [(10, 20, 30, 1, 1)]
    assert line.counts["late_events_ignored", "30s"] == 1


def test_old_blocks_are_found_again_in_their_archives():
    config = (("10s", "10s", "1h"), ("1m", "10s", "3h"))
    line = closed(*config, until=10 * M)
    line.watermark(2 * H).fold()
    assert line.keys()["panes"] < 10
    line.crash().plays(5 * M, "x", late=True).watermark(2 * H + 10 * S)
    found = line.revisions()
    assert [(w.count, w.end - w.start) for w in found] == [(7, M)] * 6
    assert line.counts == {("late_events_ignored", "10s"): 1}


def test_late_panes_are_forgotten_with_their_windows():
    line = closed(TENS, THIRTIES)
    line.plays(0, "x", late=True).watermark(70 * S).fold()
    assert line.keys()["publications"] == 2
    line.watermark(2 * H).fold()
    assert set(line.keys()) == {"watermarks", "instances", "directory"}


def test_late_events_that_wait_are_forgotten_with_a_group_that_is_dropped():
    line = Timeline()
    line.plays(0, "a", stream="old").plays(0, "x", noticed=H, stream="old").fold()
    line.now += 8 * 24 * H
    line.plays(0, "a").watermark(10 * S).fold()
    assert not [key for key in line.state["panes"] if "|old|" in key]


# -- many -------------------------------------------------------------------------------------------


def flooded(grace="1h", minutes=10):
    """A timeline on which every closed window has got a late play, noticed by the next edge."""
    line = closed(("10s", "10s", grace), until=minutes * M)
    for at in range(0, minutes * M, 10 * S):
        line.plays(at, "x", noticed=minutes * M + 10 * S)
    return line


def test_a_flood_of_late_events_is_revised_in_steps_of_event_time_the_newest_first():
    """What comes meanwhile is revised together with what waits, and nothing is left out."""
    line = flooded()
    line.plays(0, "y", noticed=10 * M + 20 * S)
    ends = []
    for edge in range(1, 60 // AT_ONCE + 1):
        found = line.crash().watermark(10 * M + edge * 10 * S).revisions()
        ends += reversed([(w.end - T0) // S for w in found])
        assert len(found) == AT_ONCE
        counts = {w.end - T0: (w.revision, w.count) for w in found}
    assert ends == list(range(600, 0, -10))
    assert counts[10 * S] == (1, 3)
    assert line.watermark(20 * M).revisions() == []


def test_what_leaves_its_grace_is_revised_at_once():
    """Windows that end up to 30 s have left the grace, that of 40 s leaves it with the edge."""
    line = flooded(grace="9m30s")
    line.watermark(10 * M + 10 * S)
    found = [w[2] for w in shorts(line.revisions())]
    assert found == [40, *range(550, 601, 10)]
    assert line.counts == {("late_events_ignored", "10s"): 3}


def test_a_stream_that_ends_publishes_what_waits():
    line = Timeline(series_config(TENS, THIRTIES), budget=10)
    for at in range(0, 5 * M, 10 * S):
        line.plays(at, "a", stream="load").plays(at, "x", noticed=4 * M, stream="load")
    line.plays(0, "y", noticed=6 * M, stream="load")
    line.watermark(0, stream="load", ended=True)
    last = {}
    while found := line.windows():
        assert len(found) <= 10 + 2 * AT_ONCE + 2
        last |= {(w[0], w[1]): w[3:] for w in shorts(found)}
        line.crash()
    assert {key for key in last if key[0] == 10} == {(10, at) for at in range(0, 300, 10)}
    assert {count for (size, at), (_, count) in last.items() if size == 10 and at} == {2}
    assert last[10, 0] == (2, 3)
    assert last[30, 270] == (1, 6)
    assert set(line.keys()) == {"directory"}
