"""Clocks and watermarks: event time in offset order, silence, and who is told what when."""

import pytest

from models.errors import StateError
from models.records import Watermark, decode_flow
from tables import clocks
from tables.clocks import END_OF_TIME, MAX_PATIENCE, Clock
from tests.tables.ingest_bed import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    Bed,
    config,
    end_of,
    play,
    record,
    shipped,
)

LATENESS = 10 * SECOND


def started(at=T0 + 60 * SECOND, lag=0, **changes):
    """A partition that has folded one live play of ``at``, ``lag`` ms after it."""
    bed = Bed(**changes)
    bed.now = at + lag
    bed.push(play(at))
    return bed


def test_an_event_is_late_if_it_is_older_than_the_running_maximum_less_the_lateness():
    """At the edge it is on time; the maximum is that of earlier records, the same batch's too."""
    top = T0 + 100 * SECOND
    bed = Bed()
    seen = bed.push(play(top), play(top - LATENESS), play(top - LATENESS - 1))
    assert seen.counts() == {(100, False): 1, (90, False): 1, (80, True): 1}
    assert bed.push(play(top - LATENESS - 1), play(top - LATENESS)).counts() == {
        (80, True): 1,
        (90, False): 1,
    }


def test_offset_order_decides_and_not_event_order():
    """Rising times are never late, whatever the steps; the same ones falling are."""
    times = [T0 + i * HOUR for i in range(4)]
    assert not any(late for _, late in Bed().push(*map(play, times)).counts())
    falling = Bed().push(*map(play, times[::-1])).counts()
    assert sum(n for (_, late), n in falling.items() if late) == 3


def test_each_tenants_stream_has_its_own_clock():
    bed = Bed()
    seen = bed.push(
        play(T0 + HOUR),
        play(T0, tenant_id="other"),
        record(play(T0), stream="import"),
    )
    assert not seen.letters
    assert not any(late for *_, late in seen.sums)


def test_beyond_the_longest_grace_the_original_goes_to_late():
    """At the edge of 24 h behind the watermark an event is folded; a millisecond more and it is not."""
    top = T0 + 3 * DAY
    edge = top - LATENESS - 24 * HOUR
    bed = Bed(now=top)
    original = play(edge - 1, extra="kept")
    seen = bed.push(
        record(play(top), timestamp=top), record(play(edge), timestamp=top),
        record(original, timestamp=top),
    )  # fmt: skip
    assert len([1 for *_, late in seen.sums if late]) == 6
    (late,) = seen.late
    assert (late.tenant, late.stream, late.at, late.watermark) == (
        "demo",
        "live",
        edge - 1,
        top - LATENESS,
    )
    assert (late.reason, late.topic, late.partition, late.offset) == ("beyond_grace", "plays", 0, 2)
    assert late.value == original
    assert bed.count("events_folded", "beyond_grace") == 1


def test_the_watermark_is_told_to_every_partition_after_the_partials():
    config_ = config(partials=3)
    bed = Bed(config_)
    bed.push(play(T0))
    outputs = []
    batch_outputs = bed.push(play(T0 + 25 * SECOND))
    assert isinstance(batch_outputs.flow[-1], Watermark)
    from models.flow import Batch
    from tables.ingest import fold_plays

    outputs = fold_plays(
        Batch("plays", 2, [record(play(T0 + 45 * SECOND))], at_end=False),
        bed.state,
        bed.now,
        config_,
    )
    told = [o for o in outputs if isinstance(decode_flow(o.value), Watermark)]
    assert [o.partition for o in told] == [0, 1, 2]
    assert {o.key for o in told} == {b"demo"}
    assert decode_flow(told[0].value) == Watermark("demo", "live", "plays", 2, T0 + 30 * SECOND)
    assert outputs[-3:] == told


def test_a_watermark_is_told_when_it_crosses_a_panes_edge_and_only_then():
    bed = started(T0)
    assert bed.push(play(T0 + 9_999)).watermarks == []
    assert bed.push(play(T0 + 10_000)).watermarks == [("live", T0, False, False)]
    assert bed.push(play(T0 + 10_001), play(T0 + 19_999)).watermarks == []
    assert bed.push(play(T0 + 45_000)).watermarks == [("live", T0 + 30_000, False, False)]


def test_a_new_stream_is_announced_before_its_partials():
    """The window step learns that it must wait for it; nothing on time is older than it says."""
    seen = Bed().push(play(T0 + 5_000), play(T0 + 500_000))
    assert isinstance(seen.flow[0], Watermark)
    assert seen.watermarks[0] == ("live", T0 - 10_000, False, False)
    assert isinstance(seen.flow[1], Watermark) is False
    assert seen.watermarks[-1] == ("live", T0 + 490_000, False, False)


