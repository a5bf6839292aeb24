"""Coverage on data that drift, choosing among members, and crossings of limits."""

import math
import random

import numpy as np
import pytest

from ml.forecasting import DEFAULT, create, forecast
from ml.forecasting.calibration import Calibration

HOUR = 3_600_000
CHEAP = ("last", "slow_level", "trend", "day")
every_kind = pytest.mark.parametrize(
    "kind", [{}, {"pace": 4}, {"members": CHEAP}], ids=["blocks", "pace 4", "members"]
)


def steady(n, draw):
    return [draw.gauss(50, 5) for _ in range(n)]


def wandering(n, draw):
    at, out = 0.0, []
    for _ in range(n):
        at += draw.gauss(0.02, 1)
        out.append(at)
    return out


def widening(n, draw):
    """The noise grows tenfold, then calms."""
    return [draw.gauss(0, 1 + 9 * math.sin(math.pi * i / n)) for i in range(n)]


def shifting(n, draw):
    """Every 500 slots the level is another."""
    levels = [draw.uniform(-50, 50) for _ in range(n // 500 + 1)]
    return [levels[i // 500] + draw.gauss(0, 2) for i in range(n)]


def skewed(n, draw):
    """A daily curve under bursts that are only ever upwards."""
    return [20 + 10 * math.sin(i * math.pi / 12) + draw.expovariate(0.2) for i in range(n)]


@every_kind
@pytest.mark.parametrize("make", [steady, wandering, widening, shifting, skewed])
def test_intervals_cover_what_they_promise_on_drifting_data(make, kind):
    """Over 3,000 slots from the first forecast on, all twelve horizons together."""
    values = make(3_000, random.Random(7))
    it = create(HOUR, 12, **kind)
    held: dict[float, list[float]] = {0.5: [], 0.9: []}
    for place, value in enumerate(values[:-12]):
        it.learn(value, place * HOUR)
        if place % 5 == 0 and not (said := it.forecast(levels=tuple(held))).learning:
            coming = np.array(values[place + 1 : place + 13])
            for level, (low, high) in said.intervals.items():
                held[level].append(((coming >= low) & (coming <= high)).mean())

    off = 0.03 if "pace" in kind else 0.02  # it follows later
    assert np.mean(held[0.9]) == pytest.approx(0.9, abs=off)
    assert np.mean(held[0.5]) == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("members", [None, DEFAULT], ids=["blocks", "members"])
def test_the_season_is_found_where_there_is_one_and_the_level_where_there_is_none(members):
    draw = random.Random(3)
    daily = [10 * math.sin(i * math.pi / 12) + draw.gauss(0, 1) for i in range(600)]
    level = [draw.gauss(0, 1) for _ in range(600)]

    seasonal = {"day", "week", "holt_winters", "snarimax", "season"}
    assert forecast(daily, 12, members=members).member.partition("+")[0] in seasonal
    assert np.abs(forecast(level, 12, members=members).points).max() < 1


@pytest.mark.parametrize("members", [None, DEFAULT], ids=["blocks", "members"])
def test_the_choice_follows_the_series_when_it_changes(members):
    """A flat series begins to climb: within a few days the climb is what is forecast."""
    draw = random.Random(5)
    values = [draw.gauss(0, 1) for _ in range(400)]
    values += [3 * i + draw.gauss(0, 1) for i in range(200)]
    last = forecast(values, 12, members=members).points[-1]

    assert last == pytest.approx(3 * 211, abs=15)


def filling(n, rate, seed=2):
    """A disk: it fills evenly, with noise."""
    draw = random.Random(seed)
    return [0.3 + rate * i + draw.gauss(0, 0.002) for i in range(n)]


def taught(values):
    it = create(HOUR, 48)
    for place, value in enumerate(values):
        it.learn(value, place * HOUR)
    return it


def test_a_disk_that_fills_will_cross_its_limit_when_it_does():
    """0.3 + 0.001 an hour: 400 hours on it stands at 0.7, and reaches 0.72 after 20."""
    it = taught(filling(400, 0.001))
    crossing = it.crossing(0.72, "up", 48 * HOUR)

    assert crossing.probability > 0.9
    assert crossing.ahead == pytest.approx(21 * HOUR, abs=4 * HOUR)
    assert it.crossing(0.72, "up", 6 * HOUR).probability < 0.05
    assert it.crossing(0.9, "up", 48 * HOUR).probability < 0.05


def test_one_that_does_not_fill_will_not():
    it = taught(filling(400, 0.0))

    assert it.crossing(0.9, "up", 48 * HOUR).probability < 0.01
    assert it.crossing(0.1, "down", 48 * HOUR).probability < 0.01


def test_what_is_over_its_limit_has_crossed_it():
    it = taught(filling(400, 0.001))

    assert it.crossing(0.5, "up", HOUR) == (1.0, 0)
    assert it.crossing(0.9, "down", HOUR) == (1.0, 0)


def test_probability_rises_with_time_and_falls_with_the_limit():
    it = taught(wandering(1_000, random.Random(1)))
    now = it._value
    by_time = [it.crossing(now + 6, "up", hours * HOUR).probability for hours in (1, 6, 24, 48)]
    by_limit = [it.crossing(now + far, "up", 24 * HOUR).probability for far in (1, 3, 6, 12, 99)]

    assert by_time == sorted(by_time)
    assert by_limit == sorted(by_limit, reverse=True)


@every_kind
def test_probabilities_of_crossing_come_true_about_as_often(kind):
    """Random walks: of limits said to be crossed with 40 to 60 %, about half are, or more (the
    probability is that of the likeliest slot).
    """
    hit, asked = 0, 0
    for seed in range(4):
        values = wandering(700, random.Random(seed))
        it = create(HOUR, 12, **kind)
        for place, value in enumerate(values[:-12]):
            it.learn(value, place * HOUR)
            if place < 200 or place % 4:
                continue
            limit = value + 1.0
            chance = it.crossing(limit, "up", 12 * HOUR).probability
            if chance is not None and 0.35 <= chance <= 0.45:
                asked += 1
                hit += max(values[place + 1 : place + 13]) >= limit

    assert asked > 60
    assert 0.4 <= hit / asked <= 0.8


def hourly(n, draw):
    """Steps of five minutes of which one in twelve is high, and noise that is larger there."""
    return [100.0 + draw.gauss(0, 10) if i % 12 == 5 else draw.gauss(0, 1) for i in range(n)]


@every_kind
def test_intervals_hold_at_every_horizon_and_phase_of_a_short_period(kind):
    """The horizons and slots at which notes are taken must not beat with a period: of 12 slots, say."""
    draw, horizon = random.Random(5), 48
    values = hourly(3_000, draw)
    forecaster = create(300_000, horizon, **kind)
    held, off = [], []
    for i, value in enumerate(values):
        forecaster.learn(value, i * 300_000)
        if i < 1_000 or i % 7 or i + horizon >= len(values):
            continue
        ahead = forecaster.forecast(levels=(0.9,))
        low, high = ahead.intervals[0.9]
        coming = values[i + 1 : i + 1 + horizon]
        held.append([a <= v <= b for a, b, v in zip(low, high, coming, strict=True)])
        off.append([abs(p - v) for p, v in zip(ahead.points, coming, strict=True)])
    covered = np.mean(held, axis=0)
    assert 0.87 <= covered.mean() <= 0.93
    assert covered.min() > 0.75
    assert (
        np.mean(off) < 3.5
    )  # the noise alone is 1.4; whoever says the last value again is off by 15


def test_intervals_are_narrow_again_once_a_run_of_misses_is_forgotten():
    """Sixty errors of fifty deviations, 48 slots ahead: as many misses before any answer to them counts.

    Two hundred later none of them is among the errors kept.
    """
    draw, calibration, point = np.random.default_rng(4), Calibration(1), np.zeros(1)
    issued, widths = [], []
    for i in range(900):
        issued.append(calibration.issue())
        widths.append(float(issued[-1][0, -2] - issued[-1][0, 1]))
        error = 50.0 if 400 <= i < 460 else float(draw.normal())
        calibration.learn(np.zeros(1, np.intp), error, point, issued[max(0, i - 48)])

    assert widths[399] < 6
    assert widths[480] > 20
    assert max(widths[661:]) < 1.5 * max(widths[300:400])


def test_what_was_learned_before_the_series_was_known_is_soon_forgotten():
    """Thirty first errors of fifty deviations: of sixty errors they are the older half."""
    draw, calibration, point = np.random.default_rng(5), Calibration(1), np.zeros(1)
    widths = []
    for i in range(120):
        issued = calibration.issue()
        widths.append(float(issued[0, -2] - issued[0, 1]))
        calibration.learn(
            np.zeros(1, np.intp), float(draw.normal()) * (50 if i < 30 else 1), point, issued
        )

    assert widths[29] > 50
    assert max(widths[62:]) < 10


def test_the_point_is_the_median_of_what_is_remembered():
    """Runs of misses on one side move the ends, not the middle."""
    calibration, point = Calibration(1), np.zeros(1)
    errors = [float(i % 7) for i in range(300)] + [9.0] * 30
    for error in errors:
        calibration.learn(np.zeros(1, np.intp), error, point, calibration.issue())

    kept = errors[-len(errors) // 2 :]
    assert calibration.issue()[0, 5] == pytest.approx(np.median(kept), abs=0.01)
