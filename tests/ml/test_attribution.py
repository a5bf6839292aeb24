"""Shares add up, orders do not matter, and planted causes are named."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.attribution import (
    Judged,
    Slice,
    change,
    explain,
    outside_band,
    shares,
    stands_out,
)

PLATFORMS = {"ios": 40.0, "android": 35.0, "web": 15.0, "tv": 10.0}
COUNTRIES = {"US": 50.0, "GB": 20.0, "FR": 15.0, "DE": 10.0, "SE": 5.0}
KINDS = ("count", "ratio", "mean")

sizes = st.floats(0, 1e6, allow_nan=False).map(lambda x: round(x, 3))
counted = st.tuples(sizes, sizes)
quotients = st.tuples(sizes, sizes, sizes.map(lambda x: x + 1), sizes.map(lambda x: x + 1))


def named(n: int) -> tuple[tuple[str, str], ...]:
    return (("platform", f"p{n}"),)


def summed(slices: list[Slice]) -> Slice:
    return Slice((), *(math.fsum(s[i] for s in slices) for i in range(1, 5)))


@given(st.lists(counted, min_size=1, max_size=12))
def test_the_shares_of_a_split_add_up_to_one(rows):
    slices = [Slice(named(n), *row) for n, row in enumerate(rows)]
    total = summed(slices)
    moved = change(total, "count")
    if abs(moved) > 1e-3:
        got = math.fsum(s.share for s in shares(total, slices, "count"))
        assert got == pytest.approx(1.0, abs=1e-6 * max(1, total.expected / abs(moved)))


@given(st.lists(quotients, min_size=1, max_size=12))
def test_so_do_those_of_a_quotient(rows):
    slices = [Slice(named(n), *row) for n, row in enumerate(rows)]
    total = summed(slices)
    moved = change(total, "ratio")
    if abs(moved) > 1e-3:
        got = math.fsum(s.share for s in shares(total, slices, "ratio"))
        scale = (total.actual + total.expected) / min(total.weight, total.expected_weight)
        assert got == pytest.approx(1.0, abs=1e-6 * max(1, scale / abs(moved)))


@given(st.lists(quotients, min_size=2, max_size=8), st.sampled_from(KINDS), st.randoms())
def test_the_order_of_slices_and_dimensions_changes_nothing(rows, kind, rng):
    one = [Slice(named(n), *row) for n, row in enumerate(rows)]
    two = [Slice((("country", f"c{n}"),), *row) for n, row in enumerate(reversed(rows))]
    total = summed(one)
    first = explain(total, {("platform",): one, ("country",): two}, kind)
    rng.shuffle(one)
    rng.shuffle(two)
    assert first == explain(total, {("country",): two, ("platform",): one}, kind)


@given(st.lists(counted, min_size=1, max_size=8), sizes)
def test_a_slice_that_did_not_change_has_no_share_and_changes_no_other(rows, size):
    slices = [Slice(named(n), *row) for n, row in enumerate(rows)]
    still = Slice((("platform", "still"),), size, size)
    before = {s.tags: s.share for s in shares(summed(slices), slices, "count")}
    more = [*slices, still]
    after = {s.tags: s.share for s in shares(summed(more), more, "count")}
    if before and abs(change(summed(slices), "count")) > 1e-3:
        assert after.pop(still.tags) == 0.0
        assert after == pytest.approx(before, rel=1e-3)


def grid(effect, kind: str = "count", noise: float = 0.0):
    """Every dimension of a service of platforms × countries; ``effect(platform, country)`` is the
    factor of a count, or what is added to a rate of 2 %.
    """
    rng = random.Random(4)
    cells = []
    for (p, wp), (c, wc) in itertools.product(PLATFORMS.items(), COUNTRIES.items()):
        size = wp * wc
        tags = (("country", c), ("platform", p))
        shaken = 1 + noise * rng.uniform(-1, 1) / math.sqrt(size / 100)
        if kind == "count":
            cells.append(Slice(tags, size * effect(p, c) * shaken, size))
        else:
            rate = (0.02 + effect(p, c)) * shaken
            cells.append(Slice(tags, size * rate, size * 0.02, size, size))
    dimensions = {("country", "platform"): cells}
    for tag in ("country", "platform"):
        parts: dict[tuple[tuple[str, str], ...], list[Slice]] = {}
        for cell in cells:
            parts.setdefault(((tag, dict(cell.tags)[tag]),), []).append(cell)
        dimensions[tag,] = [summed(own)._replace(tags=tags) for tags, own in parts.items()]
    return summed(cells), dimensions


def causes(effect, kind: str = "count", noise: float = 0.0) -> set[str]:
    found = explain(*grid(effect, kind, noise), kind)
    return {" × ".join(v for _, v in s.tags) for s in found[0].slices} if found else set()


def falls(*slices: str, to: float = 0.1):
    def effect(p: str, c: str) -> float:
        return to if {p, c, f"{c} × {p}"} & set(slices) else 1.0

    return effect


def breaks(*slices: str, by: float = 0.3):
    def effect(p: str, c: str) -> float:
        return by if {p, c, f"{c} × {p}"} & set(slices) else 0.0

    return effect


EVERY_SLICE = [
    *PLATFORMS,
    *COUNTRIES,
    *(f"{c} × {p}" for p, c in itertools.product(PLATFORMS, COUNTRIES)),
]


@pytest.mark.parametrize("cause", EVERY_SLICE)
def test_one_planted_slice_is_named(cause):
    assert causes(falls(cause)) == {cause}
    assert causes(falls(cause, to=2.5)) == {cause}
    assert causes(breaks(cause), "ratio") == {cause}
    assert causes(breaks(cause), "mean") == {cause}


@pytest.mark.parametrize("cause", ["ios", "US", "FR × ios", "US × android", "DE × web"])
def test_noise_does_not_hide_it(cause):
    assert causes(falls(cause), noise=0.02) == {cause}


def test_the_crossing_beats_its_sides():
    total, dimensions = grid(falls("FR × ios"))
    found = explain(total, dimensions, "count")
    assert [e.dimension for e in found] == [("country", "platform"), ("country",), ("platform",)]
    assert found[0].share == pytest.approx(1.0)
    assert found[0].surprise > found[1].surprise


def test_two_slices_are_named_together():
    assert causes(falls("FR × ios", "DE × android")) == {"FR × ios", "DE × android"}
    assert causes(falls("FR", "DE")) == {"FR", "DE"}
    assert causes(breaks("FR × ios", "GB × web"), "ratio") == {"FR × ios", "GB × web"}


def test_where_nothing_moves_nothing_is_named():
    assert causes(lambda *_: 1.0) == causes(lambda *_: 0.0, "ratio") == set()


@pytest.mark.parametrize("to", [0.0, 0.5, 0.9, 3.0])
def test_where_everything_moves_nothing_is_named(to):
    assert causes(lambda *_: to) == set()
    assert causes(lambda *_: to, noise=0.01) == set()
    assert causes(lambda *_: to, "ratio") == set()


def test_a_change_of_the_mix_is_found_too():
    """Where smart TVs fail five times as often and there are suddenly more of them."""
    rate = {"ios": 0.01, "android": 0.01, "web": 0.01, "tv": 0.1}
    plays = {p: w * 10 for p, w in PLATFORMS.items()}
    now = plays | {"tv": 400.0}
    slices = [
        Slice((("platform", p),), rate[p] * now[p], rate[p] * plays[p], now[p], plays[p])
        for p in rate
    ]
    (found,) = explain(summed(slices), {("platform",): slices}, "ratio")
    assert [s.tags for s in found.slices] == [(("platform", "tv"),)]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_explains_where_nothing_is(kind):
    empty = Slice((), 0.0, 0.0)
    assert explain(empty, {("platform",): [Slice(named(1), 0.0, 0.0)]}, kind) == []
    assert explain(empty, {}, kind) == []
    assert shares(empty, [], kind) == []


def test_everything_can_not_stand_out_from_itself():
    assert not stands_out(1.0, 1.0)
    assert stands_out(1.0, 0.9)
    assert not stands_out(0.7, 0.6)


def test_what_does_not_add_up_is_listed_by_weight():
    slices = [
        Judged(named(1), 900.0, 300.0, 500.0, 20.0),
        Judged(named(2), 400.0, 300.0, 500.0, 900.0),
        Judged(named(3), 100.0, 300.0, 500.0, 80.0),
    ]
    assert [s.tags for s in outside_band(slices)] == [named(3), named(1)]
