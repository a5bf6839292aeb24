"""Panes: what a partial must be, how panes pack, how shelves let go of them, how windows roll."""

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.errors import StateError
from models.records import Partial, Watermark, decode_flow, to_msgpack
from tables.histograms import Histogram
from tables.panes import PANES, Archive, Pane, together
from tables.partials import BadPartialError, TypedPartial, decode_partial
from tables.parts import Evaluator, buckets, merge_parts
from tables.rolling import Roll
from tables.shelves import ARCHIVE_BLOCKS, INFINITY, BlockShelf, Shelf
from tables.sketches import quantiles
from tests.support.window_timeline import ALL, metric_parts, play_parts, series_config

PANE = 10_000


# -- partials ---------------------------------------------------------------------------------------


def partial(**changes):
    fields = {
        "tenant": "acme", "stream": "live", "group": ALL, "partition": 0, "pane": 0, "size": PANE,
        "late": False, "parts": play_parts("a", "b"), "watermark": None,
    }  # fmt: skip
    return to_msgpack(Partial(**(fields | changes)))


def test_a_sound_partial_is_decoded_as_by_the_plain_decoder():
    plain, typed = decode_flow(partial()), decode_partial(partial(), PANE)
    assert msgspec.structs.asdict(typed) == msgspec.structs.asdict(plain)
    assert TypedPartial.__struct_fields__ == Partial.__struct_fields__
    mark = Watermark("acme", "live", "plays", 1, 7)
    assert decode_partial(to_msgpack(mark), PANE) == mark


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"\xc1", "malformed"),
        (b"\x91" * 100_000, "."),
        (to_msgpack(["x", 1]), "Invalid value"),
        (to_msgpack(["p", "acme", "live"]), "length"),
        (partial(size=0), "multiple"),
        (partial(pane=7), "multiple"),
        (partial(pane=PANE << 50), "multiple"),
        (partial(size=20_000), "panes of plays"),
        (to_msgpack(Watermark("acme", "live", "elsewhere", 0, 0)), "elsewhere"),
    ],
)
def test_what_is_no_partial_is_refused_with_the_reason(data, why):
    with pytest.raises(BadPartialError, match=why):
        decode_partial(data, PANE)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("x:y", 1),
        ("number", 1),
        ("", 1),
        ("n", "1"),
        ("n", -1),
        ("n", {1: 1}),
        ("s:x", [1, 2]),
        ("s:x", 1),
        ("s:x", [1, "one", 1, 0, 1.0, 1.0]),
        ("s:x", [1, 1, 1, -5000, 1.0, 1.0]),
        ("s:x", [1, 1, 1, 0, 2.0, 1.0]),
        ("s:x", [1, 1, 1, 0, float("nan"), 1.0]),
        ("s:x", [1.5, 1, 1, 0, 1.0, 1.0]),
        ("q:x", {"a": 1}),
        ("q:x", [1]),
        ("q:x", {1: 0}),
        ("d:x", {4096: 1}),
        ("d:x", {-1: 1}),
        ("d:x", {1: 0}),
        ("d:x", {1: 54}),
        ("d:x", {1: 1.5}),
    ],
)
def test_parts_that_cannot_be_merged_are_refused(name, part):
    with pytest.raises(BadPartialError):
        decode_partial(partial(parts={"n:failed": 1, name: part}), PANE)


# -- packing ----------------------------------------------------------------------------------------

listeners = st.lists(st.integers(0, 400), max_size=60)


@given(listeners, listeners)
def test_packing_changes_nothing(a, b):
    pane = Pane()
    for some in (a, b):
        pane.add(play_parts(*some))
    plain = merge_parts(merge_parts({}, play_parts(*a)), play_parts(*b))
    assert pane.parts == plain
    pane.pack()
    assert pane.parts == plain
    restored = PANES.decode(PANES.encode(pane))
    assert restored.parts == plain
    restored.add(play_parts(*a))
    assert restored.parts == merge_parts(plain, play_parts(*a))


def test_panes_together_leave_each_as_it_was():
    a, b = Pane(play_parts("a")), Pane(play_parts("b"))
    assert together([None, a, None, b]).parts == play_parts("a", "b")
    assert a.parts == play_parts("a")
    assert together([None, None]) is None


def test_an_archive_gives_its_blocks_back():
    blocks = {at: Pane(play_parts(at)) for at in (10, 20)}
    archive = PANES.decode(PANES.encode(Archive.of(blocks)))
    assert {at: p.parts for at, p in archive.blocks().items()} == {
        at: p.parts for at, p in blocks.items()
    }


def test_foreign_state_is_an_error():
    with pytest.raises(StateError):
        PANES.decode(b"x")
    with pytest.raises(StateError):
        PANES.decode(b"a123").blocks()


# -- shelves ----------------------------------------------------------------------------------------


