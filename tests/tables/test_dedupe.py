"""Duplicates: what was seen within ten minutes of Kafka time is seen again, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import StateError
from tables import dedupe
from tables.dedupe import MINUTE, find_fresh, identity

T = 1_760_000_000_000 // MINUTE * MINUTE
HOUR = 60 * MINUTE


def new_state():
    return {spec.name: {} for spec in dedupe.STORES}


def restored(state):
    return {
        spec.name: {k: spec.decode(spec.encode(v)) for k, v in state[spec.name].items()}
        for spec in dedupe.STORES
    }


def fold(state, events, offset=0):
    """Events are (hash or None, record timestamp)."""
    return find_fresh([h for h, _ in events], [t for _, t in events], offset, state)


def test_the_second_of_two_is_a_duplicate_within_a_batch_and_across():
    state = new_state()
    assert fold(state, [(1, T), (2, T), (1, T)]) == [True, True, False]
    assert fold(state, [(2, T + 1), (3, T + 1)], 3) == [False, True]


def test_events_without_an_id_are_never_duplicates():
    state = new_state()
    assert fold(state, [(None, T), (None, T), (5, T), (None, T)]) == [True] * 4
    assert fold(state, [(None, T), (5, T), (5, T)], 4) == [True, False, False]


@pytest.mark.parametrize(("later", "is_fresh"), [(10 * MINUTE, False), (11 * MINUTE, True)])
def test_ids_are_forgotten_after_ten_minutes_of_kafka_time(later, is_fresh):
    """Surely remembered for ten minutes, surely forgotten after eleven."""
    assert fold(new_state(), [(1, T), (1, T + later)])[1] is is_fresh
    state = new_state()
    fold(state, [(1, T)])
    assert fold(state, [(1, T + later)], 1) == [is_fresh]


def test_time_does_not_run_backwards():
    """A record with an older timestamp belongs to the minute that runs."""
    state = new_state()
    fold(state, [(1, T + 5 * MINUTE), (2, T)])
    assert fold(state, [(2, T + 14 * MINUTE)], 2) == [False]


def test_a_minute_is_deleted_as_a_whole():
    """The state is bounded by what eleven minutes bring; expired segments are gone from the store."""
    state = new_state()
    for i in range(100):
        fold(state, [(i, T + i * 20_000)], i)
    names = [name for name in state["dedupe"] if name != "clock"]
    assert len(names) == 31
    assert {int(name.split(":")[0]) for name in names} == {T // MINUTE + m for m in range(23, 34)}


def test_a_segment_holds_only_what_its_batch_brought():
    """A flush writes eight bytes an event, however full the minute is."""
    state = new_state()
    fold(state, [(i, T) for i in range(1000)])
    before = set(state["dedupe"])
    fold(state, [(i, T) for i in range(990, 1010)], 1000)
    (name,) = set(state["dedupe"]) - before
    assert len(state["dedupe"][name]) == 10 * 8


def test_no_segment_outgrows_a_kafka_record():
    state = new_state()
    assert all(fold(state, [(i, T) for i in range(150_000)]))
    assert max(map(len, state["dedupe"].values())) == 8 * dedupe.MAX_SEGMENT
    assert not any(fold(restored(state), [(i, T) for i in range(0, 150_000, 1000)], 150_000))


def test_the_index_is_not_written_with_every_batch():
    """It is derived; what it costs the changelog is one empty value in a partition's life."""

    class Writes(dict):
        def __setitem__(self, key, value):
            count.append(key)
            super().__setitem__(key, value)

    count = []
    state = {"dedupe": {}, "dedupe_index": Writes()}
    for i in range(5):
        fold(state, [(i, T + i)], i)
    assert count == [""]
    assert dedupe.STORES[1].encode(state["dedupe_index"][""]) == b""


def test_an_undone_fold_leaves_no_memory():
    """If the engine takes back what a failed fold wrote, its ids are new again."""
    state = new_state()
    fold(state, [(1, T)])
    kept = dict(state["dedupe"])
    fold(state, [(2, T)], 1)
    state["dedupe"] = kept
    assert fold(state, [(2, T), (1, T)], 1) == [True, False]


def test_an_undone_fold_does_not_forget():
    """The same for one that only let time pass."""
    state = new_state()
    fold(state, [(1, T)])
    kept = dict(state["dedupe"])
    fold(state, [(None, T + HOUR)], 1)
    state["dedupe"] = kept
    assert fold(state, [(1, T)], 1) == [False]


def test_foreign_bytes_are_refused():
    with pytest.raises(StateError, match="64-bit"):
        dedupe.STORES[0].decode(b"123")


def test_the_identity_of_an_event_is_its_tenants_streams_and_ids():
    """Stable across processes (a literal), and different if any of the three differs."""
    assert identity("demo", "live", "e1") == 0xD3E8E027F2BB1C96
    assert (
        len(
            {
                identity(*key)
                for key in [("a", "b", "c"), ("a", "bc", ""), ("ab", "", "c"), ("a", "", "bc")]
            }
        )
        == 4
    )


events = st.lists(
    st.tuples(st.none() | st.integers(0, 8), st.integers(0, 30 * MINUTE)), min_size=1, max_size=60
)


@given(events, st.data())
def test_cuts_and_restarts_change_nothing(events, data):
    """Whatever the batches, and with a restart between any two, the same events are duplicates."""
    timed = [(h, T + t) for h, t in events]
    whole = fold(new_state(), timed)
    state, cut, begin = new_state(), [], 0
    while begin < len(timed):
        end = data.draw(st.integers(begin + 1, len(timed)))
        cut += fold(state, timed[begin:end], begin)
        if data.draw(st.booleans()):
            state = restored(state)
        begin = end
    assert cut == whole


@given(events)
def test_it_is_what_a_list_of_everything_would_say(events):
    """Against the plain definition: an id is known if it was new at most ten minutes ago."""
    clock, known, expected = 0, {}, []
    for h, t in events:
        clock = max(clock, (T + t) // MINUTE)
        fresh = h is None or clock - known.get(h, -99) > 10
        if fresh and h is not None:
            known[h] = clock
        expected.append(fresh)
    assert fold(new_state(), [(h, T + t) for h, t in events]) == expected


one, few = st.just("a"), st.sampled_from(["a", "b", "ab"])
ids = st.text(st.characters(codec="utf-8"), max_size=4)
rows = st.one_of(
    st.lists(st.tuples(tenant, stream, event_id), max_size=6)
    for tenant in (one, few)
    for stream in (one, few)
    for event_id in (ids, st.none() | ids)
)


@given(rows)
def test_the_identities_of_many_are_those_of_each(rows):
    """Batches of one stream, whose ids are hashed and unpacked together, and all others."""
    tenants, streams, ids = map(list, zip(*rows, strict=True)) if rows else ([], [], [])
    wanted = [None if row[2] is None else identity(*row) for row in rows]
    assert dedupe.identities(tenants, streams, ids) == wanted


@given(
    st.lists(st.integers(0, 3 * MINUTE), max_size=8) | st.lists(st.integers(0, MINUTE), max_size=8),
    st.integers(-1, 3),
)
def test_minutes_are_the_running_maximum_of_what_came_so_far(since, start):
    """Batches of one minute, whose records are not asked one by one, and all others."""
    first = T // MINUTE
    minutes = [(T + t) // MINUTE for t in since]
    wanted = [max(first + start, *minutes[: i + 1]) for i in range(len(minutes))]
    assert list(dedupe._minutes([T + t for t in since], first + start)) == wanted
