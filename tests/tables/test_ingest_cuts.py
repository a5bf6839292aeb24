"""Batches and restarts do not show: any cut of the same records, and any crash, gives the same.

Records are drawn with everything that may depend on order: duplicates, late ones, several tenants and
streams, end markers, bad ones, limits on cardinality, days that end, silence.
"""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import Limits
from tests.tables.ingest_bed import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    Bed,
    Seen,
    config,
    end_of,
    metric,
    play,
    record,
    restored,
    shipped,
)

TIGHT = shipped(
    limits=Limits(5, 3), groups=((), ("country",), ("country", "platform"), ("source",))
)


def random_records(seed, count, make):
    """Records of both kinds' common shape, on a time that jumps now and then by hours or days."""
    rng = random.Random(seed)
    at, out = T0, []
    for i in range(count):
        at += rng.choice([0, 500, 3_000, 12_000, 60_000] + [20 * HOUR] * (rng.random() < 0.02))
        when = at - rng.choice([0, 0, 0, 9_000, 11_000, 40_000, 30 * HOUR])
        stream = rng.choice(["live", "live", "live", "import"])
        timestamp = T0 + i * 5_000 + rng.choice([0, 0, -90_000])
        event_id = rng.choice([None, f"e{rng.randrange(count // 2)}"])
        match rng.randrange(40):
            case 0:
                out.append(end_of("import", key=rng.choice([None, b"demo"])))
            case 1:
                out.append(record(rng.choice([b"{", None, play(tenant_id="x")])))
            case _:
                value = make(
                    rng, when, tenant_id=rng.choice(["demo", "demo", "other"]), event_id=event_id
                )
                out.append(record(value, timestamp=max(timestamp, when), stream=stream))
    return out


def some_play(rng, at, **changes):
    return play(
        at,
        listener_id=f"u{rng.randrange(4)}",
        track_id=f"t{rng.randrange(2)}",
        country=rng.choice(["DE", "FR", "US", "BR"]),
        platform=rng.choice(["ios", "web"]),
        source=rng.choice(["radio", "album"]),
        ms_played=rng.choice([20_000, 40_000, 100_000]),
        **changes,
    )


def some_metric(rng, at, **changes):
    name = rng.choice(["cpu", "cpu", "mem", "io", "net"])
    return metric(at, rng.choice([1.5, -2.25, 1e9, 0.1]), name=name, tags={}, **changes)


KINDS = {"plays": some_play, "metrics": some_metric}


def new_bed(source):
    return Bed(config(TIGHT, patience=20 * SECOND), source=source, now=T0 + 400 * DAY)


def fold(bed, records, cuts, restart=()):
    """Fold records cut before these offsets, through the codecs before those of ``restart``."""
    found = Seen([], [], [], [])
    edges = [0, *cuts, len(records)]
    numbered = [r._replace(offset=i) for i, r in enumerate(records)]
    for begin, end in pairwise(edges):
        if begin in restart:
            bed.state = restored(bed.state)
        seen = bed.fold(numbered[begin:end])
        for whole, part in zip(found, seen, strict=True):
            whole.extend(part)
    return found


def published(seen):
    """All that must not depend on cuts: sums, and the dead letters and late events themselves."""
    return seen.placed, seen.letters, sorted(seen.late, key=lambda late: late.offset)


def final(state):
    """The state but for what describes batches: how segments of ids were cut, when clocks were told."""
    ids = sorted(
        (name.partition(":")[0], data[i : i + 8])
        for name, data in state["dedupe"].items()
        for i in range(0, len(data), 8)
    )
    tops = {name: (clock.top, clock.pushed) for name, clock in state["clocks"].items()}
    rest = ("groups", "eligibility", "profiles", "series", "samples")
    return ids, tops, {name: state[name] for name in rest}


@pytest.mark.parametrize("source", KINDS)
@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_any_cut_gives_the_same(source, seed, data):
    records = random_records(seed, 150, KINDS[source])
    whole, pieces = new_bed(source), new_bed(source)
    expected = fold(whole, records, [])
    cuts = sorted(data.draw(st.sets(st.integers(1, 149), max_size=20)))
    restart = data.draw(st.sets(st.sampled_from(cuts))) if cuts else set()
    found = fold(pieces, records, cuts, restart)
    assert published(found) == published(expected)
    assert final(pieces.state) == final(whole.state)
    assert pieces.config.counters == whole.config.counters


@pytest.mark.parametrize("source", KINDS)
def test_one_record_at_a_time_gives_the_same(source):
    """The finest cut, with a restart before every record."""
    records = random_records(5, 300, KINDS[source])
    expected = fold(new_bed(source), records, [])
    assert len(expected.sums) > 100
    assert expected.late
    assert expected.letters
    every = range(1, 300)
    assert published(fold(new_bed(source), records, every, every)) == published(expected)


def play_out(source, records, stops):
    """A run with batches, ticks and silences; restarts before the steps of ``stops``. All outputs."""
    bed = Bed(config(TIGHT, patience=20 * SECOND), source=source, now=T0)
    outputs = []
    for i in range(0, len(records), 5):
        if i in stops:
            bed.state = restored(bed.state)
        batch = [r._replace(offset=i + j) for j, r in enumerate(records[i : i + 5])]
        bed.now = max(bed.now + SECOND, *(r.timestamp for r in batch))
        outputs.append(bed.fold(batch, at_end=i % 3 == 0))
        for _ in range(i % 4):
            if i in stops:
                bed.state = restored(bed.state)
            outputs.append(bed.wait(4 * SECOND if i % 8 else 7 * MINUTE))
    return outputs


@pytest.mark.parametrize("source", KINDS)
def test_a_crash_at_any_place_changes_no_output(source):
    """Watermarks, idleness and releases included: the stores hold all that is needed."""
    records = random_records(11, 120, KINDS[source])
    expected = play_out(source, records, ())
    told = [w for seen in expected for w in seen.watermarks]
    assert {True, False} == {idle for _, _, idle, _ in told}
    for k in range(0, 120, 5):
        assert play_out(source, records, {k}) == expected
    assert play_out(source, records, range(0, 120, 5)) == expected


@pytest.mark.parametrize("source", KINDS)
@settings(max_examples=40)
@given(seed=st.integers(0, 2**32))
def test_what_a_watermark_says_is_so(source, seed):
    """After a watermark of a clock, no partial of it that is on time is older; nor do any go back.

    And no late one was noticed before it: what waits in the window step for an edge is complete there.
    """
    rng = random.Random(seed)
    records = random_records(seed, 100, KINDS[source])
    marks = {}
    for seen in play_out(source, records, {rng.randrange(100)}):
        for flow in seen.flow:
            name = (flow.tenant, flow.stream)
            if hasattr(flow, "pane"):
                of_series = (*name, flow.group)
                if not flow.late and source == "plays":
                    assert flow.pane >= marks.get(name, 0)
                if flow.late and source == "plays":
                    assert flow.noticed > marks.get(name, 0)
                if not flow.late and source == "metrics":
                    assert flow.pane + flow.size > marks.get(of_series, 0)
                if flow.watermark is not None:
                    assert flow.watermark >= marks.get(of_series, 0)
                    marks[of_series] = flow.watermark
            elif flow.ended:
                marks = {k: v for k, v in marks.items() if k[:2] != name}
            else:
                assert flow.at >= marks.get(name, 0) or not flow.tenant
                marks[name] = flow.at