@given(st.sets(st.integers(0, 200)), st.lists(st.integers(-5, 220), max_size=8))
def test_a_shelf_is_its_part_of_the_store(starts, limits):
    store = {}
    shelf = Shelf(store, "g|", 10)
    for at in starts:
        shelf.put(at * 10, at)
    for limit in limits:
        shelf.expire(limit * 10)
        starts = {at for at in starts if at > limit}
        assert set(shelf.items) == {at * 10 for at in starts}
        assert store == {f"g|{at * 10}": at for at in starts}
        assert shelf.oldest <= min((at * 10 for at in starts), default=INFINITY)
        assert bool(shelf) == bool(starts)
    assert shelf.times(0, 500) == sorted(at * 10 for at in starts if at < 50)


@given(
    st.sets(st.integers(0, 300)),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=6),
)
@example(starts={60, 61}, moves=[(120, 61)])
def test_a_block_shelf_finds_blocks_wherever_they_lie(starts, moves):
    store = {}
    shelf = BlockShelf(store, "g|", 10)
    for at in starts:
        shelf.put(at * 10, Pane({"n": at + 1}))
    expired = -1
    for tidied, limit in moves:
        shelf.tidy(tidied * 10)
        shelf.expire(limit * 10)
        expired = max(expired, limit)
        for at in starts:
            pane = shelf.get(at * 10)
            if at > expired:
                assert pane is not None
                assert pane.parts == {"n": at + 1}
            elif pane is not None:  # the rest of an archive that is still needed
                assert shelf.archives
        assert len(store) == len(shelf.items) + len(shelf.archives)
        assert all(at > expired * 10 for at in shelf.items)
        # An archive stays until its whole span is over, whether its end has blocks or not.
        assert all(whole + shelf.span - shelf.step > expired * 10 for whole in shelf.archives)
    shelf.clear()
    assert not store
    assert not shelf


def test_old_blocks_lie_together():
    store = {}
    shelf = BlockShelf(store, "g|", 10)
    for at in range(0, 1300, 10):
        shelf.put(at, Pane(play_parts(at)))
    shelf.tidy(1250)
    assert len(store) == 130 - 2 * ARCHIVE_BLOCKS + 2


# -- rolling ----------------------------------------------------------------------------------------

EVALUATE = Evaluator(series_config().measures)


def plainly(blocks, start, end):
    parts = {}
    for at in sorted(blocks):
        if start <= at < end:
            merge_parts(parts, blocks[at].parts)
    return parts


@settings(max_examples=60)
@given(
    st.dictionaries(st.integers(0, 60), listeners, max_size=40),
    st.lists(st.integers(0, 70), min_size=1, max_size=25),
    st.sampled_from([1, 3, 12, 20]),
    st.booleans(),
)
def test_a_roll_holds_what_its_blocks_hold(contents, ends, size, packed):
    blocks = {at: Pane(play_parts(*some)) for at, some in contents.items()}
    expected = [EVALUATE(plainly(blocks, end - size, end)) for end in ends]
    if packed:
        for pane in blocks.values():
            pane.pack()
    roll = Roll(size, 1)
    assert [EVALUATE(roll.advance(end, blocks.get)) for end in ends] == expected


near = st.lists(st.one_of(st.just(0.0), st.floats(1.0, 500.0)), max_size=8)
anything = st.lists(st.floats(-1e9, 1e9), max_size=8)


@given(st.lists(st.one_of(near, near, anything), max_size=10), st.integers(0, 10))
def test_a_histogram_holds_what_was_added_and_not_taken_out(blocks, taken):
    histogram, qs = Histogram(), [0.0, 0.25, 0.5, 0.95, 1.0]
    for values in blocks:
        histogram.add(buckets(values))
    for values in blocks[:taken]:
        histogram.subtract(buckets(values))
    left = buckets([v for values in blocks[taken:] for v in values])
    assert histogram.buckets() == left
    assert histogram.quantiles(qs) == quantiles(left, qs)


def test_a_roll_counts_very_many_listeners():
    blocks = {at: Pane(play_parts(*range(at * 700, at * 700 + 900))) for at in range(40)}
    roll = Roll(14, 1)
    for end in (14, 15, 16, 29, 30, 31, 38, 3, 45, 50, 52):
        found = EVALUATE(roll.advance(end, blocks.get))
        assert found == EVALUATE(plainly(blocks, end - 14, end))


def test_a_roll_over_fractions_is_exact():
    values = [1e9, 1e-9, 0.1, -3.0, 1e300, 7.25, 1e-300, 2.0]
    blocks = {at: Pane(metric_parts(v, v / 3)) for at, v in enumerate(values)}
    roll = Roll(3, 1)
    for end in range(3, 12):
        parts = roll.advance(end, blocks.get)
        plain = plainly(blocks, end - 3, end)
        if plain:
            assert parts["s:value"][0] == plain["s:value"][0]
            assert parts["s:value"][4:] == plain["s:value"][4:]
            scale = 1 << (plain["s:value"][3] - parts["s:value"][3])
            assert int(parts["s:value"][1]) == int(plain["s:value"][1]) * scale
            assert int(parts["s:value"][2]) == int(plain["s:value"][2]) * scale**2
