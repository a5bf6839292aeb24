"""What every member of a forecaster, and the forecaster itself, must do whatever the data."""

import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import time_series

from bench.nab.contenders import deep_size
from ml.forecasting import DEFAULT, Forecaster, create, forecast, members, names
from ml.forecasting.protocol import Seasons, seasons_of
from models.errors import ConfigurationError, StateError

HOUR = 3_600_000
CHEAP = [name for name in names() if name != "forest"]
every_member = pytest.mark.parametrize("name", names())
every_kind = pytest.mark.parametrize(
    "kind", [{}, {"pace": 4}, {"members": DEFAULT}], ids=["blocks", "pace 4", "members"]
)


def curve(n: int, seed: int = 1) -> list[float]:
    """Hours of a daily curve with noise."""
    draw = random.Random(seed)
    return [100 + 40 * math.sin(2 * math.pi * i / 24) + draw.gauss(0, 5) for i in range(n)]


def member(name: str, values: list[float] = ()):
    (made,) = members.create((name,), seasons_of(HOUR)).values()
    for place, value in enumerate(values):
        made.learn(value, place * HOUR)
    return made


def taught(values, kind=None, horizon=12, step=HOUR) -> Forecaster:
    made = create(step, horizon, **(kind or {}))
    for place, value in enumerate(values):
        made.learn(value, place * step)
    return made


def said(it: Forecaster):
    return it.forecast(levels=(0.5, 0.9, 0.99))


# -- members ---------------------------------------------------------------------------------------


@every_member
def test_a_member_that_has_learned_nothing_says_nothing(name):
    assert member(name).forecast(5) is None


@every_member
def test_a_member_forecasts_finite_values_once_it_can(name):
    path = member(name, curve(400)).forecast(48)

    assert len(path) == 48
    assert np.isfinite(path).all()


@every_member
def test_forecasting_changes_nothing(name):
    it = member(name, curve(200))
    before = it.dump()
    first = list(it.forecast(30))

    assert first == list(it.forecast(30))
    assert it.dump() == before


@pytest.mark.parametrize("name", CHEAP)
@settings(max_examples=10, deadline=None)
@given(cut=st.integers(0, 200))
def test_a_member_continues_identically_from_every_cut(name, cut):
    values = curve(220)
    whole, resumed = member(name, values), member(name)
    first = member(name, values[:cut])
    resumed.restore(first.dump())
    for place in range(cut, 220):
        resumed.learn(values[place], place * HOUR)

    assert resumed.dump() == whole.dump()
    assert list(resumed.forecast(30)) == list(whole.forecast(30))


@pytest.mark.parametrize("cut", [3, 512, 513])
def test_a_forest_is_rebuilt_into_the_same_one(cut):
    values = curve(560)
    whole, resumed = member("forest", values), member("forest")
    resumed.restore(member("forest", values[:cut]).dump())
    for place in range(cut, 560):
        resumed.learn(values[place], place * HOUR)

    assert list(resumed.forecast(24)) == list(whole.forecast(24))


@pytest.mark.parametrize("name", CHEAP)
def test_a_members_memory_is_bounded(name):
    young, old = member(name, curve(400)), member(name, curve(2_000))

    assert deep_size(old) <= deep_size(young) * 1.1


@every_member
@pytest.mark.parametrize("state", [[], [1], ["x", b"123", {}], [b"\0" * 7, b"", b"", b""]])
def test_damaged_state_of_a_member_is_refused(name, state):
    with pytest.raises((ValueError, TypeError, LookupError)):
        member(name).restore(state)


def test_the_folded_recursion_is_rivers_own():
    """Standardising and regression are one line per lag; River's way through dicts gives the same."""
    it = member("snarimax", curve(300))
    river = it._model.forecast(24)
    mine = [(value - it._mean) / it._spread for value in it.forecast(24)]

    assert isinstance(it._model, time_series.SNARIMAX)
    assert mine == pytest.approx(river)


def test_an_additive_season_begins_with_differences():
    """River's own beginning takes quotients, which a large level would turn into nought."""
    values = [1e6 + 10 * (place % 24) for place in range(48)]

    assert member("holt_winters", values).forecast(24) == pytest.approx(values[:24], abs=1)


# -- the forecaster ---------------------------------------------------------------------------------


@every_kind
def test_it_says_that_it_is_learning(kind):
    empty = create(HOUR, 12, **kind)
    assert empty.forecast().learning
    assert empty.crossing(1.0, "up", HOUR).probability is None
    young = said(taught(curve(8), kind))
    assert (young.learning, young.points, young.intervals) == (True, [], {})
    assert not said(taught(curve(100), kind)).learning


@every_kind
def test_intervals_hold_their_points_and_each_other(kind):
    it = said(taught(curve(300), kind))
    for narrow, wide in ((0.5, 0.9), (0.9, 0.99)):
        for low, high in zip(it.intervals[narrow], it.intervals[wide], strict=True):
            assert len(low) == len(high) == len(it.points)
        assert all(np.array(it.intervals[wide][0]) <= np.array(it.intervals[narrow][0]))
        assert all(np.array(it.intervals[wide][1]) >= np.array(it.intervals[narrow][1]))
    assert all(np.array(it.intervals[0.5][0]) <= np.array(it.points))
    assert it.at == 300 * HOUR