# -- silence ----------------------------------------------------------------------------------------


def test_nothing_is_idle_before_the_partitions_end_is_reached():
    bed = started()
    bed.now += HOUR
    assert bed.push(at_end=False).flow == []


def test_a_silent_live_stream_is_moved_on_by_the_clock():
    """After ``idle`` it is declared idle at now - idle - lateness, then at every pane's edge."""
    bed = started(T0)
    assert bed.wait(4_999).watermarks == []
    assert bed.wait(1).watermarks == [("live", T0 - 10_000, True, False), ("", 0, True, False)]
    assert bed.wait(9_999).watermarks == []
    assert bed.wait(1).watermarks == [("live", T0, True, False)]
    assert bed.wait(60_000).watermarks == [("live", T0 + 60_000, True, False)]


def test_what_comes_after_silence_is_late_if_silence_has_passed_it():
    """The watermark that was told holds: an event behind it is flagged late."""
    bed = started(T0)
    bed.wait(60_000)
    seen = bed.push(play(T0 + 44_999), play(T0 + 45_000))
    assert seen.counts() == {(40, False): 1, (40, True): 1}
    assert seen.watermarks[0] == ("live", T0 + 40_000, False, False)


def test_an_end_of_silence_is_told_before_the_partials():
    bed = started(T0)
    bed.wait(30_000)
    seen = bed.push(play(T0 + 30_000))
    first = seen.flow[0]
    assert isinstance(first, Watermark)
    assert (first.idle, first.at) == (False, T0 + 10_000)
    assert bed.push(play(T0 + 30_001)).watermarks == []


def test_a_busy_partition_does_not_hide_a_silent_tenant():
    """Idleness is each stream's own: another tenant's events do not keep a silent one awake."""
    bed = started(T0)
    told = []
    for i in range(1, 30):
        bed.now = T0 + i * SECOND
        told += bed.push(play(bed.now, tenant_id="other"), at_end=True).flow
    idle = [(w.tenant, w.at) for w in told if isinstance(w, Watermark) and w.idle]
    assert idle == [("demo", T0 - 10_000), ("demo", T0), ("demo", T0 + 10_000)]


def test_a_tenant_without_events_here_is_not_waited_for():
    """On a partition busy with others its live stream is declared idle, once, and stays where it is:
    a load of old plays that begins later is not late.
    """
    bed, told = Bed(), []
    for i in range(30):
        bed.now = T0 + i * SECOND
        told += bed.push(play(bed.now, tenant_id="other"), at_end=True).watermarks
    assert told == [("live", 0, True, False)]
    seen = bed.push(play(T0 - 300 * DAY))
    assert seen.watermarks == [("live", T0 - 300 * DAY - LATENESS, False, False)]
    assert {late for *_, late in seen.sums} == {False}


def test_a_pause_in_a_historical_load_is_not_silence():
    """Ten hours behind, a stream waits five minutes; an hour behind would wait as long."""
    bed = started(T0, lag=10 * HOUR)
    assert bed.wait(MAX_PATIENCE - 1).watermarks == [("", 0, True, False)]
    ((name, at, idle, _),) = bed.wait(1).watermarks
    assert (name, idle) == ("live", True)
    assert at > T0 + 9 * HOUR


def test_a_tenth_of_how_far_it_is_behind():
    bed = started(T0, lag=100 * SECOND)
    bed.wait(11_000)
    assert [w for w in bed.wait(0).watermarks if w[0] == "live"] == []
    assert bed.wait(500)[0][-1].idle


def test_a_feed_that_always_comes_late_is_not_overtaken_by_silence():
    """Samples a minute old, once a minute: their usual delay is allowed for, none becomes late."""
    bed = Bed()
    for i in range(20):
        at = T0 + i * MINUTE
        bed.now = at + MINUTE
        seen = bed.push(play(at), at_end=True)
        assert seen.counts() == {(i * 60, False): 1}
        for _ in range(50):
            bed.wait(SECOND)


def test_a_delay_is_forgotten_with_time():
    clock = {"demo\x1flive": Clock(top=T0, active=T0, lag=80_000)}
    clocks.move(clock, "demo\x1flive", T0, None, T0 + clocks.LAG_HALF_LIFE)
    assert clock["demo\x1flive"].lag == 40_000
    clocks.move(clock, "demo\x1flive", T0 + 1, 10**9, T0 + clocks.LAG_HALF_LIFE)
    assert clock["demo\x1flive"].lag == MAX_PATIENCE


