"""Who comes back in a later hour leaves a record of what was known, the same however plays are cut."""

import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.decoding import decode_plays
from models.segments import decode_habits
from tables.profiles import KEPT_MS, read, update
from tables.returning import ENOUGH, habits
from tests.tables.ingest_bed import DAY, HOUR, MINUTE, T0, Bed, play, record

FAR = T0 + 100 * DAY


def plays_of(listener, times, **changes):
    changes = {"listener_id": listener, **changes}
    return [record(play(at=at, **changes), timestamp=FAR) for at in times]


def event(at):
    return decode_plays([play(at=at)])[0]


def habits_of(records, cuts=()):
    """The habits that these records bring, cut into batches before each of the given places."""
    bed = Bed(now=FAR)
    outputs = []
    for begin, end in pairwise((0, *cuts, len(records))):
        outputs += bed.push(*records[begin:end]).forwarded
    assert {out.topic for out in outputs} <= {"features"}
    assert {out.key for out in outputs} <= {b"demo"}
    return [decode_habits(out.value) for out in outputs]


def hour_of_plays(listener, start, count=ENOUGH):
    return plays_of(listener, range(start, start + count * MINUTE, MINUTE))


def test_a_return_in_a_later_hour_tells_what_was_known_before():
    back = T0 + 3 * HOUR + 7 * MINUTE
    (habits,) = habits_of([*hour_of_plays("u1", T0), *plays_of("u1", [back, back + MINUTE])])

    assert (habits.tenant, habits.listener, habits.at) == ("demo", "u1", back)
    assert read(habits.profile).plays == ENOUGH
    assert read(habits.profile).last_seen == T0 + (ENOUGH - 1) * MINUTE


@pytest.mark.parametrize(
    "records",
    [
        hour_of_plays("u1", T0),
        [*hour_of_plays("u1", T0, ENOUGH - 1), *plays_of("u1", [T0 + HOUR])],
        [*hour_of_plays("u1", T0), *plays_of("u1", [T0 - HOUR])],
        [*hour_of_plays("u1", T0), *plays_of("u2", [T0 + HOUR])],
        [*hour_of_plays("u1", T0), *plays_of("u1", [T0 + KEPT_MS + DAY])],
    ],
    ids=["the same hour", "too little known", "a late play", "somebody else", "long forgotten"],
)
def test_nothing_else_tells(records):
    assert habits_of(records) == []


def test_other_streams_than_the_live_one_tell_nothing():
    times = [*range(T0, T0 + ENOUGH * MINUTE, MINUTE), T0 + 2 * HOUR]
    records = [
        record(play(at=at), timestamp=FAR, stream="import") for at in times
    ]  # fmt: skip

    assert habits_of(records) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_same_habits_come_however_plays_are_cut(seed):
    """Hours that begin anywhere in a batch, several in one batch, late plays among them."""
    draw, at, records = random.Random(seed), T0, []
    for _ in range(400):
        at += draw.choice([0, 1, 3, 9]) * MINUTE
        late = draw.choice([0, 0, 0, 5, 90]) * MINUTE
        listener = f"u{draw.randrange(4)}"
        records += plays_of(listener, [at - late], track_id=f"t{draw.randrange(30)}")
    whole = habits_of(records)
    cuts = sorted(draw.sample(range(1, len(records)), 40))

    def by_time(found):
        return sorted(found, key=lambda h: (h.at, h.listener))

    assert len(whole) > 20
    assert by_time(habits_of(records, cuts)) == by_time(whole)
    assert by_time(habits_of(records, range(1, len(records)))) == by_time(whole)
    hours = [(h.listener, h.at // HOUR) for h in whole]
    assert len(hours) == len(set(hours))


visits = st.tuples(st.integers(0, 2), st.integers(-1, 5), st.integers(0, 59))
"""A listener, the hour of their play, and its minute."""


def one_by_one(keys, known, whose, rows):
    """(listener, time, profile before) of each return, from the profile before every single play."""
    profile, found = list(known), []
    for owner, row in zip(whose, rows, strict=True):
        before = profile[owner] and read(profile[owner])
        profile[owner], packed = update(profile[owner], [row]), profile[owner]
        at, top = row[0].started_at, row[3]
        if (
            before
            and before.plays >= ENOUGH
            and at // HOUR > before.last_seen // HOUR
            and before.last_seen >= top - KEPT_MS
        ):
            found.append((keys[owner].partition(":")[2], at, packed))
    return found


@given(
    st.lists(st.integers(0, ENOUGH + 2) | st.just(ENOUGH - 1), min_size=3, max_size=3),
    st.lists(visits, min_size=1, max_size=8),
    st.sampled_from([0, KEPT_MS - HOUR]),
)
@example([ENOUGH - 1, 0, 0], [(0, 0, 0), (0, 1, 0)], 0)
@example([0, 0, 0], [(0, 0, 0)] * ENOUGH + [(0, 1, 0)], 0)
def test_habits_of_a_batch_are_those_of_asking_play_by_play(counts, visits, pause):
    """Those of whom too little is known even after the batch are passed over, and nobody else."""
    known = [
        update(None, [(event(T0 + i), 0, i % 2 > 0, T0 + i) for i in range(n)]) if n else None
        for n in counts
    ]
    rows, whose, top = [], [], T0
    for listener, hour, minute in visits:
        at = T0 + pause + hour * HOUR + minute * MINUTE
        top = max(top, at)
        rows.append((event(at), 0, True, top))
        whose.append(listener)
    keys = [f"demo:u{i}" for i in range(3)]

    found = [decode_habits(out.value) for out in habits("demo", keys, known, whose, rows)]

    assert [(h.listener, h.at, h.profile) for h in found] == one_by_one(keys, known, whose, rows)
