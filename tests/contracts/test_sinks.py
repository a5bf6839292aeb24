"""What every sink must do, whatever it writes to."""

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.records import Window
from storage.protocols import AlertFilter, Position, Rows
from tests.storage.rows import (
    CONFIG,
    DAY,
    DE,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    alert,
    delivery,
    finding,
    metric,
    plays,
    rows,
    series,
    window,
)
from tests.storage.stores import ALL, RANGE, Store, content, make_store


@pytest.fixture(params=ALL)
def store(request: pytest.FixtureRequest) -> Store:
    return make_store(request.param, request)


WINDOWS = [
    window(T0, count=3),
    window(T0 + 10 * SECOND, count=5),
    window(T0, size=MINUTE, slide=10 * SECOND, count=8, revision=1),
    window(T0, tags={"country": "FR"}, values={"plays": plays(2, score=4.5, low=0.5, high=9.0)}),
    window(T0, stream="replay", count=7),
    window(T0, tenant="globex", count=11),
    metric(T0, 0.25, tags={"host": "a b,c=d|e%", "value": "x"}),
    metric(T0, None, tags={"host": "", "time": "\\"}),
]
EVERYTHING = rows(
    *WINDOWS,
    alert(),
    alert(revision=1, state="resolved"),
    alert("b", tenant="globex"),
    finding(),
    finding(state="pending"),
    delivery(),
    delivery(outcome="failed"),
    Position("windows", 0, 17),
    Position("alerts", 3, 4),
)


async def test_writing_the_same_rows_again_changes_nothing(store: Store):
    async with store.opened() as (sink, queries):
        await sink.write(EVERYTHING)
        once = await content(store, queries, WINDOWS)
        await sink.write(EVERYTHING)
        await sink.write(EVERYTHING)
        assert once == await content(store, queries, WINDOWS)
        assert any(once.values())
        assert not sink.rejected


async def test_opening_and_closing_twice_is_allowed(store: Store):
    sink = store.sink()
    await sink.open()
    await sink.open()
    await sink.write(rows(window()))
    await sink.close()
    await sink.close()


async def test_what_was_written_is_there_after_a_restart(store: Store):
    if not store.survives:
        pytest.skip(f"{store.name} is not meant to outlive its process")
    async with store.opened() as (sink, queries):
        await sink.write(EVERYTHING)
        before = await content(store, queries, WINDOWS)
        positions = await sink.positions()
    async with store.opened() as (sink, queries):
        assert before == await content(store, queries, WINDOWS)
        assert positions == await sink.positions()
        await sink.write(EVERYTHING)
        assert before == await content(store, queries, WINDOWS)


async def test_a_higher_revision_replaces_and_a_lower_one_does_not(store: Store):
    if not store.guards_revisions:
        pytest.skip(f"{store.name} relies on the order of the topic; see the replay tests")
    last = window(T0, revision=2, count=9)
    async with store.opened() as (sink, queries):
        for revision, count in ((0, 3), (2, 9), (1, 5), (0, 3)):
            await sink.write(rows(window(T0, revision=revision, count=count)))
        shuffled = await content(store, queries, [last])
        await sink.write(rows(last, window(T0, revision=1, count=5)))
        assert shuffled == await content(store, queries, [last])
        if store.queries_latest:
            (latest,) = (await queries.latest("acme", [last.group])).values()
            assert (latest.revision, latest.count) == (2, 9)
        if store.queries_windows:
            (point,) = await queries.windows("acme", series(), "live", *RANGE, None, None, 10)
            assert (point.revision, point.value) == (2, 9.0)


