"""What every store must answer about a series' windows: memory, SQLite and InfluxDB alike."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import Measure
from models.records import Value, Window
from storage.protocols import Point, Queries, Rows
from tests.storage.rows import (
    CONFIG,
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    metric,
    plays,
    rows,
    series,
    window,
)
from tests.storage.stores import RANGE, Store, make_store

TWINS = ("memory", "sqlite")


@pytest.fixture(params=(*TWINS, "influxdb"))
def any_store(request: pytest.FixtureRequest) -> Store:
    """A store that answers for windows."""
    return make_store(request.param, request)


async def ask(queries: Queries, key: str = series(), **asked: object) -> list[Point]:
    given = {
        "tenant": "acme", "series": key, "stream": "live", "since": RANGE[0], "until": RANGE[1],
        "step": None, "size": None, "limit": 1000,
    }  # fmt: skip
    return list(await queries.windows(**{**given, **asked}))


async def test_a_point_says_all_that_its_window_says(any_store: Store):
    value = Value(
        value=2.5,
        weight=4.0,
        score=7.25,
        low=1.0,
        high=3.0,
        learning=True,
        minimum=0.5,
        maximum=9.0,
    )
    async with any_store.opened() as (sink, queries):
        await sink.write(rows(window(values={"completion": value}, revision=3)))
        expected = Point(
            start=T0, end=T0 + 10 * SECOND, value=2.5, minimum=0.5, maximum=9.0, weight=4.0,
            low=1.0, high=3.0, score=7.25, revision=3, learning=True,
        )  # fmt: skip
        assert await ask(queries, series("completion")) == [expected]


async def test_a_metric_is_found_by_its_name_and_tags(any_store: Store):
    tags = {"host": "a|b {c}=d,e%", "value": "", "time": "noon\\"}
    async with any_store.opened() as (sink, queries):
        await sink.write(rows(metric(value=0.5, tags=tags), metric(value=9.0, tags={})))
        (point,) = await ask(queries, series("cpu", tags=tags))
        assert point.value == 0.5
        (point,) = await ask(queries, series("cpu", tags={}))
        assert point.value == 9.0


async def test_a_metric_called_like_a_measure_does_not_hide_it(any_store: Store):
    for first, second in itertools.permutations([metric(value=5.0, name="plays"), window()]):
        async with any_store.opened() as (sink, queries):
            first.group = first.group.replace("{}", "{country=DE}")
            await sink.write(rows(first))
            await sink.write(rows(second))
            (point,) = await ask(queries)
            assert point.value == 3.0


async def test_series_with_more_or_fewer_tags_are_not_mixed_up(any_store: Store):
    both = {"country": "DE", "platform": "ios"}
    async with any_store.opened() as (sink, queries):
        await sink.write(
            rows(
                window(group="all", tags={}, count=9),
                window(count=5),
                window(group="country_platform", tags=both, count=2),
            )
        )
        for tags, count in (({}, 9), ({"country": "DE"}, 5), (both, 2)):
            (point,) = await ask(queries, series(tags=tags))
            assert point.value == count


async def test_a_series_nobody_has_seen_has_no_points(any_store: Store):
    async with any_store.opened() as (sink, queries):
        await sink.write(rows(window()))
        assert await ask(queries, series("listeners")) == []
        assert await ask(queries, "no key") == []
        assert await ask(queries, stream="replay") == []
        assert await ask(queries, size=MINUTE) == []


async def test_the_range_is_half_open_and_the_limit_keeps_the_oldest(any_store: Store):
    starts = [T0 + n * 10 * SECOND for n in range(6)]
    async with any_store.opened() as (sink, queries):
        await sink.write(Rows(windows=[window(start) for start in reversed(starts)]))
        found = await ask(queries, since=starts[1], until=starts[4])
        assert [p.start for p in found] == starts[1:4]
        found = await ask(queries, size=10 * SECOND, limit=2)
        assert [p.start for p in found] == starts[:2]
        assert len(await ask(queries, size=10 * SECOND, limit=0)) == 1


async def test_one_point_without_a_value_spans_missing_windows(any_store: Store):
    async with any_store.opened() as (sink, queries):
        await sink.write(rows(window(T0), window(T0 + 40 * SECOND)))
        first, gap, last = await ask(queries)
        assert (first.start, last.start) == (T0, T0 + 40 * SECOND)
        assert (gap.start, gap.end) == (T0 + 10 * SECOND, T0 + 40 * SECOND)
        assert (gap.value, gap.weight) == (None, 0.0)


async def test_a_window_without_a_value_is_a_point_without_a_value(any_store: Store):
    async with any_store.opened() as (sink, queries):
        await sink.write(rows(metric(value=None, tags={}), metric(T0 + 10 * SECOND, 2.0, tags={})))
        assert [p.value for p in await ask(queries, series("cpu", tags={}))] == [None, 2.0]


def _kinds_of_an_hour() -> list[Window]:
    """Ten-second, sliding minute and sliding hour windows over two hours, with known counts."""
    tens = [window(T0 + n * 10 * SECOND, count=1) for n in range(720)]
    minutes = [
        window(T0 + n * 10 * SECOND, size=MINUTE, slide=10 * SECOND, count=6) for n in range(715)
    ]
    hours = [window(T0 + n * MINUTE, size=HOUR, slide=MINUTE, count=360) for n in range(61)]
    return [*tens, *minutes, *hours]


@pytest.mark.parametrize(
    ("asked", "spacing", "span", "count", "points"),
    [
        ({"limit": 1000}, 10 * SECOND, 10 * SECOND, 1, 720),
        ({"limit": 200}, MINUTE, MINUTE, 6, 120),
        ({"limit": 5}, HOUR, HOUR, 360, 2),
        ({"step": 30 * SECOND}, 30 * SECOND, 30 * SECOND, 3, 240),
        ({"step": 5 * MINUTE}, 5 * MINUTE, 5 * MINUTE, 30, 24),
        ({"step": HOUR}, HOUR, HOUR, 360, 2),
        ({"size": MINUTE, "step": 5 * MINUTE}, 5 * MINUTE, 5 * MINUTE, 30, 24),
        ({"size": MINUTE}, 10 * SECOND, MINUTE, 6, 715),
        ({"size": HOUR, "step": 10 * MINUTE}, 10 * MINUTE, HOUR, 360, 7),
        ({"step": SECOND}, 10 * SECOND, 10 * SECOND, 1, 720),
    ],
)
async def test_size_and_step_choose_the_windows(
    any_store: Store, asked: dict, spacing: int, span: int, count: int, points: int
):
    async with any_store.opened() as (sink, queries):
        await sink.write(Rows(windows=_kinds_of_an_hour()))
        found = await ask(queries, since=T0, until=T0 + 2 * HOUR, **asked)
        assert len(found) == points
        assert {p.value for p in found} == {count}
        assert {p.end - p.start for p in found} == {span}
        assert {b.start - a.start for a, b in itertools.pairwise(found)} <= {spacing}


async def test_what_no_size_fits_is_merged_into_as_many_points_as_there_may_be(any_store: Store):
    async with any_store.opened() as (sink, queries):
        await sink.write(Rows(windows=_kinds_of_an_hour()))
        (point,) = await ask(queries, limit=1)
        assert point.value == 720.0
        assert point.start <= T0 < T0 + 2 * HOUR <= point.end


@pytest.mark.parametrize("name", TWINS)
async def test_a_size_that_was_swept_gives_way_to_one_that_is_kept(
    name: str, request: pytest.FixtureRequest
):
    now = T0 + 5 * DAY
    async with make_store(name, request).opened() as (sink, queries):
        days = range(0, 5 * DAY, HOUR)
        await sink.write(Rows(windows=[window(T0 + n, count=1) for n in days]))
        hours = [window(T0 + n, size=HOUR, slide=MINUTE, count=9) for n in days]
        await sink.write(Rows(windows=hours))
        await sink.sweep(now)
        found = await ask(queries, since=T0, until=T0 + DAY, limit=10_000)
        assert {p.value for p in found} == {9.0}
        found = await ask(queries, since=now - HOUR, until=now, limit=10_000)
        assert {p.value for p in found} == {1.0}


async def test_counts_add_up_and_the_rest_are_weighted_means(any_store: Store):
    async with any_store.opened() as (sink, queries):
        for n, (number, rate, weight) in enumerate([(4, 1.0, 4.0), (6, 0.5, 6.0), (0, None, 0.0)]):
            values = {
                "plays": plays(number, low=number - 1.0, high=number + 1.0),
                "error_rate": Value(
                    value=rate, weight=weight, score=float(n), minimum=rate, maximum=rate
                ),
            }
            await sink.write(rows(window(T0 + n * 10 * SECOND, values=values, revision=n)))
        (count,) = await ask(queries, step=MINUTE)
        assert (count.value, count.weight, count.low, count.high) == (10.0, 10.0, 7.0, 13.0)
        assert (count.minimum, count.maximum, count.revision) == (None, None, 2)
        (rate,) = await ask(queries, series("error_rate"), step=MINUTE)
        assert rate.value == pytest.approx(0.7)
        assert (rate.weight, rate.minimum, rate.maximum) == (10.0, 0.5, 1.0)
        assert (rate.score, rate.low) == (1.0, None)


async def test_samples_of_a_metric_are_averaged_even_where_value_and_weight_are_one(
    any_store: Store,
):
    async with any_store.opened() as (sink, queries):
        up = [metric(T0 + n * 10 * SECOND, 1.0, "up", tags={}) for n in range(6)]
        await sink.write(Rows(windows=up))
        (point,) = await ask(queries, series("up", tags={}), step=MINUTE)
        assert (point.value, point.weight) == (1.0, 6.0)


async def test_a_measure_unknown_to_the_configuration_is_a_count_if_its_weight_is_its_value(
    any_store: Store,
):
    assert Measure("saves", "count") not in CONFIG.measures
    async with any_store.opened() as (sink, queries):
        for n in range(2):
            values = {"saves": plays(n + 2), "depth": Value(value=2.0, weight=5.0)}
            await sink.write(rows(window(T0 + n * 10 * SECOND, values=values)))
        assert (await ask(queries, series("saves"), step=MINUTE))[0].value == 5.0
        assert (await ask(queries, series("depth"), step=MINUTE))[0].value == 2.0


# The twins agree.

_VALUES = st.builds(
    Value,
    value=st.none() | st.floats(-1e6, 1e6),
    weight=st.integers(0, 50).map(float),
    score=st.none() | st.floats(0, 20),
    low=st.none() | st.floats(-1e6, 1e6),
    high=st.none() | st.floats(-1e6, 1e6),
    learning=st.booleans(),
    minimum=st.none() | st.floats(-1e6, 1e6),
    maximum=st.none() | st.floats(-1e6, 1e6),
)
_WINDOWS = st.builds(
    lambda kind, start, values, revision: window(
        T0 + start * kind[1], size=kind[0], slide=kind[1], values=values, revision=revision
    ),
    st.sampled_from([(10_000, 10_000), (MINUTE, 10_000), (HOUR, MINUTE)]),
    st.integers(0, 400),
    st.dictionaries(st.sampled_from(["plays", "error_rate", "other"]), _VALUES, max_size=3),
    st.integers(0, 2),
)


@given(
    windows=st.lists(_WINDOWS, min_size=1, max_size=30),
    measure=st.sampled_from(["plays", "error_rate", "other"]),
    since=st.integers(-10, 500).map(lambda n: T0 + n * 7_000),
    length=st.integers(1, 10_000_000),
    step=st.none() | st.integers(1, 400).map(lambda n: n * 10_000) | st.just(7_001),
    size=st.none() | st.sampled_from([10_000, MINUTE, HOUR, 5]),
    limit=st.integers(1, 40),
)
@settings(max_examples=2500)
def test_memory_and_sqlite_tell_the_same(
    request, windows, measure, since, length, step, size, limit
):
    async def told(name: str) -> tuple:
        async with make_store(name, request).opened() as (sink, queries):
            await sink.write(Rows(windows=windows))
            asked = ("acme", series(measure), "live", since, since + length, step, size, limit)
            listed, cursor = await queries.series("acme", "", {}, 2, None)
            return list(await queries.windows(*asked)), listed, cursor is None

    async def both() -> None:
        assert await told("memory") == await told("sqlite")

    asyncio.run(both())
