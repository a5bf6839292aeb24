"""What a surprise looks like, and detectors that speak only of what they were asked for."""

import random

import msgspec
import pytest

from ml.novelty import NoveltyDetector
from ml.registry import create, load
from ml.shape import SHAPES
from models.errors import ConfigurationError, StateError

MINUTE = 60_000


def taught(detector, centre=100.0, spread=4.0, n=1500, seed=3):
    draw = random.Random(seed)
    for i in range(n):
        detector.learn(draw.gauss(centre, spread), i * MINUTE)
    return detector


def play(detector, values, start=1500):
    verdicts = []
    for i, value in enumerate(values):
        verdicts.append(detector.score(value, (start + i) * MINUTE))
        detector.learn(value, (start + i) * MINUTE)
    return verdicts


def test_one_value_beyond_the_band_is_a_spike_or_a_dip():
    detector = taught(NoveltyDetector())

    assert detector.score(200.0, 1500 * MINUTE).shape == "spike"
    assert detector.score(30.0, 1500 * MINUTE).shape == "dip"
    assert detector.score(100.0, 1500 * MINUTE).shape in {"", "variance"}


@pytest.mark.parametrize(("n", "spread"), [(120, 4), (400, 30), (6000, 30)])
def test_noughts_are_a_drop_for_as_long_as_they_last_up_to_an_hour(n, spread):
    shapes = [v.shape for v in play(taught(NoveltyDetector(), spread=spread, n=n), [0.0] * 120, n)]

    assert shapes[:40] == ["drop to zero"] * 40
    assert "drop to zero" not in shapes[61:]


def test_a_drop_goes_on_after_a_restart_and_ends_with_the_first_value():
    detector = taught(NoveltyDetector())
    play(detector, [0.0] * 5)
    detector = load(detector.dump())
    again = play(detector, [0.0, 100.0, 0.0], 1505)

    assert [v.shape == "drop to zero" for v in again] == [True, False, False]


def test_noughts_are_no_drop_of_a_series_that_knows_them_or_is_young():
    assert play(taught(NoveltyDetector(), n=60), [0.0], 60)[0].shape != "drop to zero"
    detector = taught(NoveltyDetector(), n=200)
    play(detector, [0.0] * 3, 200)
    play(detector, [100.0] * 50, 203)
    assert play(detector, [0.0], 253)[0].shape != "drop to zero"


def test_values_that_stay_beyond_the_band_are_a_level_shift_after_five():
    shapes = [v.shape for v in play(taught(NoveltyDetector()), [200.0] * 8)]

    assert shapes[:4] == ["spike"] * 4
    assert shapes[4:] == ["level shift"] * 4


def test_a_moderate_shift_is_one_though_the_band_follows_it():
    """Ten deviations: the band has reached the new level after three values."""
    draw = random.Random(4)
    verdicts = play(taught(NoveltyDetector()), [draw.gauss(140, 4) for _ in range(12)])

    assert [v.shape for v in verdicts[:4]] == ["spike"] * 4
    assert {v.shape for v in verdicts[4:]} == {"level shift"}
    assert 0 in {v.direction for v in verdicts}


def test_a_level_that_stays_for_an_hour_is_the_usual_one():
    draw = random.Random(4)
    detector = taught(NoveltyDetector())
    play(detector, [draw.gauss(140, 4) for _ in range(90)])

    assert detector.score(140.0, 1590 * MINUTE).shape == ""
    assert detector.score(240.0, 1590 * MINUTE).shape == "spike"


def test_values_that_jump_from_side_to_side_are_no_level_shift():
    shapes = {v.shape for v in play(taught(NoveltyDetector()), [200.0, 20.0] * 6)}

    assert shapes <= {"spike", "dip"}


def test_nought_is_a_drop_where_there_was_never_one_and_nothing_where_it_is_usual():
    assert taught(NoveltyDetector()).score(0.0, 1500 * MINUTE).shape == "drop to zero"

    sparse = NoveltyDetector()
    for i in range(1500):
        sparse.learn(float(i % 10 == 0), i * MINUTE)
    assert sparse.score(0.0, 1500 * MINUTE).shape == ""


def test_more_variation_at_the_same_level_is_surprising_and_called_so():
    draw = random.Random(5)
    verdicts = play(taught(NoveltyDetector()), [draw.gauss(100, 9) for _ in range(60)])
    within = [v for v in verdicts if v.direction == 0 and v.score > 1]

    assert any(v.shape == "variance" for v in within)


def test_less_variation_is_surprising_too():
    verdicts = play(taught(NoveltyDetector()), [100.0] * 60)

    assert max(v.score for v in verdicts) > 0.7
    assert "variance" in {v.shape for v in verdicts if v.score > 0.7}


def test_every_shape_is_one_of_those_there_are():
    draw = random.Random(9)
    values = [draw.choice([0.0, 1.0, 1e3, 1e6]) * draw.random() for _ in range(500)]

    assert {v.shape for v in play(NoveltyDetector(), values)} <= set(SHAPES)


@pytest.mark.parametrize("name", ["novelty", "lite", "robust_zscore", "gaussian"])
@pytest.mark.parametrize(
    ("direction", "value", "speaks"),
    [
        ("any", 200.0, True), ("any", 0.0, True),
        ("up", 200.0, True), ("up", 0.0, False),
        ("down", 200.0, False), ("down", 0.0, True),
        ("zero", 200.0, False), ("zero", 30.0, False), ("zero", 0.0, True),
    ],
)  # fmt: skip
def test_only_the_direction_asked_for_is_spoken_of(name, direction, value, speaks):
    plain, directed = taught(create(name)), taught(create(name, direction))
    expected, got = plain.score(value, 1500 * MINUTE), directed.score(value, 1500 * MINUTE)

    assert expected.score > 0
    assert got.score == (expected.score if speaks else 0)
    assert (got.low, got.high, got.direction) == (expected.low, expected.high, expected.direction)


def test_below_the_minimum_volume_nothing_is_spoken_of():
    detector = taught(create("novelty", minimum=20.0), centre=3.0, spread=0.5)

    assert detector.score(9.0, 1500 * MINUTE).score == 0
    assert detector.score(40.0, 1500 * MINUTE).score > 1


def test_a_directed_detector_continues_after_its_dump():
    one = taught(create("novelty", "up", 5.0))
    again = load(one.dump())

    assert again.dump() == one.dump()
    assert play(again, [100.0, 300.0, 0.0]) == play(one, [100.0, 300.0, 0.0])


def test_a_direction_that_is_none_is_refused():
    with pytest.raises(ConfigurationError, match=r"'sideways'.*up, down"):
        create("novelty", "sideways")


def test_a_damaged_directed_state_is_refused():
    name, direction, minimum, inner = msgspec.msgpack.decode(create("lite", "up").dump())

    for state in (
        [name, "sideways", minimum, inner],
        [name, direction, "much", inner],
        [name, direction, minimum, inner[:9]],
        [name, direction, minimum],
    ):
        with pytest.raises(StateError):
            load(msgspec.msgpack.encode(state))