async def test_what_a_crash_repeats_never_hides_late_events(store: Store):
    """Revisions are counted again after a crash: the window that holds more events wins."""
    if not store.guards_revisions:
        pytest.skip(f"{store.name} relies on the topic's order")
    async with store.opened() as (sink, queries):
        for revision, count in ((0, 44), (1, 45), (2, 46), (0, 44), (1, 47), (0, 44)):
            await sink.write(rows(window(T0, revision=revision, count=count)))
        if store.queries_latest:
            (latest,) = (await queries.latest("acme", [window().group])).values()
            assert (latest.revision, latest.count) == (1, 47)
            if store.queries_incidents:
                (info,), _ = await queries.series("acme", "", {}, 10, None)
                assert info.last_value == 47.0
        if not store.queries_windows:
            return
        (point,) = await queries.windows("acme", series(), "live", *RANGE, None, None, 10)
        assert (point.revision, point.value) == (1, 47.0)


async def test_a_replay_in_the_topics_order_ends_in_the_same_content(store: Store):
    """What a sink without a guard must do as well: all revisions again, from any point on."""
    history = [
        window(T0, count=3, revision=0),
        window(T0, values={"plays": plays(4, score=2.0, learning=True)}, revision=1),
        window(T0 + 10 * SECOND, values={"error_rate": plays(0.5)}),
        window(T0 + 10 * SECOND, values={"error_rate": plays(0.25)}, revision=1),
        window(T0, count=7, revision=2),
    ]
    async with store.opened() as (sink, queries):
        await sink.write(rows(*history))
        expected = await content(store, queries, history)
        for begin in range(len(history)):
            for row in history[begin:]:
                await sink.write(rows(row))
            assert expected == await content(store, queries, history)


async def test_positions_are_the_last_ones_written(store: Store):
    async with store.opened() as (sink, _):
        assert await sink.positions() == {}
        await sink.write(rows(Position("windows", 0, 5), Position("windows", 1, 7)))
        await sink.write(rows(window(), Position("windows", 0, 9), Position("a:b", 0, 1)))
        expected = {("windows", 0): 9, ("windows", 1): 7, ("a:b", 0): 1}
        assert (expected if store.keeps_positions else {}) == await sink.positions()


async def test_a_topic_made_anew_sets_positions_back(store: Store):
    if not store.keeps_positions:
        pytest.skip(f"{store.name} keeps no positions")
    async with store.opened() as (sink, _):
        await sink.write(rows(Position("windows", 0, 500)))
        await sink.write(rows(Position("windows", 0, 3)))
        assert await sink.positions() == {("windows", 0): 3}


async def test_positions_of_another_cluster_do_not_count(store: Store):
    if not store.keeps_positions:
        pytest.skip(f"{store.name} keeps no positions")
    async with store.opened() as (sink, _):
        await sink.write(rows(Position("windows", 0, 500))._replace(cluster="old"))
        assert await sink.positions("old") == {("windows", 0): 500}
        assert await sink.positions("new") == {}
        await sink.write(rows(Position("windows", 0, 3))._replace(cluster="new"))
        assert await sink.positions("new") == {("windows", 0): 3}
    if store.survives:
        async with store.opened() as (sink, queries):
            assert await sink.positions("new") == {("windows", 0): 3}
            if store.queries_incidents:
                assert await queries.positions("new") == {("windows", 0): 3}


async def test_a_window_that_makes_no_sense_is_counted_and_does_not_stop_the_others(store: Store):
    senseless = window()
    senseless.group = "no key at all"
    foreign = window()
    foreign.group = "globex|country{country=DE}"
    crooked = window(T0 + 3)
    async with store.opened() as (sink, queries):
        await sink.write(rows(senseless, window(count=4), foreign, crooked))
        assert dict(sink.rejected) == {"group_key": 1, "foreign_tenant": 1, "misaligned": 1}
        if store.queries_windows:
            found = await queries.windows("acme", series(), "live", *RANGE, None, None, 10)
            assert [point.value for point in found] == [4.0]
            other = series(tenant="globex")
            assert await queries.windows("globex", other, "live", *RANGE, None, None, 10) == []


