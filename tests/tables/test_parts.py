"""Parts: names, exact and order-free merging, and how near the estimates come."""

import hashlib
import math
import random
from fractions import Fraction
from functools import reduce
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Measure, load_series_config
from models.records import Value
from tables import sketches
from tables.partials import fault_of
from tables.parts import (
    Evaluator,
    buckets,
    evaluate,
    evaluate_metric,
    event_count,
    merge,
    merge_parts,
    moments,
    part_names,
    registers,
    split_name,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
columns = st.lists(finite, max_size=12)
hashes = st.lists(st.integers(0, 2**64 - 1), max_size=40)
MAKERS = {"s:x": (moments, columns), "q:x": (buckets, columns), "d:x": (registers, hashes)}


def hash64(text: object) -> int:
    return int.from_bytes(hashlib.blake2b(str(text).encode(), digest_size=8).digest(), "big")


# -- names ------------------------------------------------------------------------------------------


def test_the_shipped_measures_need_these_parts():
    measures = load_series_config(Path("config/series.toml")).measures
    assert part_names(measures) == (
        "n", "d:listener_id", "n:eligible", "n:failed", "n:skipped", "q:startup_ms", "s:completion",
    )  # fmt: skip


def test_a_predicate_is_part_of_the_name():
    measures = [Measure("m", "mean", where="eligible", of="completion"), Measure("c", "count")]
    assert part_names(measures) == ("n", "s:completion:eligible")
    assert split_name("s:completion:eligible") == ("s", "completion", "eligible")
    assert split_name("n:failed") == ("n", None, "failed")
    assert split_name("n") == ("n", None, None)


# -- merging ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
@given(data=st.data())
def test_merging_is_the_union_in_any_order_and_grouping(name, data):
    make, values = MAKERS[name]
    a, b, c = data.draw(values), data.draw(values), data.draw(values)
    whole = make(a + b + c)
    assert merge(name, merge(name, make(a), make(b)), make(c)) == whole
    assert merge(name, make(c), merge(name, make(b), make(a))) == whole
    assert make((c + b + a)[::-1]) == whole


@pytest.mark.parametrize("name", MAKERS)
@given(data=st.data())
def test_a_part_survives_msgpack(name, data):
    make, values = MAKERS[name]
    part = make(data.draw(values))
    back = msgspec.msgpack.decode(msgspec.msgpack.encode(part))
    assert back == part
    assert fault_of({name: back}) is None


@given(st.lists(columns, min_size=1, max_size=4))
def test_moments_are_exact(groups):
    merged = reduce(lambda a, b: merge("s:x", a, b), map(moments, groups))
    values = [Fraction(v) for group in groups for v in group]
    scale = Fraction(2) ** merged[3]
    assert merged[0] == len(values)
    assert int(merged[1]) * scale == sum(values)
    assert int(merged[2]) * scale**2 == sum(v * v for v in values)
    if values:
        assert sketches.mean(merged) == pytest.approx(float(sum(values) / len(values)), rel=1e-15)


def test_whole_numbers_have_small_moments():
    assert moments([1, 2, 3]) == [3, 6, 14, 0, 1.0, 3.0]


def test_moments_refuse_what_is_no_number():
    with pytest.raises((OverflowError, ValueError)):
        moments([math.inf])
    with pytest.raises((OverflowError, ValueError)):
        moments([1.0, math.nan])


def test_merged_parts_share_nothing_with_their_source():
    source = {"n": 1, "q:x": {7: 1}, "s:x": moments([1.0])}
    before = msgspec.msgpack.encode(source)
    into = merge_parts({}, source)
    merge_parts(into, source)
    merge_parts(into, source)
    assert into["n"] == 3
    assert into["q:x"] == {7: 3}
    assert msgspec.msgpack.encode(source) == before


# -- accuracy ---------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-1e300, 1e300).filter(lambda v: v == 0 or abs(v) > 1e-300), min_size=1),
    st.floats(0, 1),
)
def test_a_quantile_is_within_one_percent_of_its_order_statistic(values, q):
    _, [found] = sketches.quantiles(buckets(values), [q])
    true = sorted(values)[math.floor(q * (len(values) - 1))]
    assert found == pytest.approx(true, rel=0.01 + 1e-9)


