"""The joint detector: the detectors' contract for several values at once, and what it is there for."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.nab.contenders import deep_size
from ml import registry
from ml.joint import MOST, JointDetector
from models.errors import ConfigurationError, StateError

MINUTE = 60_000
HOST = ("cpu", "memory", "requests", "errors")


def host(n, seed=1, start=0):
    """Metrics of a host that follow its load: requests drive cpu and memory; errors are their own."""
    draw = random.Random(seed)
    for i in range(start, start + n):
        load = 100 + 50 * math.sin(2 * math.pi * i / 1440) + draw.gauss(0, 10)
        yield {
            "cpu": 10 + 0.4 * load + draw.gauss(0, 1.5),
            "memory": 30 + 0.2 * load + draw.gauss(0, 1.0),
            "requests": 20 * load + draw.gauss(0, 40),
            "errors": draw.gauss(5, 1),
        }


def taught(n=1440, **keys):
    detector = JointDetector(HOST)
    for i, values in enumerate(host(n, **keys)):
        detector.learn(values, i * MINUTE)
    return detector


def singles(n=1440):
    """The default detector of each metric by itself, on the same data."""
    detectors = {metric: registry.create() for metric in HOST}
    for i, values in enumerate(host(n)):
        for metric, value in values.items():
            detectors[metric].learn(value, i * MINUTE)
    return detectors


@pytest.mark.parametrize("broken", ["cpu", "memory", "requests"])
def test_a_break_of_correlation_is_found_that_no_metric_shows_by_itself(broken):
    """One metric at its low level while the load is high: each alone is where it often was."""
    high = {"cpu": 62.0, "memory": 56.0, "requests": 2600.0, "errors": 5.0}
    low = {"cpu": 34.0, "memory": 42.0, "requests": 1200.0}
    at = 1440 * MINUTE
    values = high | {broken: low[broken]}

    verdict = taught().score(values, at)
    for metric, detector in singles().items():
        assert detector.score(values[metric], at).score < 1
    assert verdict.score > 4
    assert verdict.tail < 0.01
    assert verdict.shares[0][0] == broken
    assert verdict.shares[0][1] > 0.5


def test_what_goes_together_as_ever_is_no_surprise():
    detector, scores = taught(), []
    for i, values in enumerate(host(600, seed=2, start=1440), 1440):
        scores.append(detector.score(values, i * MINUTE).score)
        detector.learn(values, i * MINUTE)

    assert sum(s > 3 for s in scores) <= 6
    assert sorted(scores)[300] < 1


def test_shares_add_up_to_one_and_are_in_order():
    for values in host(50, seed=3):
        shares = [share for _, share in taught(300).score(values, 0).shares]
        assert sum(shares) == pytest.approx(1)
        assert shares == sorted(shares, reverse=True)
        assert min(shares) >= 0


def test_a_missing_metric_is_left_out_and_the_others_are_judged():
    detector = taught()
    values = {"cpu": 34.0, "requests": 2600.0, "errors": 5.0}
    verdict = detector.score(values | {"memory": None}, 0)

    assert verdict == detector.score(values, 0)
    assert verdict.missing == ("memory",)
    assert verdict.score > 4
    assert {metric for metric, _ in verdict.shares} == {"cpu", "requests", "errors"}


def test_of_a_single_metric_it_says_nothing():
    verdict = taught().score({"cpu": 1e9}, 0)

    assert (verdict.score, verdict.missing) == (None, ("memory", "requests", "errors"))


def test_gaps_are_no_news():
    """A third of all values missing: the relation is learned all the same."""
    detector, draw = JointDetector(HOST), random.Random(5)
    for i, values in enumerate(host(3000)):
        some = {m: v for m, v in values.items() if draw.random() > 0.33}
        score = detector.score(some, i * MINUTE).score
        assert score is None or math.isfinite(score)
        detector.learn(some, i * MINUTE)
    before = detector.dump()
    detector.learn({}, 3000 * MINUTE)

    assert detector.dump() == before
    calm = [detector.score(v, 0).score for v in host(200, seed=6, start=3000)]
    assert sorted(calm)[100] < 1.5
    assert detector.score({"cpu": 30.0, "requests": 2900.0}, 0).score > 3


def test_it_learns_before_it_speaks():
    detector = taught(99)
    assert detector.score(next(host(1)), 0).score is None
    detector.learn(next(host(1)), 0)
    assert detector.score(next(host(1)), 0).score is not None


def test_an_incident_does_not_become_normal_at_once():
    detector = taught()
    values = {"cpu": 34.0, "memory": 56.0, "requests": 2600.0, "errors": 5.0}
    scores = []
    for i in range(20):
        scores.append(detector.score(values, i).score)
        detector.learn(values, i)

    assert min(scores) > 2


def test_score_changes_nothing():
    detector = taught(300)
    before, values = detector.dump(), next(host(1, seed=9))
    first = detector.score(values, 0)

    assert detector.score(values, 0) == first
    assert detector.dump() == before


def test_the_state_continues_identically_from_every_cut():
    data = list(host(160))
    whole, states, verdicts = JointDetector(HOST), [], []
    for i, values in enumerate(data):
        states.append(whole.dump())
        verdicts.append(whole.score(values, i))
        whole.learn(values, i)

    for cut, state in enumerate(states):
        again = JointDetector.load(state)
        assert again.dump() == state
        for i in range(cut, min(cut + 10, len(data))):
            assert again.score(data[i], i) == verdicts[i]
            again.learn(data[i], i)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_and_leave_no_trace(value):
    detector = taught(120)
    before = detector.dump()

    for verb in (detector.score, detector.learn):
        with pytest.raises(ValueError, match="finite"):
            verb({"cpu": value, "memory": 1.0}, 0)
    assert detector.dump() == before


def test_a_metric_that_was_not_named_is_refused():
    with pytest.raises(ValueError, match="disk"):
        taught(10).score({"disk": 1.0}, 0)


@given(
    rows=st.lists(
        st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
        min_size=1, max_size=60,
    )
)  # fmt: skip
def test_any_finite_values_and_gaps_are_survived(rows):
    detector = JointDetector(("a", "b"), 5)
    for i, (a, b) in enumerate(rows):
        verdict = detector.score({"a": a, "b": b}, i)
        assert verdict.score is None or (math.isfinite(verdict.score) and verdict.score >= 0)
        assert sum(share for _, share in verdict.shares) == pytest.approx(
            1 if verdict.shares else 0
        )
        detector.learn({"a": a, "b": b}, i)

    assert JointDetector.load(detector.dump()).dump() == detector.dump()


def test_constant_metrics_are_never_surprising_until_one_changes():
    detector = JointDetector(("a", "b"))
    for i in range(300):
        assert (detector.score({"a": 7.0, "b": 0.0}, i).score or 0.0) < 0.1
        detector.learn({"a": 7.0, "b": 0.0}, i)

    verdict = detector.score({"a": 7.0, "b": 1.0}, 300)
    assert verdict.score > 4
    assert verdict.shares[0] == ("b", pytest.approx(1))


@pytest.mark.parametrize("scale", [1e-120, 1e-6, 1e9, 1e140])
def test_the_unit_does_not_matter(scale):
    one, other = JointDetector(("a", "b")), JointDetector(("a", "b"))
    draw = random.Random(2)
    for i in range(400):
        x = draw.gauss(10, 1)
        y = x + draw.gauss(0, 0.2)
        one.learn({"a": x, "b": y}, i)
        other.learn({"a": x * scale, "b": y}, i)

    expected = one.score({"a": 12.0, "b": 8.0}, 400)
    got = other.score({"a": 12.0 * scale, "b": 8.0}, 400)
    assert got.score == pytest.approx(expected.score, rel=1e-6)


def test_state_and_memory_stay_within_bounds():
    detector = JointDetector([f"m{i}" for i in range(MOST)])
    draw = random.Random(3)
    for i in range(500):
        detector.learn(
            {m: draw.gauss(0, 1) * 10 ** draw.uniform(-9, 9) for m in detector.metrics}, i
        )

    assert len(detector.dump()) < 4 * 1024
    assert deep_size(detector) < 18 * 1024


@pytest.mark.parametrize("metrics", [(), ("cpu",), ("cpu", "cpu"), [f"m{i}" for i in range(17)]])
def test_too_few_too_many_or_the_same_metrics_are_refused(metrics):
    with pytest.raises(ConfigurationError, match="2 to 16 different"):
        JointDetector(metrics)


def test_foreign_and_damaged_states_are_refused():
    state = msgspec.msgpack.decode(taught(120).dump())
    for damaged in (
        state[:-1], ["joint/9", *state[1:]], [*state[:3], [1], *state[4:]],
        [state[0], *("x" for _ in state[1:])], [], [*state[:2], math.inf, *state[3:]],
    ):  # fmt: skip
        with pytest.raises(StateError):
            JointDetector.load(msgspec.msgpack.encode(damaged))
    with pytest.raises(StateError):
        JointDetector.load(b"\xc1")
