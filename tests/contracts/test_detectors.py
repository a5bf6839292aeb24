"""What every registered detector must do, whatever it thinks of the data."""

import inspect
import math
import random
import re
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import base
from river.checks import common

from bench.nab.contenders import deep_size
from ml import registry
from ml.protocol import Detector
from models.errors import ConfigurationError, StateError

MINUTE = 60_000
MAX_BYTES = 18 * 1024

# Those that need other features than a value and its time, or a label, do not apply.
CHECKS_OF_RIVER = [
    common.check_repr, common.check_str, common.check_tags, common.check_doc,
    common.check_clone_same_class, common.check_clone_is_idempotent,
    common.check_clone_changes_memory_addresses, common.check_clone_with_new_params_applies,
    common.check_init_has_default_params_for_tests,
    common.check_init_default_params_are_not_mutable, common.check_get_params_matches_signature,
    common.check_mutate_can_be_idempotent, common.check_repr_roundtrips_clone,
    common.check_pickling_supports_roundtrip, common.check_pickling, common.check_learn_one,
    common.check_shuffle_features_no_impact, common.check_clone_is_independent,
    common.check_predict_one_before_any_learn, common.check_no_state_aliasing_with_input,
]  # fmt: skip

# The baselines are none: nobody would put them into a pipeline.
ESTIMATORS = [n for n in registry.names() if isinstance(registry.create(n), base.AnomalyDetector)]

every_detector = pytest.mark.parametrize("name", registry.names())


def noisy_day(n: int, seed: int = 1) -> list[tuple[float, int]]:
    """`n` five-minute values of a daily curve with noise and, now and then, a jump."""
    draw = random.Random(seed)
    out = []
    for i in range(n):
        value = 100 + 40 * math.sin(2 * math.pi * i / 288) + draw.gauss(0, 5)
        if draw.random() < 0.01:
            value *= 3
        out.append((value, i * 5 * MINUTE))
    return out


def taught(name: str, data: list[tuple[float, int]]) -> Detector:
    detector = registry.create(name)
    for value, at in data:
        detector.learn(value, at)
    return detector


@every_detector
def test_scores_before_it_has_learned_anything(name):
    verdict = registry.create(name).score(1.0, 0)

    assert verdict.score is None or verdict.score >= 0


@every_detector
def test_score_changes_nothing(name):
    detector = taught(name, noisy_day(200))
    before = detector.dump()
    first = detector.score(140.0, 200 * 5 * MINUTE)

    assert first == detector.score(140.0, 200 * 5 * MINUTE)
    assert before == detector.dump()


@every_detector
def test_scores_are_finite_and_never_negative_once_it_has_learned(name):
    detector = registry.create(name)
    for value, at in noisy_day(600):
        score = detector.score(value, at).score
        assert score is None or (math.isfinite(score) and score >= 0)
        detector.learn(value, at)

    assert detector.score(1.0, 600 * 5 * MINUTE).score is not None


@every_detector
def test_contributions_add_up_to_the_score(name):
    detector = taught(name, noisy_day(400))
    verdict = detector.score(500.0, 400 * 5 * MINUTE)

    if verdict.contributions:
        assert verdict.score == pytest.approx(sum(part for _, part in verdict.contributions))


@every_detector
def test_the_band_is_in_order_and_the_direction_is_the_values_side_of_it(name):
    detector = taught(name, noisy_day(400))
    for value in (-1e9, 0.0, 100.0, 1e9):
        verdict = detector.score(value, 400 * 5 * MINUTE)
        if verdict.low is None or verdict.high is None:
            continue
        assert verdict.low <= verdict.high
        assert verdict.direction == (value > verdict.high) - (value < verdict.low)


@every_detector
def test_the_state_continues_identically_from_every_cut(name):
    data = noisy_day(160)
    whole = registry.create(name)
    states, verdicts = [], []
    for value, at in data:
        states.append(whole.dump())
        verdicts.append(whole.score(value, at))
        whole.learn(value, at)

    for cut, state in enumerate(states):
        again = registry.load(state)
        assert again.dump() == state
        for (value, at), verdict in list(zip(data, verdicts, strict=True))[cut : cut + 20]:
            assert again.score(value, at) == verdict
            again.learn(value, at)


