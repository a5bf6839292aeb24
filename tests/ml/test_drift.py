"""Drift: found where a series stays elsewhere, not where it only jumps; explicit state."""

import math
import random

import msgspec
import pytest

from ml.drift import BLOCK, ERRORS, INPUTS, KINDS, DriftWatch, Monitor
from models.errors import ConfigurationError, StateError

MINUTE = 60_000
DAY = 1440
every_kind = pytest.mark.parametrize("kind", KINDS)


def watched(kind, days, value, surprise=lambda _i, _draw: 0.0, *, cut=None):
    """The drifts of so many days of minutes; at minute `cut` the state is dumped and read back."""
    watch, draw, found = DriftWatch(kind), random.Random(8), []
    for i in range(days * DAY):
        if i == cut:
            watch = DriftWatch.load(msgspec.msgpack.decode(msgspec.msgpack.encode(watch.dump())))
        found += watch.learn(value(i, draw), surprise(i, draw), i * MINUTE)
    return found, watch


def daily(i, draw):
    return 800 + 300 * math.sin(2 * math.pi * i / DAY) + draw.gauss(0, 20)


@every_kind
def test_a_daily_curve_and_outliers_are_no_drift(kind):
    found, watch = watched(kind, 10, lambda i, d: daily(i, d) * (10 if d.random() < 0.003 else 1))
    assert found == []
    assert len(msgspec.msgpack.encode(watch.dump())) < 5_000


@every_kind
def test_a_level_that_stays_lower_is_found_within_hours_with_its_means_at_those_hours(kind):
    shift = 9 * DAY
    found, _ = watched(kind, 10, lambda i, d: daily(i, d) * (0.8 if i >= shift else 1))
    first = found[0]
    assert first.of == INPUTS
    assert shift * MINUTE <= first.at <= (shift + 300) * MINUTE
    assert first.since == pytest.approx(shift * MINUTE, abs=BLOCK * MINUTE)
    assert first.after == pytest.approx(0.8 * first.before, rel=0.03)


@every_kind
def test_surprise_that_stays_is_found_on_errors(kind):
    def surprise(i, draw):
        return draw.random() * (0.2 if i < 6 * DAY else 4)

    found, _ = watched(kind, 7, daily, surprise)
    (first,) = [f for f in found if f.of == ERRORS][:1]
    assert first.since == pytest.approx(6 * DAY * MINUTE, abs=2 * BLOCK * MINUTE)
    assert first.before < 0.2
    assert first.after > 1


@every_kind
@pytest.mark.parametrize("cut", [0, 7, 3 * DAY + 11, 9 * DAY + 35])
def test_the_same_answers_after_a_round_trip_anywhere(kind, cut):
    def value(i, draw):
        return daily(i, draw) * (0.8 if i >= 9 * DAY else 1)

    expected, one = watched(kind, 10, value)
    found, other = watched(kind, 10, value, cut=cut)
    assert found == expected
    assert expected
    assert one.dump() == other.dump()


@every_kind
def test_nothing_is_said_on_the_first_day(kind):
    found, _ = watched(kind, 1, lambda i, _d: 1000.0 if i > DAY // 2 else 1.0)
    assert found == []


def test_a_damaged_window_is_refused_before_river_sees_it():
    """River's Rust panics on it, with an exception that is no Exception."""
    monitor = Monitor("adwin")
    for i in range(80 * BLOCK):
        monitor.learn(float(i % 5), 0.0, i)
    state = monitor.dump()
    version, check, held = state[-1]
    with pytest.raises(ValueError, match="not what was dumped"):
        Monitor.load([*state[:-1], [version, check, held[:-3]]])


def test_a_test_of_another_river_begins_anew_with_its_scale():
    monitor = Monitor("adwin")
    for i in range(80 * BLOCK):
        monitor.learn(float(i % 5), 0.0, i)
    state = monitor.dump()
    state[-1] = ["0.0.1", b"what it had"]
    again = Monitor.load(state)
    assert again.dump()[:-1] == state[:-1]
    assert again.dump()[-1] == Monitor("adwin").dump()[-1]


@every_kind
def test_damaged_states_are_refused(kind):
    _, watch = watched(kind, 3, daily)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(watch.dump()))
    for damaged in (
        [], state[:-1], [*state[:3], state[3][:-1], state[4]], ["guess", *state[1:]],
        [state[0], math.inf, *state[2:]],
    ):  # fmt: skip
        with pytest.raises(StateError, match="drift"):
            DriftWatch.load(damaged)
    with pytest.raises(ConfigurationError, match="adwin, page_hinkley"):
        DriftWatch("guess")
