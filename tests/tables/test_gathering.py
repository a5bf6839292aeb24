"""Samples that are judged together: what is told of them, and where the watermarks stand between."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models.config import JointSpec
from models.evidence import Sampled, decode_testimony
from models.records import LIVE, Watermark
from tables import sketches
from tables.clocks import END_OF_TIME
from tests.tables.ingest_bed import (
    DAY,
    MINUTE,
    SECOND,
    T0,
    Bed,
    config,
    end_of,
    metric,
    record,
    shipped,
)

JOINT = JointSpec("health", ("cpu", "memory"), MINUTE, ("host",), MINUTE)
GROUP = "demo|metric:joint:health{host=h}"


def bed(*joints: JointSpec) -> Bed:
    return Bed(config(shipped(joints=joints or (JOINT,))), source="metrics")


def told(seen) -> list[Sampled | Watermark]:
    """What went to evidence, in order."""
    return [decode_testimony(o.value) for o in seen.forwarded if o.topic == "evidence"]


def short(seen) -> list:
    """(metric, seconds of its window's end, samples, sum), or the seconds of a watermark."""
    found = []
    for it in told(seen):
        if isinstance(it, Watermark):
            found.append((it.at - T0) // SECOND)
        else:
            found += [
                (
                    r.metric,
                    (r.end - T0) // SECOND,
                    r.moments[0],
                    sketches.mean(r.moments) * r.moments[0],
                )
                for r in it.readings
            ]
    return found


def at(seconds: float, value: float = 1.0, name: str = "cpu", **changes) -> bytes:
    return metric(T0 + int(seconds * SECOND), value, name=name, **changes)


def test_readings_stand_between_the_watermarks_where_the_samples_stood():
    seen = bed().push(
        at(5, 1),
        at(6, 2),
        at(7, 4, "memory"),
        at(25, 8),
        at(3, 16),
        at(69, 32),
        at(61, 64),
        at(1, 1),
    )
    assert short(seen) == [
        -10,  # the partition is there
        ("cpu", 60, 3, 11.0), ("memory", 60, 1, 4.0), 10,
        ("cpu", 60, 1, 16.0), ("cpu", 120, 1, 32.0), 50,
        ("cpu", 60, 1, 1.0), ("cpu", 120, 1, 64.0),
    ]  # fmt: skip
    first = next(it for it in told(seen) if isinstance(it, Sampled))
    assert (first.tenant, first.stream, first.partition) == ("demo", LIVE, 0)
    assert {r.group for r in first.readings} == {GROUP}


def test_metrics_of_no_joint_move_the_clock_and_are_not_told():
    assert short(bed().push(at(5, name="disk"), at(85, name="disk"))) == [-10, 70]


def test_without_a_table_nothing_is_told():
    alone = Bed(config(), source="metrics")
    seen = [alone.push(at(5), at(85)), alone.wait(DAY), alone.push(end_of("replay"))]
    assert [told(s) for s in seen] == [[], [], []]


def test_things_are_told_apart_by_the_tags_of_their_table_or_by_all():
    core = {"host": "h", "core": "1"}
    every = JointSpec("all", ("cpu", "memory"), MINUTE, None, MINUTE)
    seen = bed(JOINT, every).push(at(5, tags=core), at(6, name="memory"))
    groups = {
        (r.group, r.metric) for it in told(seen) if isinstance(it, Sampled) for r in it.readings
    }
    assert groups == {
        (GROUP, "cpu"), (GROUP, "memory"),
        ("demo|metric:joint:all{core=1,host=h}", "cpu"), ("demo|metric:joint:all{host=h}", "memory"),
    }  # fmt: skip


def test_a_sample_without_the_tag_is_counted_and_left_out():
    it = bed()
    assert short(it.push(at(5, tags={"dc": "par"}))) == [-10]
    assert it.count("joint", "untagged") == 1


def test_repeated_samples_count_once():
    it = bed()
    assert ("cpu", 60, 1, 1.0) in short(it.push(at(5, event_id="e"), at(5, event_id="e")))
    assert short(it.push(at(5, event_id="e"))) == []


def test_silence_and_ends_are_told_to_where_metrics_meet():
    it = bed()
    it.now = T0 + 10 * SECOND
    it.push(at(5), record(at(5), stream="replay"))
    idle = [m for m in told(it.wait(MINUTE)) if m.tenant and m.idle]
    assert {(m.tenant, m.stream) for m in idle} >= {("demo", LIVE), ("demo", "replay")}
    live = next(m for m in idle if (m.tenant, m.stream) == ("demo", LIVE))
    assert live.at > T0 + 30 * SECOND, "silence moves the live stream on"
    (woken, *_) = told(it.push(at(300)))
    assert (woken.stream, woken.idle, woken.at >= live.at) == (LIVE, False, True)
    ended = [m for m in told(it.push(end_of("replay"))) if m.tenant == "demo"]
    assert [(m.stream, m.at, m.ended) for m in ended] == [("replay", END_OF_TIME, True)]


def test_a_tenant_that_has_no_metrics_here_is_not_waited_for():
    it = bed()
    it.push(at(5), at_end=True)
    marks = told(it.wait(10 * SECOND))
    assert ("other", True) in {(m.tenant, m.idle) for m in marks}


def test_a_partition_as_a_whole_is_told_to_every_partition_of_evidence():
    it = bed()
    it.push(at_end=True)
    seen = it.wait(MINUTE)
    whole = [o for o in seen.forwarded if o.topic == "evidence" and not o.key]
    assert [o.partition for o in whole] == list(range(it.config.partials))


samples = st.lists(
    st.tuples(st.integers(0, 300), st.sampled_from(["cpu", "memory", "disk"]), st.integers(-9, 9)),
    max_size=30,
)


@given(given=samples, cuts=st.sets(st.integers(0, 30)))
def test_what_is_on_time_does_not_depend_on_the_cuts(given, cuts):
    """Sums between two watermarks are the same, however the records were cut into batches."""

    def between(pieces: list[list[bytes]]) -> list:
        it, found = bed(), []
        sums: dict[tuple, float] = {}
        for piece in pieces:
            for word in short(it.push(*piece)):
                if isinstance(word, tuple):
                    place = (len(found), *word[:2])
                    n, total = sums.get(place, (0, 0.0))
                    sums[place] = (n + word[2], total + word[3])
                else:
                    found.append(word)
        return [found, sums]

    values = [at(s, float(v), name) for s, name, v in given]
    edges = [0, *sorted(c for c in cuts if c < len(values)), len(values)]
    cut = [values[a:b] for a, b in pairwise(edges)]
    assert between(cut) == between([values])