def test_buckets_are_bounded_and_keep_the_largest():
    rng = random.Random(1)
    values = [10 ** rng.uniform(-200, 200) * rng.choice((-1, 1)) for _ in range(20_000)]
    parts = [buckets(values[i::7]) for i in range(7)]
    merged = reduce(sketches.merge_buckets, parts)
    assert merged == buckets(values)
    assert len(merged) == sketches.MAX_BUCKETS + 1
    assert sum(merged.values()) == len(values)
    _, [top] = sketches.quantiles(merged, [0.9999])
    assert top == pytest.approx(sorted(values)[math.floor(0.9999 * 19_999)], rel=0.01)


@pytest.mark.parametrize("n", [0, 1, 20, 300, 2_000, 7_000, 8_000, 20_000, 300_000])
def test_distinct_counts_are_within_their_published_error(n):
    runs = 3 if n > 10_000 else 20
    errors = [
        sketches.distinct(registers(hash64(f"{run}/{i}") for i in range(n))) / n - 1
        for run in range(runs)
        if n
    ]
    rms = math.sqrt(sum(e * e for e in errors) / runs)
    assert rms <= 0.016 * 1.5
    assert sketches.distinct({}) == 0


def test_hashes_may_be_signed():
    assert registers([-1, -(2**63)]) == registers([2**64 - 1, 2**63])


# -- measures ---------------------------------------------------------------------------------------

PARTS = {
    "n": 8,
    "n:failed": 2,
    "s:completion": moments([0.25, 0.5, 0.5, 0.75]),
    "q:startup_ms": buckets([100, 200, 300]),
    "d:listener_id": registers(map(hash64, "abcde")),
}


def measure(kind, **fields):
    return Measure("m", kind, **fields)


def test_what_each_kind_comes_to():
    assert evaluate(measure("count"), PARTS) == Value(8.0, 8.0)
    assert evaluate(measure("count", where="failed"), PARTS) == Value(2.0, 2.0)
    assert evaluate(measure("ratio", where="failed"), PARTS) == Value(0.25, 8.0)
    mean = evaluate(measure("mean", of="completion"), PARTS)
    assert mean == Value(0.5, 4.0, minimum=0.25, maximum=0.75, variance=0.03125)
    median = evaluate(measure("quantile", of="startup_ms", q=0.5), PARTS)
    assert median.value == pytest.approx(200, rel=0.01)
    assert median.weight == 3
    assert evaluate(measure("distinct", of="listener_id"), PARTS) == Value(5.0, 8.0)


def test_what_nothing_comes_to():
    assert evaluate(measure("count"), {}) == Value(0.0, 0.0)
    assert evaluate(measure("count", where="failed"), {}) == Value(0.0, 0.0)
    assert evaluate(measure("ratio", where="failed"), {}) == Value(None, 0.0)
    assert evaluate(measure("mean", of="completion"), {}) == Value(None, 0.0)
    assert evaluate(measure("quantile", of="startup_ms", q=0.5), {}) == Value(None, 0.0)
    assert evaluate(measure("distinct", of="listener_id"), {}) == Value(0.0, 0.0)
    assert evaluate_metric({}) == Value(None, 0.0)
    assert event_count({}) == 0


def test_quantiles_of_one_field_agree_with_single_ones():
    measures = [
        Measure(f"p{q}", "quantile", of="startup_ms", q=q / 100) for q in (1, 50, 95, 99)
    ]  # fmt: skip
    together = Evaluator(measures)(PARTS)
    assert together == {m.name: evaluate(m, PARTS) for m in measures}


def test_a_metric_is_the_mean_of_its_samples():
    value = evaluate_metric({"s:value": moments([1e300, 1e300]), "q:value": buckets([1e300] * 2)})
    assert (value.value, value.weight) == (1e300, 2)
    assert evaluate_metric({"s:value": moments([1e-9] * 3)}).value == 1e-9
    assert evaluate_metric({"s:value": moments([0.1] * 10)}).value == 0.1
    assert event_count({"s:value": moments([0.1] * 10)}) == 10


def test_variance_too_large_for_a_float_is_left_out():
    value = evaluate_metric({"s:value": moments([1e300, -1e300])})
    assert value.variance is None
    assert value.maximum == 1e300
