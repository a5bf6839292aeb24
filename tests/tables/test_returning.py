"""Who comes back in a later hour leaves a record of what was known, the same however plays are cut."""

import random
from itertools import pairwise

import pytest

from models.segments import decode_habits
from tables.profiles import KEPT_MS, read
from tables.returning import ENOUGH
from tests.tables.ingest_bed import DAY, HOUR, MINUTE, T0, Bed, play, record

FAR = T0 + 100 * DAY


def plays_of(listener, times, **changes):
    changes = {"listener_id": listener, **changes}
    return [record(play(at=at, **changes), timestamp=FAR) for at in times]


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