@every_detector
def test_the_same_calls_give_the_same_answers(name):
    data = noisy_day(300)

    assert taught(name, data).dump() == taught(name, data).dump()


@every_detector
def test_two_detectors_share_nothing(name):
    one, other = registry.create(name), registry.create(name)
    untouched = other.dump()
    for value, at in noisy_day(100):
        one.learn(value, at)

    assert untouched == other.dump()


@every_detector
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_and_leave_no_trace(name, value):
    detector = taught(name, noisy_day(80))
    before = detector.dump()

    with pytest.raises(ValueError, match="finite"):
        detector.score(value, 80 * 5 * MINUTE)
    with pytest.raises(ValueError, match="finite"):
        detector.learn(value, 80 * 5 * MINUTE)
    assert before == detector.dump()


@every_detector
def test_memory_and_state_stay_within_bounds(name):
    detector = registry.create(name)
    draw = random.Random(3)
    for i in range(3000):
        detector.learn(draw.gauss(0, 1) * 10 ** draw.uniform(-9, 9), i * MINUTE)
        if i % 100 == 0:
            assert len(detector.dump()) <= MAX_BYTES

    assert deep_size(detector) <= MAX_BYTES


@every_detector
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=80))
def test_any_finite_values_are_survived(name, values):
    detector = registry.create(name)
    for i, value in enumerate(values):
        score = detector.score(value, i * MINUTE).score
        assert score is None or math.isfinite(score)
        detector.learn(value, i * MINUTE)

    assert registry.load(detector.dump()).dump() == detector.dump()


@every_detector
def test_a_constant_series_is_never_surprising(name):
    if name == "metronome":
        pytest.skip("fires blindly; that is its purpose")
    detector = registry.create(name)
    for i in range(500):
        assert (detector.score(7.0, i * MINUTE).score or 0.0) < 0.1
        detector.learn(7.0, i * MINUTE)


@every_detector
def test_the_name_carries_the_version_of_its_state(name):
    detector = registry.create(name)

    assert detector.name.startswith(f"{name}/")
    assert registry.create(detector.name).dump() == detector.dump()
    assert msgspec.msgpack.decode(detector.dump())[0] == detector.name


@every_detector
def test_a_damaged_state_is_refused(name):
    state = msgspec.msgpack.decode(registry.create(name).dump())

    with pytest.raises(StateError):
        registry.load(msgspec.msgpack.encode(state[:-1]))
    with pytest.raises(StateError):
        registry.load(msgspec.msgpack.encode([state[0], *("x" for _ in state[1:])]))


DAMAGE = [
    math.nan, math.inf, -math.inf, -1, -1e308, 0, 2**63, 10**18, -(2**40), "x", None, [], {}, True,
    b"", b"\xff" * 24,
]  # fmt: skip


