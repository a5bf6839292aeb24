"""The parts of segmenting: scaling, the choice of k, identity, features and words."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from river import preprocessing

from ml.segmenting import choice
from ml.segmenting.clusters import OnlineKMeans
from ml.segmenting.features import FEATURES, NAMES, Listening, features
from ml.segmenting.identity import matched
from ml.segmenting.sample import KEPT_MS, SIZE, Sample
from ml.segmenting.scaling import HORIZON, Scaler
from ml.segmenting.segmenter import Segmenter
from ml.segmenting.wording import describe

DAY = 86_400_000
WIDTH = len(FEATURES)


def listening(**changes):
    """A listener of 100 plays over ten days, spread evenly over everything."""
    usual = {
        "plays": 100, "skips": 10, "completes": 80, "days": 10.0, "recent": 14.0, "tracks": 8,
        "hours": [4] * 24, "gaps": [5] * 16,
        "sources": {"playlist": 20, "album": 20, "search": 20, "radio": 20, "autoplay": 20},
        "platforms": {"ios": 50, "web": 25, "speaker": 25},
    }  # fmt: skip
    return Listening(**(usual | changes))


def named(vector):
    return dict(zip(NAMES, vector, strict=True))


def blobs(n, k, seed=1, spread=0.4, shift=0.0):
    draw = np.random.default_rng(seed)
    middles = draw.uniform(-4, 4, (k, WIDTH)) + shift
    return middles[np.arange(n) % k] + draw.normal(0, spread, (n, WIDTH))


def test_features_follow_what_a_listener_does():
    usual = named(features(listening()))
    other = named(
        features(
            listening(
                skips=60, completes=20, tracks=1, gaps=[10] * 15 + [1],
                hours=[50, 50] + [0] * 22, sources={"radio": 100}, platforms={"speaker": 100},
            )
        )
    )  # fmt: skip

    for more in ("skip", "session", "regularity", "night", "radio", "home"):
        assert other[more] > usual[more], more
    for less in ("completion", "diversity", "playlist", "mobile", "computer", "daytime"):
        assert other[less] < usual[less], less


def test_a_rate_is_shown_in_plays_a_day():
    place = NAMES.index("rate")
    vector = features(listening(plays=100, days=9.5))

    assert FEATURES[place].shown(vector[place]) == pytest.approx(10.0)


def test_features_are_finite_and_shares_are_shares_even_of_a_single_play():
    hours = [1] + [0] * 23
    one = named(
        features(
            listening(plays=1, skips=0, completes=0, days=0.0, recent=1.0, tracks=0, hours=hours,
                      gaps=[0] * 16, sources={"radio": 1}, platforms={"tv": 1})
        )
    )  # fmt: skip

    assert all(math.isfinite(v) for v in one.values())
    assert sum(one[n] for n in ("night", "morning", "daytime", "evening")) == pytest.approx(1)
    assert sum(one[n] for n in ("mobile", "computer", "home")) == pytest.approx(1)
    assert one["radio"] < 0.3  # one play says little


def test_the_scale_is_that_of_rivers_standard_scaler():
    draw, river_own, ours = random.Random(1), preprocessing.StandardScaler(), Scaler(3)
    for _ in range(500):
        x = [draw.gauss(50, 3), draw.expovariate(2), 7.0]
        river_own.learn_one(dict(enumerate(x)))
        ours.learn(np.array(x))

    assert ours.mean.tolist() == pytest.approx([river_own.means[i] for i in range(3)])
    assert ours.variance.tolist() == pytest.approx([river_own.vars[i] for i in range(3)])
    assert ours.deviation()[2] == 0.0


def test_the_scale_follows_a_population_that_changes_for_good():
    scaler = Scaler(1)
    for i in range(4 * HORIZON):
        scaler.learn(np.array([0.0 if i < HORIZON else 10.0]))

    assert scaler.mean[0] > 9.0


def test_a_sample_is_the_same_in_whatever_order_listeners_come():
    names = [f"l{i}" for i in range(SIZE + 500)]
    one, other = Sample(), Sample()
    for name in names:
        one.take(name, np.array([float(name[1:])]), 0)
    for name in reversed(names):
        other.take(name, np.array([float(name[1:])]), 0)

    assert len(one) == SIZE
    assert one.dump() == other.dump()


def test_a_listener_is_taken_once_a_day_with_the_latest_vector_and_forgotten():
    sample = Sample()

    assert sample.take("me", np.array([1.0]), DAY)
    assert not sample.take("me", np.array([2.0]), DAY + 5)
    assert sample.take("me", np.array([3.0]), 2 * DAY)
    assert sample.points().tolist() == [[3.0]]
    sample.forget(2 * DAY + KEPT_MS + 1)
    assert len(sample) == 0


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_the_number_of_clusters_is_found_where_it_is_plain(k):
    model = OnlineKMeans()
    model.review(blobs(600, k))

    assert len(model.centres) == k


def test_another_number_of_clusters_must_be_wanted_twice():
    model = OnlineKMeans()
    model.review(blobs(600, 3))

    assert not model.review(blobs(600, 3))
    model.review(blobs(600, 5, seed=2))
    assert len(model.centres) == 3
    model.review(blobs(600, 5, seed=2))
    assert len(model.centres) == 5


def test_a_doubt_that_passes_is_forgotten():
    model = OnlineKMeans()
    for k in (3, 5, 3, 5):
        model.review(blobs(600, k, seed=k))

    assert len(model.centres) == 3


def test_centres_go_to_where_vectors_are():
    model = OnlineKMeans(k=2)
    model.review(blobs(200, 2))
    target = blobs(2_000, 2, shift=0.5)
    before = choice.cost(target, model.centres)
    for point in target:
        model.learn(point)

    assert choice.cost(target, model.centres) < 0.7 * before


def test_identity_is_the_nearest_pairing_and_what_is_far_is_new():
    old = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    new = np.array([[0.1, 9.5], [50.0, 50.0], [0.3, 0.2], [9.9, 0.4]])

    assert matched(old, new) == [2, None, 0, 1]
    assert matched(np.zeros((0, 2)), new) == [None] * 4


def test_ids_stay_when_clusters_move_and_none_is_given_twice():
    segmenter = Segmenter()
    for day in range(12):
        k = 3 if day < 5 else 4
        points = blobs(240, 4, shift=0.05 * day)
        for i in range(240):
            segmenter.learn(f"l{i}", points[i if i % 4 < k else i - 1].tolist(), day * DAY)
        if day == 4:
            before = {s.id for s in segmenter.segments()}

    after = {s.id: s for s in segmenter.segments()}
    assert before < after.keys()
    assert len(after) == 4
    assert {after[i].since for i in before} == {0}
    assert max(s.since for s in after.values()) > 4 * DAY


def test_a_segment_that_moves_drifts_and_one_that_stays_does_not():
    segmenter, still = Segmenter(), blobs(240, 3, spread=0.6)
    for day in range(16):
        points = still.copy()
        points[::3] += 0.25 * max(0, day - 7)
        for i, point in enumerate(points):
            segmenter.learn(f"l{i}", point.tolist(), day * DAY)
    moved = segmenter.assign(points[0].tolist()).segment
    drifts = {s.id: s.drift for s in segmenter.segments()}

    assert drifts[moved] == max(drifts.values())
    assert drifts[moved] > 2 * sorted(drifts.values())[-2]


def test_a_listener_at_the_border_stays_where_they_are():
    segmenter = Segmenter()
    for i, point in enumerate(blobs(200, 2)):
        segmenter.learn(f"l{i}", point.tolist(), 0)
    one, other = (blobs(200, 2)[i::2].mean(axis=0) for i in (0, 1))
    first, second = (segmenter.assign(p.tolist()).segment for p in (one, other))
    border = (0.49 * one + 0.51 * other).tolist()

    assert segmenter.assign(border).segment == second
    assert segmenter.assign(border, first).segment == first
    assert segmenter.assign((0.2 * one + 0.8 * other).tolist(), first).segment == second
    assert segmenter.assign(border, "s99").segment == second


@pytest.mark.parametrize(
    ("off", "words"),
    [
        ({}, "average listeners"),
        ({"night": 2.1, "session": 0.9, "radio": 1.5}, "night listeners, radio, long sessions"),
        ({"skip": -0.8, "night": -2.0}, "listeners, hardly skip"),
        ({"morning": 0.6, "evening": 0.9}, "evening listeners"),
        ({"skip": 3.0, "search": 2.0, "rate": 1.5, "mobile": 1.0, "diversity": 0.9},
         "listeners, skip often, search, listen a lot"),
    ],
)  # fmt: skip
def test_words_say_when_and_then_what_is_most_unusual(off, words):
    assert describe([off.get(name, 0.0) for name in NAMES]) == words


def test_a_worse_parting_is_worth_less():
    points = blobs(300, 3)
    right = choice.fit(points, 3, np.random.default_rng(1), 4)[0]
    worths = [choice.worth(points, right), choice.worth(points, right[:2] + 1.0)]

    assert all(a > b for a, b in pairwise(worths))


def test_a_number_of_clusters_that_is_not_enough_is_left_after_two_reviews():
    """Whatever others are wanted: before, two reviews had to want the same one, and seldom did."""
    online = OnlineKMeans()
    online.review(blobs(600, 2))
    assert len(online.centres) == 2
    online.review(blobs(600, 6))
    assert len(online.centres) == 2
    online.review(blobs(600, 8))
    assert len(online.centres) > 6


def test_a_number_that_is_nearly_the_best_is_kept():
    worths = {5: 0.345, 6: 0.375, 7: 0.400}
    assert choice.fewest(worths) == 6
    assert choice.is_enough(worths, 5)
    assert not choice.is_enough(worths | {7: 0.406}, 5)


def test_the_worth_of_a_number_is_that_of_its_cheapest_fit(monkeypatch):
    """A dear fit that parts well is not the one that would be taken."""
    fits = iter([(np.zeros((2, 2)), 9.0), (np.ones((2, 2)), 5.0), (np.zeros((2, 2)), 8.0)] * 9)
    monkeypatch.setattr(choice, "settle", lambda *_: next(fits))
    monkeypatch.setattr(choice, "worth", lambda _, centres: 0.9 - 0.4 * centres[0, 0])
    found = choice.worths(np.random.default_rng(1).normal(0, 1, (50, 2)), np.random.default_rng(2))
    assert set(found.values()) == {0.5}
