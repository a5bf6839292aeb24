"""The state store: any interleaving of updates, flushes, crashes and restores is a plain dict."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store import META_KEY, KeyedStore, PartitionState, changelog_keys, last_values
from models.errors import StateError
from models.flow import StoreSpec

NUMBERS = StoreSpec("numbers", msgspec.msgpack.encode, msgspec.msgpack.Decoder(int).decode)
KEYS = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.one_of(
    st.tuples(st.just("set"), KEYS, st.integers(0, 99)),
    st.tuples(st.just("delete"), KEYS, st.none()),
    st.tuples(st.just("pop"), KEYS, st.none()),
    st.tuples(st.just("setdefault"), KEYS, st.integers(0, 99)),
    st.tuples(st.just("update"), KEYS, st.integers(0, 99)),
    st.tuples(st.just("clear"), st.none(), st.none()),
    st.tuples(st.just("flush"), st.none(), st.none()),
    st.tuples(st.just("crash"), st.none(), st.none()),
)


def do(target, verb, key, value):
    if verb == "set":
        target[key] = value
    elif verb == "delete":
        if key in target:
            del target[key]
    elif verb == "pop":
        target.pop(key, None)
    elif verb == "setdefault":
        target.setdefault(key, value)
    elif verb == "update":
        target.update({key: value})
    elif verb == "clear":
        target.clear()


@given(st.lists(STEPS, max_size=60))
def test_state_after_crashes_equals_a_plain_dict_fed_up_to_the_last_flush(steps):
    """A crash falls back to the last flush, exactly; a flush loses nothing and leaks nothing."""
    log: list[tuple[bytes, bytes | None]] = []
    state = PartitionState([NUMBERS])
    live: dict[str, int] = {}
    flushed: dict[str, int] = {}
    flushed_offset = 0
    for offset, (verb, key, value) in enumerate(steps, 1):
        if verb == "flush":
            log += state.freeze(offset, 0)
            flushed, flushed_offset = dict(live), offset
        elif verb == "crash":
            state = PartitionState.restored([NUMBERS], last_values(log))
            live = dict(flushed)
            assert (state.meta.next_offset if state.meta else 0) == flushed_offset
        else:
            do(state.stores["numbers"], verb, key, value)
            do(live, verb, key, value)
        assert state.stores["numbers"] == live


LISTS = StoreSpec("lists", msgspec.msgpack.encode, msgspec.msgpack.Decoder(list[int]).decode)
TRIES = st.one_of(
    st.tuples(st.just("append"), KEYS, st.integers(0, 99)),
    st.tuples(st.just("get and change"), KEYS, st.integers(0, 99)),
    st.tuples(st.just("change all"), st.none(), st.integers(0, 99)),
    st.tuples(st.just("pop"), KEYS, st.none()),
    st.tuples(st.just("clear"), st.none(), st.none()),
    st.tuples(st.just("flush"), st.none(), st.none()),
    st.tuples(st.just("fail"), st.none(), st.none()),
)


def attempt(target, verb, key, value):
    """What folds do to values they hold: look them up, change them in place, assign them again."""
    if verb == "append":
        values = target.setdefault(key, [])
        values.append(value)
        target[key] = values
    elif verb == "get and change":
        if (values := target.get(key)) is not None:
            values.append(value)
            target[key] = values
    elif verb == "change all":
        for name, values in list(target.items()):
            values.append(value)
            target[name] = values
    else:
        do(target, verb, key, value)


@given(st.lists(TRIES, max_size=60), st.integers(1, 5))
def test_what_a_failed_try_did_to_live_values_is_undone(steps, flushes):
    """If a change in place could escape the undo log, state would keep what a failed fold did."""
    state = PartitionState([LISTS])
    state.guard(flushes)
    live: dict[str, list[int]] = {}
    flushed: dict[str, list[int]] = {}
    for offset, (verb, key, value) in enumerate(steps, 1):
        if verb == "flush":
            state.freeze(offset, 0)
            state.flushed()
            flushed = {k: list(v) for k, v in live.items()}
        elif verb == "fail":
            if state.is_guarded:
                state.roll_back()
                live = {k: list(v) for k, v in flushed.items()}
                assert not state.is_dirty
        else:
            attempt(state.stores["lists"], verb, key, value)
            attempt(live, verb, key, value)
        assert dict.__eq__(state.stores["lists"], live)
    assert state.is_guarded == (sum(verb == "flush" for verb, _, _ in steps) < flushes)


def test_a_flush_writes_each_changed_key_once_and_the_offset_last():
    state = PartitionState([NUMBERS])
    store = state.stores["numbers"]
    for n in range(100):
        store["hot"] = n
    store["gone"] = 1
    del store["gone"]
    changes = state.freeze(7, 0)
    assert changes[-1][0] == META_KEY
    assert sorted(k for k, _ in changes[:-1]) == [b"numbers\x00gone", b"numbers\x00hot"]
    assert dict(changes)[b"numbers\x00gone"] is None
    assert not state.is_dirty
    assert [k for k, _ in state.freeze(8, 0)] == [META_KEY]


def test_restored_state_is_not_dirty():
    state = PartitionState.restored([NUMBERS], {b"numbers\x00a": b"\x01"})
    assert state.stores["numbers"] == {"a": 1}
    assert not state.is_dirty


def test_undecodable_state_names_its_store_and_key():
    with pytest.raises(StateError, match=r"store 'numbers' key 'a'"):
        PartitionState.restored([NUMBERS], {b"numbers\x00a": b"\xc1"})


def test_popitem_is_remembered():
    store = KeyedStore({"a": 1})
    store.popitem()
    assert store.dirty == {"a"}


TEXTS = st.text(st.sampled_from("ab\n\x00é"), max_size=4)


@given(st.lists(TEXTS, unique=True, max_size=6))
def test_changelog_keys_are_encoded_together_as_one_by_one(keys):
    """If a key that holds the end of a line were cut there, its value would go to another key."""
    assert changelog_keys("lists", keys) == [f"lists\x00{key}".encode() for key in keys]


def test_what_was_assigned_together_is_not_the_callers_dict():
    """If the store kept it, what a fold does to its own dict afterwards would reach the changelog."""
    state = PartitionState([NUMBERS])
    changed = {"a": 1}
    state.stores["numbers"].update(changed)
    changed["b"] = 2
    state.stores["numbers"]["c"] = 3
    assert state.stores["numbers"] == {"a": 1, "c": 3}
    assert [key for key, _ in state.freeze(0, 0)] == [b"numbers\x00a", b"numbers\x00c", META_KEY]
    assert changed == {"a": 1, "b": 2}


STORES = st.sampled_from(["numbers", "numb", "gone", "numbersx"])


@given(st.lists(st.tuples(STORES, TEXTS, st.integers(0, 9)), max_size=20), st.integers(0, 20))
def test_stores_are_restored_in_whatever_order_their_keys_come(records, place):
    """If a key were taken for the store before it, it would be lost there and its own would not have it."""
    entries = {f"{name}\x00{key}".encode(): msgspec.msgpack.encode(n) for name, key, n in records}
    items = list(entries.items())
    items.insert(place, (META_KEY, msgspec.msgpack.encode([7, 0, 1])))
    numb = StoreSpec("numb", NUMBERS.encode, NUMBERS.decode)
    state = PartitionState.restored([NUMBERS, numb], dict([(b"stray", b""), *items]))
    wanted = {"numbers": {}, "numb": {}, "timers": {}}
    for name, key, n in records:
        wanted.get(name, {})[key] = n
    assert state.stores == wanted
    assert state.meta.next_offset == 7