def test_an_import_is_declared_idle_once_and_not_moved_on():
    """A named stream has no relation to the clock on the wall."""
    bed = Bed(now=T0)
    bed.push(record(play(T0), stream="import"))
    told = [w for _ in range(100) for w in bed.wait(SECOND).watermarks if w[0] == "import"]
    assert told == [("import", T0 - 10_000, True, False)]
    seen = bed.push(record(play(T0 + 1), stream="import"))
    assert seen.watermarks == [("import", T0 - 10_000, False, False)]
    assert seen.counts(stream="import") == {(0, False): 1}


def test_a_quiet_partition_is_declared_idle_as_a_whole_once():
    """For streams it has never seen; again after activity has ended."""
    bed = Bed(now=T0)
    assert bed.wait(0).watermarks == []
    assert bed.wait(5_000).watermarks == [("live", 0, True, False), ("", 0, True, False)]
    assert bed.wait(HOUR).watermarks == []
    bed.push(record(play(bed.now), timestamp=bed.now))
    assert ("", 0, True, False) not in bed.wait(4_999).watermarks
    assert ("", 0, True, False) in bed.wait(1).watermarks
    assert ("", 0, True, False) not in bed.wait(HOUR).watermarks


def test_silence_writes_nothing_between_edges():
    """A tick that tells nothing changes no state, so that it needs no flush."""
    bed = started(T0, config=config(tenants=frozenset({"demo"})))
    bed.wait(6_000)
    before = dict(bed.state["clocks"])
    for _ in range(8):
        assert bed.wait(SECOND).flow == []
    assert bed.state["clocks"] == before


# -- the end of a stream ------------------------------------------------------------------------------


def test_an_end_marker_ends_its_stream_after_its_partials():
    bed = Bed()
    seen = bed.push(record(play(T0), stream="import"), end_of("import", key=b"demo"))
    assert [type(f).__name__ for f in seen.flow][-1] == "Watermark"
    assert seen.watermarks[-1] == ("import", END_OF_TIME, False, True)
    assert not any(name.endswith("import") for name in bed.state["clocks"])


def test_an_end_marker_speaks_for_tenants_that_were_never_seen():
    """Else an import that had no event for this partition would be waited for forever."""
    seen = Bed().push(end_of("import"))
    ended = [(w.tenant, w.stream) for w in seen.flow]
    assert ended == [("demo", "import"), ("other", "import")]
    assert [w.tenant for w in Bed().push(end_of("import", key=b"other:u1")).flow] == ["other"]


def test_a_stream_that_ended_leaves_no_state():
    bed = Bed()
    bed.push(play(T0), record(play(T0), stream="import"))
    bed.push(end_of("import"))
    left = [key for store in ("clocks", "profiles", "eligibility") for key in bed.state[store]]
    assert left
    assert not [key for key in left if "import" in key]


def test_what_follows_an_end_marker_begins_anew():
    """In the same batch as in another: the old clock does not make it late."""
    values = [record(play(T0 + DAY), stream="i"), end_of("i"), record(play(T0), stream="i")]
    future = shipped(time=type(config().series.time)(10_000, 10_000, 5_000, 2 * DAY))
    whole = Bed(config(future)).push(*values)
    bed = Bed(config(future))
    cut = [bed.push(value) for value in values]
    assert whole.sums == {k: v for seen in cut for k, v in seen.sums.items()}
    assert not any(late for *_, late in whole.sums)


@pytest.mark.parametrize(
    ("marker", "reason"),
    [
        (end_of("live"), "endless"),
        (end_of("x" * 65), "bad_stream"),
        (end_of("import", key=b"stranger"), "unknown_tenant"),
    ],
)
def test_an_end_marker_that_cannot_be_is_a_dead_letter(marker, reason):
    if marker.headers[0][0] != "stream":
        marker = marker._replace(headers=(("stream", b"live"), *marker.headers))
    seen = Bed().push(marker)
    assert [letter.reason for letter in seen.letters] == [reason]
    assert seen.flow == []


def test_an_end_header_may_name_the_stream_itself():
    marker = record(None, headers=(("stream-end", b"import"),))
    assert Bed().push(marker).watermarks[0] == ("import", END_OF_TIME, False, True)


def test_clocks_cross_the_changelog():
    clock = Clock(1, 2, 3, 4, 5, idle=True, swept=7)
    assert clocks.STORE.decode(clocks.STORE.encode(clock)) == clock
    with pytest.raises(StateError, match="cannot be read"):
        clocks.STORE.decode(b"\xc1")
