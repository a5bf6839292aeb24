"""The typical first week of a release, and tracks held against it."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.release import HOURS, LEAST, ReleaseCurve, ReleasedTrack
from models.errors import StateError

HOUR = 3_600_000
RELEASED = 1_767_312_000_000


def plays(size, draw, hour):
    """Plays in an hour: decay over the week, a daily swing, and 10 % of noise."""
    shape = math.exp(-hour / 60) * (1 + 0.4 * math.sin(2 * math.pi * hour / 24))
    return size * shape * math.exp(draw.gauss(0, 0.1))


def release(seed):
    """A week of a release of any size, from hundreds to a million plays an hour."""
    draw = random.Random(seed)
    size = 10 ** draw.uniform(2.5, 6)
    return [plays(size, draw, hour) for hour in range(HOURS)]


def curve_of(n):
    curve = ReleaseCurve()
    for seed in range(n):
        curve.learn(release(seed))
    return curve


def follow(track, counts):
    verdicts = []
    for hour, count in enumerate(counts):
        verdicts.append(track.score(count, RELEASED + hour * HOUR))
        track.learn(count, RELEASED + hour * HOUR)
    return verdicts


def test_it_says_nothing_until_enough_releases_were_seen():
    for n, speaks in ((LEAST - 1, False), (LEAST, True)):
        verdict = ReleasedTrack(curve_of(n), RELEASED).score(100.0, RELEASED)
        assert (verdict.score is not None) == speaks


@pytest.mark.parametrize("seed", [100, 101, 102, 103])
def test_a_release_like_others_is_no_surprise_whatever_its_size(seed):
    scores = [v.score for v in follow(ReleasedTrack(curve_of(40), RELEASED), release(seed))]

    assert sum(score > 3 for score in scores[6:]) <= 8
    assert sorted(scores)[HOURS // 2] < 1.5


@pytest.mark.parametrize(
    ("factor", "shape", "direction"),
    [(5.0, "spike", 1), (0.15, "dip", -1), (0.0, "drop to zero", -1)],
)
def test_what_leaves_the_typical_course_is_found_and_named(factor, shape, direction):
    """In hour 60 this release is still at a third of its first day: no threshold would know."""
    counts = release(100)
    counts[60] *= factor
    verdict = follow(ReleasedTrack(curve_of(40), RELEASED), counts)[60]

    assert verdict.score > 4
    assert (verdict.shape, verdict.direction) == (shape, direction)
    assert verdict.tail < 0.01
    assert verdict.contributions == (("against the typical release", verdict.score),)


def test_a_track_that_does_not_fade_is_found_though_it_never_jumps():
    counts = [count * math.exp(hour / 120) for hour, count in enumerate(release(100))]
    scores = [v.score for v in follow(ReleasedTrack(curve_of(40), RELEASED), counts)]

    assert max(scores[:24]) < max(scores[72:])
    assert max(scores[72:]) > 3


def test_the_band_is_in_plays_and_holds_most_of_them():
    counts = release(104)
    verdicts = follow(ReleasedTrack(curve_of(40), RELEASED), counts)
    inside = [v.low <= count <= v.high for v, count in zip(verdicts, counts, strict=True)]

    assert sum(inside) > 0.9 * HOURS
    assert all(0 <= v.low <= v.high for v in verdicts)


def test_before_the_release_and_after_the_week_nothing_is_said():
    track = ReleasedTrack(curve_of(10), RELEASED)

    for at in (RELEASED - 1, RELEASED + HOURS * HOUR):
        assert track.score(5.0, at).score is None
        track.learn(5.0, at)
    assert track.level == 0


def test_an_hour_alone_says_little_of_a_tracks_level():
    curve = curve_of(40)
    track = ReleasedTrack(curve, RELEASED)
    track.learn(100 * curve.typical(0), RELEASED)

    assert 0.5 < track.level < 0.5 * math.log(100)


def test_releases_of_a_few_hours_teach_those_hours():
    curve = ReleaseCurve()
    for seed in range(10):
        curve.learn(release(seed)[:24])

    assert curve.typical(23) is not None
    assert curve.typical(24) is None
    assert [curve.typical(hour) for hour in (-1, 168)] == [None, None]
    assert ReleasedTrack(curve, 0).score(9.0, 24 * HOUR).score is None


def test_score_changes_nothing():
    track = ReleasedTrack(curve_of(10), RELEASED)

    assert track.score(50.0, RELEASED) == track.score(50.0, RELEASED)


@given(
    weeks=st.lists(st.lists(st.floats(0, 1e300), max_size=6), max_size=8), value=st.floats(0, 1e300)
)
def test_any_counts_are_survived_and_the_state_goes_on_identically(weeks, value):
    curve = ReleaseCurve()
    for counts in weeks:
        curve.learn(counts)
    again = ReleaseCurve.load(curve.dump())

    assert again.dump() == curve.dump()
    verdict = ReleasedTrack(curve, 0).score(value, 0)
    assert verdict == ReleasedTrack(again, 0).score(value, 0)
    assert verdict.score is None or math.isfinite(verdict.score)
    for each in (curve, again):
        each.learn([value, value])
    assert again.dump() == curve.dump()


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_what_is_no_count_is_refused(value):
    curve = curve_of(5)
    before = curve.dump()

    with pytest.raises(ValueError, match=r"fewer than none|finite"):
        curve.learn([1.0, value])
    with pytest.raises(ValueError, match=r"fewer than none|finite"):
        ReleasedTrack(curve, 0).score(value, 0)
    assert curve.dump() == before


def test_more_than_a_week_is_refused():
    with pytest.raises(ValueError, match="at most 168"):
        ReleaseCurve().learn([1.0] * 169)


def test_foreign_and_damaged_states_are_refused():
    state = msgspec.msgpack.decode(curve_of(5).dump())
    assert len(curve_of(5).dump()) < 4096
    for damaged in (["release/9", *state[1:]], state[:-1], [*state[:2], b"", *state[3:]], []):
        with pytest.raises(StateError):
            ReleaseCurve.load(msgspec.msgpack.encode(damaged))
    with pytest.raises(StateError):
        ReleaseCurve.load(b"\xc1")
