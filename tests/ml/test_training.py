"""Training over stored history: the same state as learning live, and figures that follow from it."""

from __future__ import annotations

import random

import pytest

from ml import registry
from ml.comparison import WEEK
from ml.training import STEP, History, Learned, complete, summarise, train
from models.errors import ConfigurationError
from models.learning import Label

MINUTE = 60_000
SERIES = "demo|plays{}"


def history(length=1_500, bursts=(), series=SERIES, seed=1) -> History:
    noise = random.Random(seed)
    points = [
        (at * MINUTE, noise.gauss(100, 3) + (400 if any(b <= at < b + 4 for b in bursts) else 0))
        for at in range(length)
    ]
    return History(series, MINUTE, points)


def finish(training) -> tuple[list[int], Learned]:
    steps = []
    while True:
        try:
            steps.append(next(training))
        except StopIteration as end:
            return steps, end.value


def test_it_learns_what_a_detector_that_was_there_learned():
    past = history()
    live = registry.create("lite")
    for at, value in past.points:
        live.score(value, at)
        live.learn(value, at)
    steps, learned = finish(train({"name": "lite"}, past))
    assert learned.body == live.dump()
    assert learned.at == past.points[-1][0]
    assert steps == [STEP, 2 * STEP, 3 * STEP]


def test_what_was_learned_goes_on_from_there():
    past, later = history(), history(1_600)
    _, learned = finish(train({"name": "novelty"}, past))
    _, whole = finish(train({"name": "novelty"}, later))
    going = registry.load(learned.body)
    for at, value in later.points[1_500:]:
        going.score(value, at)
        going.learn(value, at)
    assert going.dump() == whole.body


def test_a_specification_limits_what_the_detector_speaks_of():
    spec = {"name": "novelty", "direction": "zero"}
    _, learned = finish(train(spec, history(bursts=[1_000])))
    assert registry.load(learned.body).name == "directed/1"
    assert learned.findings == []


@pytest.mark.parametrize(
    "spec", [{"name": "crystal ball"}, {"direction": "left"}, {"minimum": "x"}, {"threshold": -1}]
)
def test_a_specification_that_cannot_be_used_is_refused(spec):
    with pytest.raises(ConfigurationError):
        finish(train(spec, history(40)))


def test_nothing_to_learn_from_is_said():
    with pytest.raises(ConfigurationError, match="no values"):
        finish(train({}, History(SERIES, MINUTE, [])))


def test_a_specification_names_its_detector():
    assert complete({"minimum": 3}) == {"name": "novelty", "minimum": 3}
    assert complete({"name": "lite"}) == {"name": "lite"}
    with pytest.raises(ConfigurationError, match="colour"):
        complete({"colour": "red"})


def test_findings_are_stretches_at_the_threshold():
    _, learned = finish(train({"threshold": 1.0}, history(bursts=[1_000])))
    assert learned.judged == 1_500 - 30
    first = learned.findings[0]
    assert first.since <= 1_004 * MINUTE
    assert first.until > 1_000 * MINUTE
    assert first.detector == "novelty"
    _, calm = finish(train({"threshold": 1e9}, history(bursts=[1_000])))
    assert calm.findings == []


def test_a_gap_ends_a_finding():
    past = history(600)
    whole = History(SERIES, MINUTE, past.points[:599])
    holed = History(SERIES, MINUTE, [p for p in past.points[:599] if p[0] != 500 * MINUTE])
    count = [len(finish(train({"threshold": 0}, h))[1].findings) for h in (whole, holed)]
    assert count == [1, 2]


def test_the_figures_of_a_training():
    calm = finish(train({"threshold": 1.0}, history(seed=2, series="demo|calm{}")))[1]
    struck = finish(train({"threshold": 1.0}, history(bursts=[1_000])))[1]
    metrics, since, until = summarise({"threshold": 1.0}, [calm, struck])
    assert (since, until) == (0, 1_500 * MINUTE)
    assert (metrics["series"], metrics["points"], metrics["threshold"]) == (2, 3_000, 1.0)
    assert metrics["share_learning"] == pytest.approx(30 / 1_500)
    rates = [len(one.findings) / (1_470 * MINUTE / WEEK) for one in (calm, struck)]
    assert metrics["findings_per_week"] == pytest.approx(sum(rates) / 2)
    assert metrics["findings_per_week_most"] == pytest.approx(max(rates))
    assert metrics["findings_per_week_most"] > 0
    assert "precision" not in metrics


def label(verdict, since, until, series=SERIES) -> Label:
    name = f"{series}{since}"
    return Label("demo", name, series, since * MINUTE, until * MINUTE, verdict, "ann", 0)


def test_labels_within_the_data_say_how_good_it_was():
    struck = finish(train({"threshold": 1.0}, history(bursts=[1_000])))[1]
    assert len(struck.findings) >= 1
    labels = [
        label("true", 995, 1_020),
        label("true", 400, 410),  # nothing is to be found there
        label("true", 9_000, 9_010),  # beyond the data
        label("false", 0, 10, series="demo|elsewhere{}"),
    ]
    metrics = summarise({}, [struck], labels).metrics
    assert (metrics["labels"], metrics["precision"], metrics["recall"]) == (2, 1.0, 0.5)


def test_a_series_that_is_all_learning_has_no_findings():
    short = finish(train({}, history(20)))[1]
    metrics = summarise({}, [short]).metrics
    assert metrics["share_learning"] == 1.0
    assert metrics["findings_per_week"] == 0.0