def damaged(value):
    """Each copy of a decoded state in which one thing is another, or its bytes are none of numbers."""
    if isinstance(value, list):
        yield value[:-1]
        yield [*value, 0]
        for place, part in enumerate(value):
            for other in damaged(part):
                yield [*value[:place], other, *value[place + 1 :]]
    elif isinstance(value, bytes) and re.match(rb"[\x90-\x9f].[a-z_]+/\d", value):  # a state within
        yield from map(msgspec.msgpack.encode, damaged(msgspec.msgpack.decode(value)))
    elif isinstance(value, bytes):
        yield from (value[:-4], value + value[:4], b"\xff" * len(value))
        yield b"\x00\x00\xc0\x7f" * (len(value) // 4)  # NaN, of four bytes
        yield b"\x00\x00\x00\x00\x00\x00\xf0\x7f" * (len(value) // 8)  # and infinite, of eight
    yield from DAMAGE


@every_detector
def test_a_state_with_damage_anywhere_is_refused_or_does_no_harm(name):
    """Nothing but StateError comes of loading it, and what loads judges and learns on, in numbers."""
    state = msgspec.msgpack.decode(taught(name, noisy_day(520)).dump())
    refused = 0
    for other in damaged(state):
        try:
            detector = registry.load(msgspec.msgpack.encode(other))
        except StateError:
            refused += 1
            continue
        for i in range(3):
            value, at = 100.0 + 40 * i, (600 + i) * 5 * MINUTE
            verdict = detector.score(value, at)
            for said in (verdict.score, verdict.low, verdict.high, verdict.tail):
                assert said is None or math.isfinite(said)
            detector.learn(value, at)
        registry.load(detector.dump())

    assert refused > 10


def test_text_that_is_none_and_a_state_without_end_are_refused():
    within = registry.create(direction="up")
    for _ in range(2000):
        state = msgspec.msgpack.encode(["directed/1", "up", 0.0, within.dump()])
        try:
            within = registry.load(state)
        except StateError:
            break
    else:
        pytest.fail("a detector within two thousand others was taken")
    with pytest.raises(StateError, match="not msgpack"):
        registry.load(b"\x91\xa1\xff")


def test_an_ensemble_of_members_of_another_version_is_refused():
    state = msgspec.msgpack.decode(taught("ensemble", noisy_day(100)).dump())
    member = msgspec.msgpack.decode(state[1][0])
    state[1][0] = msgspec.msgpack.encode(["novelty/3", *member[1:]])

    with pytest.raises(StateError, match="novelty/3"):
        registry.load(msgspec.msgpack.encode(state))


@every_detector
@pytest.mark.parametrize("scale", [1e-120, 1e-6, 1e9, 1e140])
def test_huge_and_tiny_magnitudes_are_judged_as_others_are(name, scale):
    if name == "metronome":
        pytest.skip("does not look")
    detector, draw, usual = registry.create(name), random.Random(4), []
    for i in range(1200):
        value = draw.gauss(10, 1) * scale
        score = detector.score(value, i * MINUTE).score or 0.0
        usual += [score] if i > 800 else []
        detector.learn(value, i * MINUTE)

    assert detector.score(40.0 * scale, 1200 * MINUTE).score > max(usual)


@every_detector
def test_missing_samples_and_irregular_spacing_are_no_news(name):
    """A third of the samples missing, the others early or late, and one hole of three days."""
    if name == "metronome":
        pytest.skip("does not look")
    detector, draw, at, after = registry.create(name), random.Random(12), 0, []
    for i in range(1500):
        at += draw.choice([1, 1, 1, 2, 2, 3]) * MINUTE + draw.randrange(MINUTE)
        at += 3 * 24 * 60 * MINUTE if i == 1000 else 0
        value = draw.gauss(50, 2)
        score = detector.score(value, at).score
        after += [score] if i >= 1000 else []
        detector.learn(value, at)

    assert sorted(after)[len(after) // 2] < 1.5
    assert detector.score(500.0, at + MINUTE).score > sorted(after)[-5]


@every_detector
def test_samples_of_the_same_instant_are_survived(name):
    detector = registry.create(name)
    for i in range(200):
        detector.learn(float(i % 5), i // 3 * MINUTE)

    assert registry.load(detector.dump()).dump() == detector.dump()
    assert math.isfinite(detector.score(2.0, 66 * MINUTE).score or 0.0)


@every_detector
def test_a_counter_that_resets_is_survived(name):
    detector = registry.create(name)
    for i in range(3000):
        value = float(i % 700) * 1e6
        score = detector.score(value, i * MINUTE).score
        assert score is None or (math.isfinite(score) and score >= 0)
        detector.learn(value, i * MINUTE)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("check", CHECKS_OF_RIVER, ids=lambda c: c.__name__)
def test_river_accepts_it_as_an_estimator(name, check):
    detector = registry.create(name)
    takes_data = len(inspect.signature(check).parameters) > 1
    data = [({"value": value, "at": at}, None) for value, at in noisy_day(120)]
    check(detector, data) if takes_data else check(detector)


@pytest.mark.parametrize(
    "state",
    [b"", b"\xc1", b"\x80", msgspec.msgpack.encode([]), msgspec.msgpack.encode(["novelty/99"])],
)
def test_foreign_bytes_are_no_detector(state):
    with pytest.raises(StateError):
        registry.load(state)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'hst'.*novelty"):
        registry.create("hst")


def test_time_moves_on_in_the_data():
    assert all(a < b for (_, a), (_, b) in pairwise(noisy_day(10)))