async def test_nothing_is_shared_with_what_the_caller_holds(store: Store):
    row, incident = window(count=4), alert()
    async with store.opened() as (sink, queries):
        await sink.write(rows(row, incident))
        before = await content(store, queries, [window()])
        row.values["plays"].value = 99.0
        row.values["more"] = plays(1)
        incident.tags["country"] = "XX"
        assert before == await content(store, queries, [window()])


async def test_a_sweep_is_harmless_where_the_store_forgets_by_itself(store: Store):
    if store.name in {"memory", "sqlite"}:
        pytest.skip("those that sweep have tests of their own below")
    async with store.opened() as (sink, queries):
        await sink.write(EVERYTHING)
        before = await content(store, queries, WINDOWS)
        assert await sink.sweep(T0 + HOUR) == 0
        assert before == await content(store, queries, WINDOWS)


# What forgets only when it is swept.

swept = pytest.mark.parametrize("store", ["memory", "sqlite"], indirect=True)


@swept
async def test_a_sweep_deletes_windows_past_their_sizes_retention(store: Store):
    now = T0 + 3 * DAY
    old, young = window(T0), window(now - 2 * DAY)
    long = window(T0, size=HOUR, slide=MINUTE)
    async with store.opened() as (sink, queries):
        await sink.write(rows(old, young, long))
        assert await sink.sweep(now) == 1
        assert await sink.sweep(now) == 0
        assert [young.start] == await _starts(queries, 10 * SECOND)
        assert await _starts(queries, HOUR) == [T0]


@swept
async def test_a_sweep_rolls_sliding_hours_up_after_two_days(store: Store):
    written = [window(T0 + n * MINUTE, size=HOUR, slide=MINUTE) for n in range(181)]
    async with store.opened() as (sink, queries):
        await sink.write(Rows(windows=written))
        assert await sink.sweep(T0 + 2 * DAY) == 0
        assert await sink.sweep(T0 + 2 * DAY + HOUR) == 59
        assert await sink.sweep(T0 + 2 * DAY + 2 * HOUR) == 59
        kept = [T0, T0 + HOUR, *(T0 + 2 * HOUR + n * MINUTE for n in range(61))]
        assert kept == await _starts(queries, HOUR)
        assert len(kept) == await sink.sweep(T0 + 500 * DAY)


@swept
async def test_rows_written_again_below_a_roll_up_are_rolled_up_again(store: Store):
    written = [window(T0 + n * MINUTE, size=HOUR, slide=MINUTE) for n in range(61)]
    async with store.opened() as (sink, queries):
        await sink.write(Rows(windows=written))
        await sink.sweep(T0 + 3 * DAY)
        await sink.write(Rows(windows=written))
        assert await sink.sweep(T0 + 3 * DAY) == 59
        assert await _starts(queries, HOUR) == [T0, T0 + HOUR]


@swept
async def test_a_replay_of_old_times_is_kept_by_its_own_clock(store: Store):
    past = T0 - 4000 * DAY
    async with store.opened() as (sink, queries):
        replayed = [window(past + n * DAY, stream="import") for n in range(4)]
        incident = alert("old", stream="import", state="resolved", started_at=past, updated_at=past)
        change = finding("old", stream="import", at=past)
        await sink.write(rows(*replayed, incident, change))
        assert await sink.sweep(T0) == 1
        points = await queries.windows("acme", series(), "import", 0, T0, None, 10 * SECOND, 100)
        kept = [p.start for p in points if p.value is not None]
        assert [past + n * DAY for n in (1, 2, 3)] == kept
        assert incident == await queries.alert("acme", "old")
        assert [change] == await queries.findings("acme", series(), "import", 0, T0, 10)


