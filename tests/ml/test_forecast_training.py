"""Training a forecaster over stored history: the same state as learning live, and honest figures."""

from __future__ import annotations

import math
import random

import pytest

from ml.forecast_training import complete, seen, summarise, train
from ml.forecasting import create
from ml.training import History
from models.errors import ConfigurationError
from tests.ml.test_training import finish

MINUTE, HOUR = 60_000, 3_600_000
SPEC = {"within": "6h"}  # slots of 8 minutes, 45 of them


def history(minutes=6_000, noise=1.0, seed=1) -> History:
    """A day's wave in minutes."""
    draw = random.Random(seed)
    points = [
        (m * MINUTE, 100 + 30 * math.sin(m * 2 * math.pi / 1_440) + draw.gauss(0, noise))
        for m in range(minutes)
    ]
    return History("demo|plays{}", MINUTE, points)


def test_it_learns_what_a_forecaster_that_was_there_learned():
    past = history()
    live = create(8 * MINUTE, 45)
    for at, value in seen(past.points, MINUTE, 8 * MINUTE):
        live.learn(value, at)
    steps, learned = finish(train(SPEC, past))
    assert learned.body == live.dump()
    assert (learned.at, learned.slots) == (past.points[-1][0], 750)
    assert steps == sorted(steps)
    assert steps[-1] == len(past.points)


def test_a_slot_has_the_value_of_the_window_that_ends_it():
    points = [(m * MINUTE, float(m)) for m in range(20)]
    assert list(seen(points, MINUTE, 8 * MINUTE)) == [(0, 7.0), (8 * MINUTE, 15.0)]


def test_figures_are_those_of_forecasts_made_before_the_values_came():
    """A wave is foretold much better than by its last value; chance is not."""
    spec = complete(SPEC)
    _, wave = finish(train(spec, history()))
    draw = random.Random(2)
    chance = history()._replace(
        points=[(at, draw.gauss(0, 1)) for at, _ in history().points], series="demo|chance{}"
    )
    _, other = finish(train(spec, chance))
    figures = summarise(spec, [wave]).metrics
    assert figures["error_ratio"] < 0.5  # the first day, which knows no day yet, is among it
    assert 0.8 <= figures["coverage_90"] <= 1.0
    assert 0.0 < figures["share_learning"] < 0.5
    assert figures["within_ms"] == 6 * HOUR
    both = summarise(spec, [wave, other])
    assert both.metrics["error_ratio_most"] == other.error / other.baseline
    # An unbiased mean errs by 1 / sqrt(2) of what the last of independent values does.
    assert 0.65 < both.metrics["error_ratio_most"] < 0.85
    assert both.metrics["coverage_90_least"] == min(
        one.covered / one.foretold for one in (wave, other)
    )
    assert (both.data_from, both.data_until) == (0, 6_000 * MINUTE)


def test_what_is_too_short_to_foretell_anything_says_only_that():
    spec = complete(SPEC)
    _, learned = finish(train(spec, history(minutes=60)))
    figures = summarise(spec, [learned]).metrics
    assert figures["share_learning"] == 1.0
    assert not {"error_ratio", "coverage_90"} & figures.keys()


def test_a_constant_has_no_ratio():
    still = history()._replace(points=[(m * MINUTE, 5.0) for m in range(6_000)])
    figures = summarise(SPEC, [finish(train(SPEC, still))[1]]).metrics
    assert figures["coverage_90"] > 0.9  # its intervals have no width but rounding
    assert "error_ratio" not in figures


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"within": "soon"}, "soon"),
        ({"within": "9999999999d"}, "366d ahead"),
        ({"name": "novelty"}, "name"),
        ({"within": "0h"}, "0h"),
    ],
)
def test_a_specification_that_says_what_cannot_be_is_refused(spec, says):
    with pytest.raises(ConfigurationError, match=says):
        complete(spec)


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(ConfigurationError, match="no values"):
        finish(train(SPEC, History("demo|plays{}", MINUTE, [])))
