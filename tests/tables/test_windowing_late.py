"""Late events on a timeline: which windows they revise, when, how often, and until when."""

from models.series import format_key
from tests.support.window_timeline import H, M, S, Timeline, closed, series_config, shorts

SWEDEN = format_key("acme", "country", {"country": "SE"})
TENS = ("10s", "10s", "1h")
THIRTIES = ("30s", "10s", "1h")


def test_late_events_revise_every_closed_window_that_they_are_in():
    line = closed(TENS, THIRTIES)
    line.plays(20 * S, "x", "y", late=True)
    found = line.windows()
    assert shorts(found) == [
        (10, 20, 30, 1, 3),
        (30, 0, 30, 1, 5),
        (30, 10, 40, 1, 5),
        (30, 20, 50, 1, 5),
    ]
    assert {w.late for w in found} == {2}
    assert {w.values["plays"].value for w in found} == {3.0, 5.0}


def test_late_events_of_one_batch_make_one_revision_those_of_the_next_another():
    line = closed(TENS)
    line.plays(0, "x", late=True).plays(0, "y", late=True, source=0)
    assert shorts(line.windows()) == [(10, 0, 10, 1, 3)]
    line.crash().plays(0, "z", late=True)
    assert shorts(line.windows()) == [(10, 0, 10, 2, 4)]


def test_the_first_publication_holds_no_late_event_and_a_revision_follows_at_once():
    line = closed(TENS, THIRTIES)
    line.plays(50 * S, "x", late=True).plays(60 * S, "a").plays(60 * S, "y", late=True)
    line.watermark(70 * S)
    assert shorts(line.windows()) == [
        (10, 60, 70, 0, 1),
        (30, 40, 70, 0, 3),
        (10, 50, 60, 1, 2),
        (30, 30, 60, 1, 4),
        (10, 60, 70, 1, 2),
        (30, 40, 70, 1, 5),
    ]


def test_beyond_grace_small_windows_stay_while_larger_ones_are_still_revised():
    line = closed(("10s", "10s", "1m"), ("1m", "1m", "10m"))
    line.watermark(3 * M).fold()
    line.plays(0, "x", "y", late=True)
    assert shorts(line.windows()) == [(60, 0, 60, 1, 8)]
    assert line.counts == {("late_events_ignored", "10s"): 2}
    line.watermark(11 * M).fold()
    line.plays(0, "z", late=True)
    assert line.windows() == []
    assert line.counts["late_events_ignored", "1m"] == 1


def test_grace_ends_exactly_when_the_watermark_is_that_far_past_the_end():
    line = closed(("10s", "10s", "1m"))
    line.watermark(70 * S - 1).plays(0, "x", late=True)
    assert (10, 0, 10, 1, 2) in shorts(line.windows())
    line.watermark(70 * S).plays(0, "y", late=True)
    assert 1 not in {w[3] for w in shorts(line.windows())}


def test_grace_counts_from_the_watermark_of_the_source_partition_that_is_late():
    line = Timeline(series_config(("10s", "10s", "1m")), sources=2)
    line.plays(0, "a").watermark(20 * S, 1).watermark(200 * S)
    line.plays(0, "b", late=True)
    line.plays(0, "c", late=True, source=1)
    assert shorts(line.windows()) == [
        (10, 0, 10, 0, 1), (10, 10, 20, 0, 0), (10, 0, 10, 1, 2),
    ]  # fmt: skip
    assert line.counts == {("late_events_ignored", "10s"): 1}


def test_a_late_event_in_an_empty_window_of_plays_revises_its_zero():
    line = closed(TENS)
    line.watermark(80 * S).fold()
    line.plays(70 * S, "x", late=True)
    assert shorts(line.windows()) == [(10, 70, 80, 1, 1)]


def test_a_group_that_begins_late_has_tumbling_windows_only():
    line = closed(TENS, THIRTIES)
    line.plays(20 * S, "x", late=True, group=SWEDEN)
    assert shorts(line.windows()) == [(10, 20, 30, 1, 1)]
    assert line.counts["late_events_ignored", "30s"] == 1


def test_old_blocks_are_found_again_in_their_archives():
    config = (("10s", "10s", "1h"), ("1m", "10s", "3h"))
    line = closed(*config, until=10 * M)
    line.watermark(2 * H).fold()
    assert line.keys()["panes"] < 10
    line.crash().plays(5 * M, "x", late=True)
    found = line.windows()
    assert [(w.count, w.end - w.start) for w in found] == [(7, M)] * 6
    assert line.counts == {("late_events_ignored", "10s"): 1}


def test_late_panes_are_forgotten_with_their_windows():
    line = closed(TENS, THIRTIES)
    line.plays(0, "x", late=True).fold()
    assert line.keys()["publications"] == 2
    line.watermark(2 * H).fold()
    assert set(line.keys()) == {"watermarks", "instances", "directory"}


# -- put off ----------------------------------------------------------------------------------------


def test_a_flood_of_late_events_is_revised_with_rests_and_together():
    """Nothing is left out: what waits is published by the next batch that is due, or has time."""
    line = closed(TENS, until=2 * H)
    for at in range(H, 2 * H, 10 * S):
        line.plays(at, "x", late=True).plays(at, "x", late=True, group=SWEDEN)
    assert len(line.windows()) == 720
    line.plays(H, "y", late=True).plays(H + 10 * S, "y", late=True)
    assert line.windows() == []
    line.now += 159
    line.plays(H, "z", late=True)
    assert line.windows() == []
    line.now += 1
    line.plays(H, "z", late=True)
    assert {w[3:] for w in shorts(line.windows())} == {(2, 5), (2, 3)}
    assert line.windows() == []


def resting(*windows):
    """A timeline on which revisions rest for long."""
    line = closed(*windows)
    line.state["directory"]["directory"].resting_until = line.now + H
    return line


def test_a_batch_without_records_has_time_for_revisions():
    line = resting(TENS)
    line.plays(0, "x", late=True).plays(10 * S, "x", late=True)
    assert line.windows() == []
    assert shorts(line.windows()) == [(10, 0, 10, 1, 2), (10, 10, 20, 1, 2)]
    assert line.windows() == []


def test_a_put_off_revision_survives_a_crash():
    line = resting(TENS)
    line.plays(0, "x", late=True)
    assert line.windows() == []
    assert shorts(line.crash().windows()) == [(10, 0, 10, 1, 2)]
    assert line.crash().windows() == []


def test_a_put_off_revision_comes_before_its_grace_ends():
    line = resting(("10s", "10s", "2m"))
    line.plays(0, "x", late=True).watermark(129 * S)
    assert 1 not in {w[3] for w in shorts(line.windows())}
    line.watermark(130 * S)
    assert (10, 0, 10, 1, 2) in shorts(line.windows())
