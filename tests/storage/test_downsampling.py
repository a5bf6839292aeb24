"""Merging points, as properties; the examples are in the contract of the windows query."""

import itertools
import math

from hypothesis import given
from hypothesis import strategies as st

from models.records import Value
from storage.downsampling import downsample, point_of, render, with_gaps
from storage.protocols import Point
from storage.resolution import Plan, Resolution, choose

_VALUES = st.builds(
    Value,
    value=st.none() | st.floats(-1e6, 1e6),
    weight=st.floats(0, 1e6),
    score=st.none() | st.floats(0, 1e3),
    minimum=st.none() | st.floats(-1e6, 1e6),
    maximum=st.none() | st.floats(-1e6, 1e6),
)


@st.composite
def points(draw: st.DrawFn) -> list[Point]:
    starts = sorted(draw(st.sets(st.integers(0, 60), min_size=1)))
    return [point_of(start * 10, 10, draw(st.integers(0, 2)), draw(_VALUES)) for start in starts]


@given(points(), st.sampled_from([10, 20, 60, 70, 1000]))
def test_counts_and_weights_are_neither_lost_nor_made(given: list[Point], step: int):
    merged = downsample(given, step, count=True)
    for field in ("value", "weight"):
        before = math.fsum(getattr(p, field) or 0.0 for p in given)
        after = math.fsum(getattr(p, field) or 0.0 for p in merged)
        assert math.isclose(before, after, rel_tol=1e-9, abs_tol=1e-6)


@given(points(), st.sampled_from([10, 20, 60, 70, 1000]))
def test_a_mean_lies_among_its_values_and_extremes_survive(given: list[Point], step: int):
    for merged in downsample(given, step, count=False):
        inside = [p for p in given if merged.start <= p.start < merged.end and p.value is not None]
        if not inside:
            assert (merged.value, merged.minimum, merged.maximum, merged.score) == (None,) * 4
            continue
        low, high = min(p.value for p in inside), max(p.value for p in inside)
        assert low - 1e-6 <= merged.value <= high + 1e-6
        own = [p.minimum if p.minimum is not None else p.value for p in inside]
        assert merged.minimum == min(own)
        scores = [p.score for p in inside if p.score is not None]
        assert merged.score == max(scores, default=None)


@given(points(), st.sampled_from([10, 20, 60, 70]))
def test_points_lie_on_the_steps_in_order(given: list[Point], step: int):
    merged = downsample(given, step, count=False)
    assert [p.start for p in merged] == sorted({p.start // step * step for p in given})
    assert all(p.end - p.start == step for p in merged)


@given(points())
def test_with_its_gaps_a_series_has_no_holes(given: list[Point]):
    filled = with_gaps(given, 10)
    assert [p for p in filled if p in given] == given
    for before, after in itertools.pairwise(filled):
        assert before.end == after.start
    assert len(filled) < 2 * len(given)


@given(points(), st.integers(1, 5))
def test_a_limit_keeps_the_oldest(given: list[Point], limit: int):
    plan = Plan(10, 10, 10, None)
    assert render(given, plan, False, limit) == with_gaps(given, 10)[:limit]


_RESOLUTIONS = st.lists(
    st.builds(
        lambda kind, first, length: Resolution(*kind, first, first + length),
        st.sampled_from([(10, 10), (60, 10), (3600, 60), (25, 10)]),
        st.integers(0, 10_000),
        st.integers(0, 100_000),
    ),
    max_size=4,
    unique_by=lambda r: r[:2],
)


@given(
    _RESOLUTIONS, st.integers(-5, 50_000), st.integers(1, 10**9),
    st.none() | st.integers(1, 10_000), st.none() | st.sampled_from([10, 60, 25, 7]),
    st.integers(1, 100),
)  # fmt: skip
def test_a_plan_reads_one_of_the_kinds_that_are_there(available, since, length, step, size, limit):
    plan = choose(available, since, since + length, step, size, limit)
    if plan is None:
        assert not available or size is not None or all(r.size % r.slide for r in available)
        return
    assert (plan.size, plan.slide) in {r[:2] for r in available}
    assert plan.stride % plan.slide == 0
    assert size in {None, plan.size}
    if plan.step is not None:
        assert plan.step >= plan.size
    if size is None:
        assert plan.stride >= plan.size or step is not None