@swept
async def test_a_sweep_forgets_silent_series_and_old_history_but_no_open_incident(store: Store):
    now = T0 + 401 * DAY
    over = alert("over", state="resolved")
    async with store.opened() as (sink, queries):
        await sink.write(rows(window(T0), alert("open"), over, finding(), delivery()))
        await sink.write(rows(window(now, tags={"country": "FR"})))
        await sink.sweep(now)
        (left,), _ = await queries.series("acme", "", {}, 10, None)
        assert left.tags == {"country": "FR"}
        (incident,), _ = await queries.alerts("acme", AlertFilter(), 10, None)
        assert incident.id == "open"
        assert await queries.alert_history("acme", "over") == []
        assert await queries.findings("acme", series(), "live", *RANGE, 10) == []
        assert await queries.deliveries("acme", "a1") == []
        # A series that comes back is there again.
        await sink.write(rows(window(now + MINUTE)))
        assert len((await queries.series("acme", "", {}, 10, None))[0]) == 2
        assert [now + MINUTE] == await _starts(queries, 10 * SECOND)


async def _starts(queries, size: int) -> list[int]:
    points = await queries.windows("acme", series(), "live", *RANGE, None, size, 10_000)
    return [point.start for point in points if point.value is not None]


# Any order, any repetition.

_STARTS = st.integers(0, 4).map(lambda n: T0 + n * 10 * SECOND)


def _drawn(start: int, tags: str, kind: int, revision: int) -> Window:
    size, slide = ((10 * SECOND, 10 * SECOND), (MINUTE, 10 * SECOND))[kind]
    count = start % 7 + revision + 1  # the same window and revision always says the same
    return window(
        start, tags={"country": tags}, size=size, slide=slide, revision=revision, count=count
    )


_WINDOWS = st.builds(
    _drawn, _STARTS, st.sampled_from(["DE", "FR"]), st.integers(0, 1), st.integers(0, 2)
)


def _told(revision: int, name: str) -> object:
    state = ("firing", "resolved", "retracted")[revision]
    return alert(name, revision, state=state)


_ITEMS = st.one_of(
    _WINDOWS,
    st.builds(_told, st.integers(0, 2), st.sampled_from(["x", "y"])),
    st.builds(
        lambda state, revision: finding("x", state, revision=revision, value=float(revision)),
        st.sampled_from(["pending", "firing", "resolved"]),
        st.integers(0, 1),
    ),
    st.builds(lambda at: delivery(at=T0 + at), st.integers(0, 2)),
)


def _converges(request: pytest.FixtureRequest, name: str, items: list, order: list) -> None:
    async def told(batches: Sequence[Rows]) -> dict:
        store = make_store(name, request)
        async with store.opened() as (sink, queries):
            for batch in batches:
                await sink.write(batch)
            everything = [item for item in items if isinstance(item, Window)]
            found = await content(store, queries, everything)
            found.pop("stream", None)  # alerts are passed on in their order, once
            return found

    async def compare() -> None:
        assert await told([rows(*items)]) == await told([rows(item) for item in order])

    asyncio.run(compare())


@pytest.mark.parametrize("name", ["memory", "sqlite", "redis"])
def test_any_order_of_repeated_rows_converges(request: pytest.FixtureRequest, name: str):
    if name == "redis":
        request.getfixturevalue("valkey_server")

    @settings(
        max_examples=100 if name == "memory" else 25,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(st.data())
    def check(data: st.DataObject) -> None:
        items = data.draw(st.lists(_ITEMS, min_size=1, max_size=12))
        again = data.draw(st.lists(st.sampled_from(items), max_size=8))
        order = data.draw(st.permutations(items + again))
        _converges(request, name, items, order)

    check()


def test_the_drawn_windows_have_one_content_per_revision():
    """The property above would prove nothing if two drawn rows could contradict each other."""
    for start, revision in itertools.product(range(5), range(3)):
        first, second = (_drawn(T0 + start * 10_000, "DE", 0, revision) for _ in range(2))
        assert first == second
    assert {w.size for w in CONFIG.windows} >= {10 * SECOND, MINUTE}
    assert DE == {"country": "DE"}
