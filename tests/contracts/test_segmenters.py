"""What a segmenter must do with either clusterer, whatever the listeners are like."""

import math
import random
import warnings

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import cluster
from river.checks import common

from ml.segmenting import clusters
from ml.segmenting.features import FEATURES, NAMES
from ml.segmenting.sample import SIZE
from ml.segmenting.segmenter import Segmenter
from models.errors import ConfigurationError, StateError

DAY = 86_400_000
KINDS = ("kmeans", "dbstream")
WIDTH = len(FEATURES)
MAX_BYTES = 400_000

every_kind = pytest.mark.parametrize("kind", KINDS)


def groups(n, seed=1, centres=3, spread=0.3):
    """`n` listeners with features around a few centres far apart: name, vector, group."""
    draw = random.Random(seed)
    middles = [[draw.uniform(-5, 5) for _ in range(WIDTH)] for _ in range(centres)]
    return [
        (f"l{i}", tuple(draw.gauss(m, spread) for m in middles[i % centres]), i % centres)
        for i in range(n)
    ]


def taught(kind, data, days=1):
    segmenter = Segmenter(kind)
    for day in range(days):
        for name, vector, _ in data:
            segmenter.learn(name, vector, day * DAY)
    return segmenter


@every_kind
def test_nobody_is_assigned_before_there_are_segments(kind):
    segmenter = taught(kind, groups(clusters.WARM_UP - 1))

    assert segmenter.assign(groups(1)[0][1]) is None
    assert segmenter.segments() == []
    assert not segmenter.is_ready


@every_kind
def test_the_state_continues_identically_from_every_cut(kind):
    data = [(n, v, day) for day in range(3) for n, v, _ in groups(130)]
    whole = Segmenter(kind)
    cuts = {50, 99, 100, 101, 130, 131, 199, 260, 300}
    states = {}
    for i, (name, vector, day) in enumerate(data):
        if i in cuts:
            states[i] = whole.dump()
        whole.learn(name, vector, day * DAY)

    for cut, state in states.items():
        again = Segmenter.load(state)
        assert again.dump() == state
        for name, vector, day in data[cut:]:
            again.learn(name, vector, day * DAY)
        assert again.dump() == whole.dump()
        assert [again.assign(v) for _, v, _ in data[:20]] == [
            whole.assign(v) for _, v, _ in data[:20]
        ]


@every_kind
def test_assigning_changes_nothing(kind):
    segmenter = taught(kind, groups(150))
    before = segmenter.dump()
    segmenter.assign(groups(1)[0][1], "s1")
    segmenter.segments()

    assert segmenter.dump() == before


@every_kind
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_and_leave_no_trace(kind, value):
    segmenter = taught(kind, groups(150))
    before = segmenter.dump()
    vector = (value, *([0.0] * (WIDTH - 1)))

    with pytest.raises(ValueError, match="feature 0 is not finite"):
        segmenter.learn("l1", vector, DAY)
    with pytest.raises(ValueError, match="finite"):
        segmenter.assign(vector)
    assert segmenter.dump() == before


@every_kind
def test_a_vector_of_another_length_is_refused(kind):
    with pytest.raises(ValueError, match=r"\(2,\).*18 features"):
        Segmenter(kind).learn("l1", (1.0, 2.0), 0)


@every_kind
def test_memory_and_state_stay_within_bounds(kind):
    segmenter, draw = Segmenter(kind), random.Random(3)
    for i in range(SIZE + 700 if kind == "kmeans" else 500):
        vector = [draw.gauss(0, 1) * 10 ** draw.uniform(-9, 9) for _ in range(WIDTH)]
        segmenter.learn(f"l{i}", vector, i * DAY // 1_000)

    assert len(segmenter._sample) <= SIZE
    assert len(segmenter.dump()) <= MAX_BYTES


@every_kind
def test_one_listener_only_is_no_segment_however_often_seen(kind):
    segmenter = Segmenter(kind)
    for day in range(300):
        segmenter.learn("me", groups(1)[0][1], day * DAY)

    assert not segmenter.is_ready


@every_kind
def test_listeners_who_are_all_the_same_share_a_segment(kind):
    same = groups(1)[0][1]
    segmenter = Segmenter(kind)
    for i in range(150):
        segmenter.learn(f"l{i}", same, 0)

    found = segmenter.assign(same)
    assert found.distance == pytest.approx(0.0, abs=1e-6)
    assert all(math.isfinite(v) for s in segmenter.segments() for v in s.centre.values())


@every_kind
@pytest.mark.parametrize("scale", [1e-120, 1e-6, 1e9, 1e300])
def test_huge_and_tiny_magnitudes_are_survived(kind, scale):
    data = [(n, tuple(x * scale for x in v), g) for n, v, g in groups(220)]
    segmenter = taught(kind, data, days=2)

    assert all(math.isfinite(segmenter.assign(v).distance) for _, v, _ in data)
    assert all(math.isfinite(s.drift) for s in segmenter.segments())


@every_kind
@settings(max_examples=8, deadline=None)
@given(
    values=st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=WIDTH, max_size=WIDTH),
        min_size=1,
        max_size=8,
    )
)
def test_any_finite_vectors_are_survived(kind, values):
    segmenter = Segmenter(kind)
    for i in range(110):
        segmenter.learn(f"l{i}", values[i % len(values)], 0)

    found = segmenter.assign(values[0])
    assert found is not None
    assert math.isfinite(found.distance)
    assert Segmenter.load(segmenter.dump()).dump() == segmenter.dump()


