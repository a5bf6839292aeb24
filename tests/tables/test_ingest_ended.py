"""Plays that are sent when they are over."""

import pytest

from tests.tables.ingest_bed import SECOND, T0, Bed, play


@pytest.mark.parametrize("tells_its_end", [True, False])
def test_plays_sent_when_they_are_over_are_on_time_if_they_say_so(tells_its_end):
    """Short plays and failures end soon after they start: without their ends they are all that is on
    time, and a window's first publication has nothing else.
    """
    source = Bed()
    lengths = [0, 200, 3, 180, 0, 240, 31, 600, 0, 215]  # seconds
    for n, length in enumerate(lengths):
        ended = T0 + n * SECOND
        times = {"ended_at": ended} if tells_its_end else {}
        source.push(play(ended - length * SECOND, ms_played=length * SECOND, **times))
    late = source.count("events_folded", "late")
    assert late == (0 if tells_its_end else sum(length > 10 for length in lengths))
    assert source.count("events_folded", "on_time") == len(lengths) - late
