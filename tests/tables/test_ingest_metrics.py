"""The fold of metric samples: panes that follow a series' spacing, and a clock for each series."""

import pytest

from models.config import Limits
from models.errors import StateError
from models.records import Partial
from tables import parts, routes, samples
from tables.clocks import END_OF_TIME
from tables.samples import Sample, Waiting, choose_pane
from tests.tables.ingest_bed import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    SHIPPED,
    T0,
    Bed,
    config,
    end_of,
    metric,
    record,
    shipped,
)

GROUP = "demo|metric:cpu{host=h}"


def bed(**changes):
    return Bed(config(**changes), source="metrics")


def every(spacing, count, start=T0, **changes):
    return [metric(start + i * spacing, float(i), **changes) for i in range(count)]


@pytest.mark.parametrize(
    ("spacing", "pane"),
    [
        (SECOND, 10 * SECOND), (10 * SECOND, 10 * SECOND), (15 * SECOND, 10 * SECOND),
        (30 * SECOND, 30 * SECOND), (MINUTE, MINUTE), (MINUTE - 5, MINUTE), (MINUTE - 7, 30 * SECOND),
        (2 * MINUTE, MINUTE), (5 * MINUTE, 5 * MINUTE), (10 * MINUTE, 10 * MINUTE),
        (15 * MINUTE, 15 * MINUTE), (30 * MINUTE, 30 * MINUTE), (HOUR, HOUR), (7 * HOUR, HOUR),
        (DAY, DAY), (9 * DAY, DAY),
    ],
)  # fmt: skip
def test_a_pane_is_the_largest_usual_one_within_the_spacing(spacing, pane):
    """A clock that runs a tenth of a per mille fast does not halve it."""
    assert choose_pane([T0 + i * spacing for i in range(6)], SHIPPED) == pane


def test_the_median_gap_decides():
    """Two long gaps among five, order of arrival and repeated samples do not change a pane."""
    times = [0, 60, 120, 3_000, 3_060, 9_000]
    assert choose_pane([T0 + t * SECOND for t in reversed(times)], SHIPPED) == MINUTE
    assert choose_pane([T0, T0, T0 + MINUTE, T0 + MINUTE], SHIPPED) == MINUTE
    assert choose_pane([T0, T0], SHIPPED) == choose_pane([T0], SHIPPED) == 10 * SECOND


def test_panes_keep_within_what_is_configured():
    narrow = shipped(metric_pane_min=MINUTE, metric_pane_max=HOUR)
    assert choose_pane([T0 + i * SECOND for i in range(6)], narrow) == MINUTE
    assert choose_pane([T0 + i * DAY for i in range(6)], narrow) == HOUR


def test_samples_are_kept_back_until_the_sixth():
    """Then all come at once, in the pane that was chosen; afterwards each as it arrives."""
    source = bed()
    given = every(MINUTE, 8)
    for value in given[:5]:
        assert source.push(value).partials == []
    seen = source.push(given[5])
    assert seen.counts(GROUP) == {(60 * i, False): 1 for i in range(6)}
    assert {p.size for p in seen.partials} == {MINUTE}
    assert source.push(*given[6:]).counts(GROUP) == {(360, False): 1, (420, False): 1}
    assert source.state["samples"] == {}


def test_a_metric_that_is_called_like_a_measure_of_plays_is_a_dead_letter():
    """Their series would have one key: ``demo|plays{country=DE}`` is taken."""
    source = bed()
    seen = source.push(metric(name="plays"), metric(name="error_rate"), *every(MINUTE, 6))
    assert [(d.reason, d.offset) for d in seen.letters] == [
        ("reserved_name", 0), ("reserved_name", 1)
    ]  # fmt: skip
    assert "use another name" in seen.letters[0].detail
    assert source.count("events_rejected", "reserved_name") == 2
    assert {p.group for p in seen.partials} == {GROUP}


def test_a_pane_is_kept_for_ever():
    source = bed()
    source.push(*every(MINUTE, 6))
    seen = source.push(*every(SECOND, 30, start=T0 + HOUR))
    assert {p.size for p in seen.partials} == {MINUTE}


def test_a_partial_holds_the_values_of_its_pane():
    source = bed()
    (last,) = [p for p in source.push(*every(5 * SECOND, 6)).partials if p.pane == T0 + 20_000]
    assert last.parts == {
        "s:value": parts.moments([4.0, 5.0]),
        "q:value": parts.buckets([4.0, 5.0]),
    }
    assert (last.tenant, last.stream, last.group, last.size) == ("demo", "live", GROUP, 10_000)