@every_kind
def test_two_segmenters_share_nothing(kind):
    one, other = Segmenter(kind), Segmenter(kind)
    untouched = other.dump()
    for name, vector, _ in groups(120):
        one.learn(name, vector, 0)

    assert other.dump() == untouched


def test_what_is_given_is_not_kept_by_reference():
    segmenter = taught("kmeans", groups(120))
    vector = np.array(groups(1)[0][1])
    segmenter.learn("new", vector, 0)
    before = segmenter.dump()
    vector[:] = 99.0

    assert segmenter.dump() == before


@every_kind
def test_damaged_and_foreign_states_are_refused(kind):
    state = msgspec.msgpack.decode(taught(kind, groups(120)).dump())
    broken = [
        b"", b"\xc1", b"\x80", msgspec.msgpack.encode([]),
        msgspec.msgpack.encode(["segmenter/99", *state[1:]]),
        msgspec.msgpack.encode([state[0], [*NAMES[:-1], "mood"], *state[2:]]),
        msgspec.msgpack.encode(state[:-1]),
        msgspec.msgpack.encode([*state[:2], *("x" for _ in state[2:])]),
        msgspec.msgpack.encode([*state[:6], ["birch/1"], *state[7:]]),
        msgspec.msgpack.encode([*state[:7], state[7][:-1], *state[8:]]),
        msgspec.msgpack.encode([*state[:-1], [math.inf, 0]]),
    ]  # fmt: skip
    for data in broken:
        with pytest.raises(StateError):
            Segmenter.load(data)


def test_an_unknown_clusterer_is_answered_with_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'denstream'.*dbstream, kmeans"):
        Segmenter("denstream")


CHECKS_OF_RIVER = [
    common.check_repr, common.check_str, common.check_tags, common.check_doc,
    common.check_clone_same_class, common.check_clone_is_idempotent,
    common.check_clone_changes_memory_addresses, common.check_init_has_default_params_for_tests,
    common.check_init_default_params_are_not_mutable, common.check_get_params_matches_signature,
    common.check_pickling, common.check_clone_is_independent,
]  # fmt: skip


@pytest.mark.parametrize("make", [clusters.OnlineKMeans, clusters.Dbstream])
@pytest.mark.parametrize("check", CHECKS_OF_RIVER, ids=lambda c: c.__name__)
def test_river_accepts_it_as_an_estimator(make, check):
    data = [({str(i): x for i, x in enumerate(v[:4])}, None) for _, v, _ in groups(150)]
    takes_data = check.__code__.co_argcount > 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(make(), data) if takes_data else check(make())


def far_from_nought():
    """Two kinds of machines, as River's issue has them: cpu about 50, memory about 2,000."""
    draw = random.Random(5)
    return [
        {"cpu": draw.gauss(50 + 30 * (i % 2), 2), "memory": draw.gauss(2_000 + 900 * (i % 2), 20)}
        for i in range(300)
    ]


def test_centres_are_seeded_from_data_and_not_around_nought():
    """River's own K-Means puts all of these into one cluster; ours parts them, unscaled as they are."""
    river_own, ours = cluster.KMeans(n_clusters=2, seed=1), clusters.OnlineKMeans(k=2)
    for x in far_from_nought():
        river_own.learn_one(x)
        ours.learn_one(x)
    theirs = [river_own.predict_one(x) for x in far_from_nought()]
    found = [ours.predict_one(x) for x in far_from_nought()]

    assert len(set(theirs)) == 1
    assert found in ([0, 1] * 150, [1, 0] * 150)
