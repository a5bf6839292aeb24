"""What the forecast bench takes for a series and where its origins lie."""

import math

import numpy as np
import pytest

from bench.forecast.__main__ import compared, summary, table
from bench.forecast.known import Draw, autoregression, drawn, right
from bench.forecast.known import table as table_of_known
from bench.forecast.rolling import OURS, Intervals, conformal, judged, online, roll, task_of
from bench.forecast.series import Regular, on_grid
from ml.forecasting import create

HOUR = 3_600_000


def daily(n: int, name: str = "daily") -> Regular:
    draw = np.random.default_rng(1)
    curve = 10 * np.sin(np.arange(n) * math.pi / 12)
    return Regular(name, HOUR, 0, 50 + curve + draw.normal(0, 1, n))


def test_samples_fall_into_slots_and_gaps_stay_gaps():
    series = on_grid("x", 1000, [(5_000, 1.0), (5_400, 9.0), (8_100, 2.0)])

    assert series.start == 5_000
    np.testing.assert_array_equal(series.values, [1.0, np.nan, np.nan, 2.0])
    np.testing.assert_array_equal(series.filled, [1.0, 1.0, 1.0, 2.0])


def test_origins_are_every_48_slots_of_the_last_500():
    task = task_of(daily(1_000))

    assert task.origins == list(range(500, 999, 48))
    assert (task.season, task.horizon) == (24, 48)


def test_a_season_is_forecast_better_than_by_the_last_value():
    rolled = roll(daily(500))

    assert rolled.kinds[OURS].mase < 0.6 * rolled.alone["last"]
    assert 0.8 < rolled.kinds[OURS].intervals.coverage < 1
    assert rolled.kinds[OURS].intervals.score < 0.7 * rolled.plain.score
    assert any("daily" in line for line in table([rolled]))
    assert "within 88 to 92 %" in "\n".join(summary([rolled]))


def test_the_worst_is_none_that_is_known_exactly():
    rolled = roll(daily(500))
    exact = rolled._replace(
        name="exact",
        kinds=dict.fromkeys(
            rolled.kinds,
            rolled.kinds[OURS]._replace(mase=1e-9, intervals=Intervals(1.0, 0.0, 0.0)),
        ),
        alone=dict.fromkeys(rolled.alone, 1e-12),
    )
    said = "\n".join(summary([rolled, exact]))

    assert "daily" in said
    assert "exact," not in said
    assert "exact with" not in said


def test_plain_intervals_hold_nine_of_ten_of_what_does_not_change():
    walk = np.cumsum(np.random.default_rng(2).normal(0, 1, 4_000))
    inside = []
    for place in range(500, 3_900, 20):
        low, high = conformal(walk[: place + 1], 10)
        inside += (
            (walk[place + 1 : place + 11] >= low) & (walk[place + 1 : place + 11] <= high)
        ).tolist()

    assert 0.86 < np.mean(inside) < 0.94


def test_an_interval_score_is_its_width_and_twenty_times_what_lies_outside():
    low, high, came = (
        np.array([0.0, 0.0, 0.0]),
        np.array([2.0, 2.0, 2.0]),
        np.array([1.0, 2.5, np.nan]),
    )

    assert judged([(low, high, came)], 2.0) == pytest.approx((0.5, 1.0, 3.5))


def test_both_are_asked_at_the_same_origins():
    series = daily(700)
    mae, cpu = online(series, task_of(series), create(series.step_ms, series.horizon))

    assert mae < 3
    assert cpu > 0


def test_ten_series_at_most_are_compared_and_artificial_ones_never():
    names = [f"real{k}" for k in range(20)] + ["art_one", "river: x", "simulator: y"]
    chosen = [s.name for s in compared([daily(10, name) for name in names])]

    assert len(chosen) == len(set(chosen)) == 10
    assert [s.name for s in compared([daily(10, "alone")])] == ["alone"]
    assert chosen[:2] == ["river: x", "simulator: y"]
    assert "art_one" not in chosen


def test_intervals_of_a_known_process_hold_what_they_promise():
    walk = drawn([daily(6_000)._replace(values=np.zeros(6_000))], 0.5, 1)
    low, high = right(2.0, 0.5, 2)

    assert 0.885 < walk.coverage["exactly right"][0] < 0.915
    np.testing.assert_allclose((low + high) / 2, [1.0, 0.5])
    np.testing.assert_allclose((high - low) / 2, [1.644854, 1.644854 * math.sqrt(1.25)], rtol=1e-6)


def test_an_autoregression_is_the_one_before_and_a_step():
    np.testing.assert_array_equal(autoregression(np.array([1.0, 0.0, 2.0]), 0.5), [1.0, 0.5, 2.25])


def test_series_within_are_counted_and_the_worst_draw_is_told():
    draws = [
        Draw(0.9, seed, dict.fromkeys(("exactly right", "blocks", "plain"), shares))
        for seed, shares in enumerate([[0.90, 0.93], [0.88, 0.92]])
    ]

    assert [each.within("plain") for each in draws] == [0.5, 1.0]
    assert table_of_known(draws)[-1].count("75 % of series (50), 88.0 to 93.0 %") == 3