def test_only_a_series_last_partial_of_a_batch_carries_its_watermark():
    """Sent with an earlier one, it would close the panes of those that follow."""
    source = bed()
    seen = source.push(*every(MINUTE, 6), *every(MINUTE, 6, name="mem"))
    of = {}
    for p in seen.partials:
        of.setdefault(p.group, []).append(p)
    assert len(of) == 2
    for mine in of.values():
        assert [p.pane for p in mine] == [T0 + i * MINUTE for i in range(6)]
        assert [p.watermark for p in mine] == [None] * 5 + [T0 + 5 * MINUTE - 10_000]


def test_series_do_not_make_each_other_late():
    """An import brings one series after the other, each from its beginning."""
    source = bed()
    assert not [k for k in source.push(*every(MINUTE, 60)).sums if k[3]]
    seen = source.push(*every(MINUTE, 60, name="mem"))
    assert not [k for k in seen.sums if k[3]]
    assert seen.late == []


def test_a_sample_behind_its_own_series_is_late():
    source = bed()
    source.push(*every(MINUTE, 10))
    edge = T0 + 9 * MINUTE - 10 * SECOND
    seen = source.push(metric(edge), metric(edge - 1))
    assert seen.counts(GROUP) == {(480, False): 1, (480, True): 1}
    assert seen.partials[-1].watermark == edge
    assert [p.noticed for p in seen.partials] == [None, T0 + 9 * MINUTE]


def test_a_sample_beyond_grace_goes_to_late():
    source = bed()
    source.push(*every(HOUR, 100))
    original = metric(T0, 7.0)
    seen = source.push(original)
    (late,) = seen.late
    assert (late.tenant, late.at, late.topic, late.value) == ("demo", T0, "metrics", original)
    assert seen.partials == []
    assert source.count("events_folded", "beyond_grace") == 1


def test_numbers_of_any_size_cross():
    """Sums are exact, whatever the magnitudes."""
    values = [1e300, -1e300, 1e-9, 5e-324, 0.0, -0.1]
    seen = bed().push(*(metric(T0 + i, v) for i, v in enumerate(values)))
    (partial,) = seen.partials
    assert partial.parts["s:value"] == parts.moments(values)


# -- kept back, and let go --------------------------------------------------------------------------


def test_a_lone_sample_is_released_by_silence():
    """After ``patience``, in the smallest pane: nothing is known of its spacing."""
    source = bed(patience=MINUTE)
    source.push(metric(source.now), at_end=True)
    assert source.wait(MINUTE - 1).partials == []
    (partial,) = source.wait(1).partials
    assert (partial.size, partial.late) == (10 * SECOND, False)
    assert source.wait(HOUR).partials == []


def test_several_samples_are_released_after_three_of_their_gaps():
    source = bed()
    for i in range(3):
        source.now = T0 + i * 5 * MINUTE
        assert source.push(metric(source.now), at_end=True).partials == []
    assert source.wait(15 * MINUTE - 1).partials == []
    assert {p.size for p in source.wait(1).partials} == {5 * MINUTE}


def test_nothing_is_released_before_the_partitions_end_is_reached():
    """What is still to be read may bring the other samples."""
    source = bed()
    source.push(metric())
    source.now += DAY
    assert source.push().partials == []
    assert len(source.push(at_end=True).partials) == 1


def test_a_busy_tenant_does_not_hold_back_a_lone_sample():
    source = bed(patience=MINUTE)
    source.push(metric(name="lone"))
    released = []
    for i in range(70):
        source.now += SECOND
        seen = source.push(metric(source.now), at_end=True)
        released += [i for p in seen.partials if "lone" in p.group]
    assert released == [59]


def test_the_end_of_a_stream_releases_what_it_kept_back():
    """Before it is told that the stream ended; then nothing is kept for it."""
    source = bed()
    given = [record(v, stream="nab") for v in every(5 * MINUTE, 3)]
    lone = record(metric(name="mem"), stream="nab")
    seen = source.push(*given, lone, metric(), end_of("nab", key=b"demo"))
    assert seen.counts(GROUP, "nab") == {(i * 300, False): 1 for i in range(3)}
    assert seen.counts("demo|metric:mem{host=h}", "nab") == {(0, False): 1}
    assert isinstance(seen.flow[-2], Partial)
    assert seen.watermarks[-1] == ("nab", END_OF_TIME, False, True)
    kept = [k for store in ("samples", "series", "clocks") for k in source.state[store]]
    assert kept == [GROUP, "demo\x1flive"]


