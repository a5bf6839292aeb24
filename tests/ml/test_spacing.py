"""How far apart values are, and that one threshold serves series of any spacing."""

from __future__ import annotations

import math
import random

import pytest

from ml.lite import LiteDetector
from ml.novelty import NoveltyDetector
from ml.spacing import Spacing

MINUTE = 60_000


def spaced(*gaps: float) -> Spacing:
    """Values that are so many minutes apart."""
    spacing, at = Spacing(), 1_767_225_600_000
    spacing.learn(at)
    for gap in gaps:
        at += int(gap * MINUTE)
        spacing.learn(at)
    return spacing


@pytest.mark.parametrize(
    ("minutes", "factor"),
    [(1, 1.0), (1 / 6, 6**-0.25), (16, 2.0), (60, 60**0.25), (1440, 60**0.25)],
)
def test_a_surprise_counts_by_the_fourth_root_of_the_spacing(minutes, factor):
    assert spaced(*[minutes] * 50).factor == pytest.approx(factor)


def test_before_the_second_value_nothing_is_known():
    assert Spacing().factor == spaced().factor == 1.0


def test_a_gap_is_not_the_spacing():
    assert spaced(*[5] * 40, 10_000, *[5] * 40).factor == pytest.approx(5**0.25, rel=0.05)
    assert spaced(10_000, *[5] * 40).factor == pytest.approx(5**0.25, rel=0.1)


def test_a_series_that_is_sampled_otherwise_is_followed():
    assert spaced(*[5] * 500, *[1] * 700).factor == pytest.approx(1.0, rel=0.01)


def test_the_same_time_twice_says_nothing():
    assert spaced(5, 0, 0, 5, 0).factor == pytest.approx(5**0.25)


def test_a_time_before_the_last_says_nothing():
    assert spaced(1, 1, -1, -1, 3).factor == pytest.approx(1.0)


def test_it_continues_as_the_dumped_one():
    draw = random.Random(3)
    spacing = spaced(*(draw.expovariate(0.2) for _ in range(150)))
    copy = Spacing.load(spacing.dump())
    assert (copy.factor, copy.dump()) == (spacing.factor, spacing.dump())


@pytest.mark.parametrize("kind", [NoveltyDetector, LiteDetector])
def test_what_is_as_surprising_counts_more_in_a_series_of_fewer_values(kind):
    """Within one hour of the week, so that only the spacing differs."""

    def last(apart: int) -> float:
        detector, draw = kind(), random.Random(4)
        for i in range(300):
            detector.learn(draw.gauss(10, 1), i * apart)
        return detector.score(30.0, 300 * apart).score or math.nan

    assert last(8_000) / last(500) == pytest.approx(2.0, rel=0.01)