@every_kind
@settings(max_examples=10, deadline=None)
@given(cut=st.integers(0, 300), gap=st.integers(0, 40))
def test_it_continues_identically_from_every_cut(kind, cut, gap):
    values = curve(300)
    at = [place + (gap if place > 100 else 0) for place in range(300)]
    whole, first = create(HOUR, 12, **kind), create(HOUR, 12, **kind)
    for place in range(300):
        whole.learn(values[place], at[place] * HOUR)
    for place in range(cut):
        first.learn(values[place], at[place] * HOUR)
    resumed = Forecaster.load(first.dump())
    for place in range(cut, 300):
        resumed.learn(values[place], at[place] * HOUR)

    assert said(resumed) == said(whole)
    assert resumed.dump() == whole.dump()


@every_kind
def test_its_memory_is_bounded(kind):
    young, old = taught(curve(900), kind), taught(curve(2_500), kind)

    assert deep_size(old) <= deep_size(young) * 1.05
    assert len(old.dump()) <= 1.05 * len(young.dump())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@every_kind
def test_what_is_not_finite_is_refused_and_poisons_nothing(value, kind):
    it = taught(curve(100), kind)
    before = it.dump()
    with pytest.raises(ValueError, match="finite"):
        it.learn(value, 100 * HOUR)

    assert it.dump() == before


@pytest.mark.parametrize(
    "values",
    [
        [7.0] * 200,
        [0.0] * 200,
        [1e300 * value for value in curve(200)],
        [1e-300 * value for value in curve(200)],
        [-value for value in curve(200)],
        [float(place % 50 * 1000) for place in range(200)],  # a counter that is reset
        [0.0] * 150 + [1e12] + [0.0] * 49,
    ],
    ids=["constant", "nought", "huge", "tiny", "negative", "counter", "one wild value"],
)
@every_kind
def test_any_finite_series_has_finite_forecasts(values, kind):
    it = said(taught(values, kind))

    assert not it.learning
    for ends in (it.points, *(end for pair in it.intervals.values() for end in pair)):
        assert np.isfinite(ends).all()


@every_kind
def test_a_constant_series_is_forecast_exactly(kind):
    it = said(taught([7.0] * 200, kind))

    assert it.points == pytest.approx([7.0] * 12)
    assert it.intervals[0.9] == (pytest.approx([7.0] * 12), pytest.approx([7.0] * 12))


@every_kind
def test_missing_slots_are_filled_and_older_values_skipped(kind):
    values = curve(300)
    it = taught(values[:200], kind)
    for place in range(205, 300):
        it.learn(values[place], place * HOUR)
    it.learn(1e9, 250 * HOUR)
    it.learn(1e9, 299 * HOUR + 1)

    assert (it.filled, it.skipped, it.restarts) == (5, 2, 0)
    assert it.forecast().points == pytest.approx(taught(values, kind).forecast().points, abs=8)


@every_kind
def test_a_long_gap_begins_anew(kind):
    it = taught(curve(300), kind)
    it.learn(100.0, 10_000 * HOUR)

    assert (it.restarts, it.filled) == (1, 0)
    assert it.forecast().learning


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda it: it.forecast(13), "13 slots"),
        (lambda it: it.forecast(0), "0 slots"),
        (lambda it: it.forecast(levels=(0.42,)), r"0.42 is not followed; possible are 0.5, 0.8"),
        (lambda it: it.crossing(1.0, "sideways", HOUR), "sideways"),
        (lambda it: it.crossing(1.0, "up", HOUR - 1), "0 slots"),
        (lambda it: create(0), "0 ms"),
        (lambda it: create(HOUR, 0), "horizon of 0"),
        (lambda it: create(HOUR, pace=3), "pace of 3 blocks is none; there are 1, 2, 4"),
        (lambda it: create(HOUR, members=DEFAULT, pace=2), "no pace"),
        (lambda it: create(HOUR, members=("oracle",)), "no member 'oracle'"),
        (lambda it: create(1_001, members=("day",)), "none fits"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ConfigurationError, match=message):
        call(taught(curve(100)))


@pytest.mark.parametrize("state", [b"", b"\x90", b"junk", b"\x91\xa1x"])
def test_damaged_state_is_refused(state):
    with pytest.raises(StateError, match="damaged"):
        Forecaster.load(state)


@every_kind
def test_state_cut_short_is_refused(kind):
    whole = taught(curve(100), kind).dump()
    with pytest.raises(StateError):
        Forecaster.load(whole[:-9])


def test_seasons_follow_from_the_spacing():
    assert seasons_of(300_000) == Seasons(288, 2016)
    assert seasons_of(HOUR) == Seasons(24, 168)
    assert seasons_of(24 * HOUR) == Seasons(None, 7)
    assert seasons_of(10_000) == Seasons(None, None)
    assert seasons_of(30 * 24 * HOUR) == Seasons(12, None)


@every_kind
def test_state_of_another_version_is_refused(kind):
    _, *rest = msgspec.msgpack.decode(taught(curve(100), kind).dump())
    with pytest.raises(StateError, match="forecaster/3"):
        Forecaster.load(msgspec.msgpack.encode(["forecaster/3", *rest]))


def test_the_function_is_the_forecaster():
    values = curve(200)
    holes = [None if place % 50 == 49 else value for place, value in enumerate(values)]

    assert forecast(values, 12, (0.9,), step_ms=HOUR) == taught(values).forecast(12, (0.9,))
    assert not forecast([math.nan, *holes], 12, step_ms=HOUR).learning