def test_a_kept_back_sample_is_late_but_never_beyond_grace():
    """Its record is gone, so it cannot go to ``late``; it is flagged, and the windows decide."""
    seen = bed().push(*(metric(T0 - i * 2 * DAY) for i in range(6)))
    assert seen.late == []
    assert sorted(late for *_, late in seen.sums) == [False] + [True] * 5


# -- silence ----------------------------------------------------------------------------------------


def test_what_silence_says_holds_for_every_series():
    """Idle at now - idle - usual delay - lateness; a sample behind it is late, also of another series."""
    source = bed()
    source.now = T0 + 5 * MINUTE
    source.push(*every(MINUTE, 6), *every(MINUTE, 6, start=T0 - HOUR, name="mem"))
    told = source.wait(10 * MINUTE).watermarks
    (at,) = [at for stream, at, idle, _ in told if stream == "live" and idle]
    pushed = source.state["clocks"]["demo\x1flive"].pushed
    assert at == (pushed - 10_000) // 10_000 * 10_000
    before = metric(pushed - 10_001, name="mem")
    seen = source.push(before, metric(pushed - 10_000))
    assert {p.group[:15]: p.late for p in seen.partials} == {
        "demo|metric:mem": True, "demo|metric:cpu": False,
    }  # fmt: skip
    assert {p.watermark for p in seen.partials} == {pushed - 10_000}


def test_an_import_moves_no_series_by_silence():
    """Idle is told, with no time: each of its series stands where its samples left it."""
    source = bed()
    source.push(*(record(v, stream="nab") for v in every(MINUTE, 6)))
    told = [w for _ in range(30) for w in source.wait(MINUTE).watermarks if w[0] == "nab"]
    assert told == [("nab", 0, True, False)]


def test_slow_series_are_not_overtaken_by_the_silence_between_fast_ones():
    """Ten-second samples on time, minute samples that always come 50 s late: none is late."""
    source = bed()
    seen = []
    for second in range(0, 1800, 1):
        source.now = T0 + second * SECOND
        values = []
        if second % 10 == 0:
            values.append(metric(source.now))
        if second % 60 == 50:
            values.append(metric(source.now - 50 * SECOND, name="slow"))
        seen += source.push(*values, at_end=True).partials
    assert len(seen) > 180
    assert not [p for p in seen if p.late]


# -- bounds, routes, stores -------------------------------------------------------------------------


def test_series_beyond_the_limit_are_left_out():
    source = Bed(config(shipped(limits=Limits(10, 2))), source="metrics")
    given = [v for name in ("a", "b", "c") for v in every(MINUTE, 6, name=name)]
    seen = source.push(*given, *every(MINUTE, 6, tenant_id="other", name="c"))
    groups = {p.group for p in seen.partials}
    assert groups == {f"demo|metric:{n}{{host=h}}" for n in "ab"} | {"other|metric:c{host=h}"}
    assert source.count("series_refused", "over_limit") == 6
    assert source.push(metric(T0 + HOUR, name="a")).partials


def test_a_sample_belongs_to_its_series_partition():
    key = "demo|cpu{host=h}"
    owner = routes.partition_of(key, 4)
    source = Bed(config(forwarding=True), source="metrics", partition=(owner + 1) % 4)
    (moved,) = source.push(metric()).forwarded
    assert (moved.topic, moved.key.decode(), moved.partition) == ("metrics", key, owner)


def test_the_order_of_tags_does_not_matter():
    source = bed()
    one = every(MINUTE, 3, tags={"a": "1", "b": "2"})
    two = every(MINUTE, 3, start=T0 + 3 * MINUTE, tags={"b": "2", "a": "1"})
    assert len(source.push(*one, *two).partials) == 6


def test_duplicate_samples_are_dropped():
    source = bed()
    source.push(*every(MINUTE, 6))
    again = metric(T0 + HOUR, event_id="e")
    assert source.push(again, again).counts(GROUP) == {(3600, False): 1}


def test_samples_and_series_cross_the_changelog():
    for spec in samples.STORES:
        with pytest.raises(StateError):
            spec.decode(b"123")
    of_series, waiting = samples.STORES
    series = samples.Series(86_400_000, T0)
    assert of_series.decode(of_series.encode(series)) == series
    kept = Waiting(T0, (Sample(T0, 1.5), Sample(T0 - 1, -0.0)))
    assert waiting.decode(waiting.encode(kept)) == kept
    assert len(of_series.encode(series)) == 12
