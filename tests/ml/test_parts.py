"""What the novelty detectors are made of: the profile of a week, the rate and the tail."""

import math
import random

import pytest

from ml import rate
from ml.novelty import NoveltyDetector
from ml.profile import Profile
from ml.rate import Rate
from ml.tail import Tail

HOUR = 3_600_000


def test_a_profile_knows_nothing_at_first_and_then_the_hour_of_the_day_before_that_of_the_week():
    profile = Profile()
    assert profile.expected(5 * HOUR, 7.0) == 7.0

    profile.learn(3.0, 5 * HOUR)

    assert profile.expected(5 * HOUR, 7.0) == 3.0
    assert profile.expected((24 + 5) * HOUR, 7.0) == 3.0
    assert profile.expected(6 * HOUR, 7.0) == 7.0
    profile.learn(9.0, (24 + 5) * HOUR)
    assert profile.expected((24 + 5) * HOUR, 7.0) == 9.0
    assert profile.expected((2 * 24 + 5) * HOUR, 7.0) == 6.0
    assert profile.expected((7 * 24 + 5) * HOUR, 7.0) == 3.0


@pytest.mark.parametrize("step", [60_000, 300_000, HOUR])
def test_a_profile_moves_by_time_and_not_by_the_number_of_points(step):
    profile = Profile()
    for at in range(0, 8 * 24 * HOUR + HOUR, step):
        profile.learn(0.0 if at < 8 * 24 * HOUR else 1.0, at)

    assert 0.35 < profile.expected(8 * 24 * HOUR, math.nan) < 0.55


@pytest.mark.parametrize("value", [1e150, -1e150, 1e-150])
def test_a_profile_holds_what_32_bits_can(value):
    profile = Profile()
    profile.learn(value, 0)
    profile.learn(value, HOUR // 2)

    assert math.isfinite(profile.expected(0, 0.0))
    assert Profile.load(profile.dump()).dump() == profile.dump()


def test_a_rate_is_surprised_by_more_novelty_than_usual_and_not_by_less():
    usual = Rate()
    for i in range(2000):
        usual.learn(0.1, rate.width(i), rate.spans(i))

    assert usual.usual() == pytest.approx(0.1)
    assert usual.surprise(0.0, 8.0) == 0
    assert usual.surprise(None, 8.0) == pytest.approx(0, abs=1e-9)
    assert 0 < usual.surprise(0.5, 8.0) < usual.surprise(1.0, 8.0)


def test_a_rate_is_less_surprised_by_novelty_where_it_comes_in_clusters():
    steady, clustered = Rate(), Rate()
    for i in range(3000):
        steady.learn(0.1, rate.width(i), rate.spans(i))
        clustered.learn(1.0 if i % 100 < 10 else 0.0, rate.width(i), rate.spans(i))

    assert clustered.usual() == pytest.approx(steady.usual(), abs=0.01)
    assert steady.surprise(1.0, 8.0) > 2 * clustered.surprise(1.0, 8.0) > 0


def test_a_rate_goes_on_after_its_dump_as_if_it_had_never_stopped():
    kept = Rate()
    for i in range(300):
        kept.learn(float(i % 7 == 0), rate.width(i), rate.spans(i))
    again = Rate.load(kept.dump())
    for each in (kept, again):
        each.learn(1.0, 8.0, rate.spans(300))

    assert again.dump() == kept.dump()
    assert again.surprise(0.7, 8.0) == kept.surprise(0.7, 8.0)


def test_a_tail_is_one_before_anything_is_known_and_never_nought():
    tail = Tail()
    assert tail.probability(5.0) == 1

    for _ in range(999):
        tail.learn(0.0)

    assert tail.probability(0.0) == 1
    assert tail.probability(1e9) == pytest.approx(1 / 1000)


def test_a_tail_forgets_by_halves_and_continues_after_its_dump():
    tail = Tail()
    for i in range(20_000):
        tail.learn(float(i % 2))

    assert tail.probability(1.0) == pytest.approx(0.5, abs=0.01)
    again = Tail.load(tail.dump())
    again.learn(3.0)
    tail.learn(3.0)
    assert again.dump() == tail.dump()
    assert again.probability(2.0) == tail.probability(2.0)


def test_the_tail_is_calibrated_where_nothing_changes():
    """Of independent values, at most a share p has a tail of at most p: for any p."""
    draw, detector, tails = random.Random(11), NoveltyDetector(), []
    for i in range(6000):
        value = draw.gauss(50, 4)
        tail = detector.score(value, i * 60_000).tail
        if tail is not None and i > 1000:
            tails.append(tail)
        detector.learn(value, i * 60_000)

    for p in (0.01, 0.05, 0.2):
        assert sum(t <= p for t in tails) / len(tails) <= 1.3 * p
    assert min(tails) < 0.01
