"""What a store must answer about incidents, series and tenants; windows have their own file."""

import base64
from collections.abc import AsyncIterator

import pytest

from models.records import Value
from storage.cursors import InvalidCursorError
from storage.protocols import AlertFilter, Queries
from tests.storage.rows import (
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
from tests.storage.stores import RANGE, make_store

TWINS = ("memory", "sqlite")


@pytest.fixture(params=TWINS)
async def opened(request: pytest.FixtureRequest) -> AsyncIterator[tuple]:
    """Sink and queries of a store that answers everything."""
    async with make_store(request.param, request).opened() as both:
        yield both


# Incidents


async def test_incidents_come_newest_first_page_by_page(opened):
    sink, queries = opened
    incidents = [alert(f"a{n}", started_at=T0 + n // 2) for n in range(9)]
    await sink.write(rows(*incidents, alert("a3", 1, started_at=T0 + 1, state="resolved")))
    expected = ["a8", "a6", "a7", "a4", "a5", "a2", "a3", "a0", "a1"]
    for limit in (1, 2, 3, 9, 10):
        assert await _pages(queries, AlertFilter(), limit) == expected


async def _pages(queries: Queries, where: AlertFilter, limit: int) -> list[str]:
    found, cursor = [], None
    while True:
        page, cursor = await queries.alerts("acme", where, limit, cursor)
        assert len(page) <= limit
        found += [incident.id for incident in page]
        if cursor is None:
            return found


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (AlertFilter(), {"a", "b", "c"}),
        (AlertFilter(state="resolved"), {"b"}),
        (AlertFilter(rule="other"), {"c"}),
        (AlertFilter(severity="ticket"), {"c"}),
        (AlertFilter(series=series("eligible_plays")), {"b"}),
        (AlertFilter(stream="replay"), {"c"}),
        (AlertFilter(since=T0 + 1), {"b", "c"}),
        (AlertFilter(until=T0 + 2), {"a", "b"}),
        (AlertFilter(since=T0, until=T0 + 1, state="firing"), {"a"}),
        (AlertFilter(tags={"country": "DE"}), {"a", "c"}),
        (AlertFilter(tags={"country": "DE", "platform": 'i"o\\s'}), {"c"}),
        (AlertFilter(tags={"platform": "ios"}), set()),
    ],
)
async def test_incidents_are_filtered(opened, where: AlertFilter, expected: set[str]):
    sink, queries = opened
    await sink.write(
        rows(
            alert("a"),
            alert("b", started_at=T0 + 1, series=series("eligible_plays"), tags={}),
            alert("b", 1, started_at=T0 + 1, series=series("eligible_plays"), tags={}, state="resolved"),
            alert(
                "c", started_at=T0 + 2, rule="other", severity="ticket", stream="replay",
                tags={"country": "DE", "platform": 'i"o\\s'},
            ),
        )
    )  # fmt: skip
    found, cursor = await queries.alerts("acme", where, 100, None)
    assert {incident.id for incident in found} == expected
    assert cursor is None


async def test_an_incident_is_its_last_revision_and_its_history_all_of_them(opened):
    sink, queries = opened
    versions = [alert(), alert(revision=1, value=3.0), alert(revision=2, state="resolved")]
    await sink.write(rows(versions[2], versions[0]))
    await sink.write(rows(versions[1]))
    assert await queries.alert("acme", "a1") == versions[2]
    assert await queries.alert_history("acme", "a1") == versions
    assert await queries.alert("acme", "a2") is None
    assert await queries.alert_history("acme", "a2") == []


async def test_findings_of_a_series_come_in_the_order_they_happened(opened):
    sink, queries = opened
    story = [
        finding(state="pending", at=T0),
        finding(state="firing", at=T0),
        finding(state="resolved", at=T0 + MINUTE),
        finding("z", state="pending", at=T0 + MINUTE),
    ]
    await sink.write(rows(*reversed(story), finding("q", series=series("listeners"))))
    asked = ("acme", series(), "live")
    assert await queries.findings(*asked, T0, T0 + MINUTE + 1, 100) == story
    assert await queries.findings(*asked, T0, T0 + MINUTE, 100) == story[:2]
    assert await queries.findings(*asked, T0 + 1, T0 + HOUR, 1) == story[2:3]
    assert await queries.findings("acme", series(), "replay", 0, 2 * T0, 100) == []


async def test_deliveries_of_an_incident_come_oldest_first(opened):
    sink, queries = opened
    sent = [delivery("n2", at=T0), delivery("n1", at=T0 + 1), delivery("n1", at=T0 + 2)]
    await sink.write(rows(*reversed(sent), delivery("n9", alert="other")))
    assert await queries.deliveries("acme", "a1") == sent


# Series


async def test_series_are_found_busiest_first_page_by_page(opened):
    sink, queries = opened
    counts = {"DE": 5, "FR": 9, "SE": 5, "BR": 0}
    await sink.write(rows(*(window(tags={"country": c}, count=n) for c, n in counts.items())))
    for limit in (1, 3, 4):
        found, cursor = [], None
        while cursor or not found:
            page, cursor = await queries.series("acme", "", {}, limit, cursor)
            found += [info.tags["country"] for info in page]
            if cursor is None:
                break
        assert found == ["FR", "DE", "SE", "BR"]


async def test_a_series_says_where_it_stands(opened):
    sink, queries = opened
    values = {"error_rate": Value(value=0.25, weight=8.0)}
    await sink.write(rows(window(T0, size=MINUTE, slide=10 * SECOND, values=values)))
    await sink.write(rows(window(T0 + 20 * SECOND, values={"error_rate": Value(None, 0.0)})))
    await sink.write(rows(window(T0 + 10 * SECOND, values=values)))
    (info,), cursor = await queries.series("acme", "", {}, 10, None)
    assert cursor is None
    assert info.key == series("error_rate")
    assert (info.group, info.measure) == (window().group, "error_rate")
    assert (info.tags, info.stream) == ({"country": "DE"}, "live")
    assert (info.size, info.last_start) == (10 * SECOND, T0 + 20 * SECOND)
    assert (info.last_value, info.weight) == (None, 0.0)


@pytest.mark.parametrize(
    ("text", "tags", "stream", "expected"),
    [
        ("", {}, None, 5),
        ("PLAYS", {}, None, 3),
        ("country=de", {}, None, 3),
        ("a b=c", {}, None, 1),
        ("%", {}, None, 1),
        ("listeners", {}, None, 1),
        ("", {"country": "DE"}, None, 3),
        ("", {"country": "DE", "platform": "ios"}, None, 1),
        ("", {"country": "D"}, None, 0),
        ("", {}, "replay", 1),
        ("plays", {"country": "DE"}, "live", 1),
    ],
)
async def test_series_are_searched(
    opened, text: str, tags: dict[str, str], stream: str | None, expected: int
):
    sink, queries = opened
    both = {"country": "DE", "platform": "ios"}
    await sink.write(
        rows(
            window(values={"plays": plays(1), "listeners": plays(1)}),
            window(group="country_platform", tags=both, values={"error_rate": plays(0.5)}),
            metric(tags={"host": "a b=c%"}, name="plays of discs"),
            window(tags={"country": "FR"}, stream="replay"),
        )
    )
    found, _ = await queries.series("acme", text, tags, 100, None, stream)
    assert len(found) == expected


# Tenants


async def test_no_question_crosses_tenants(opened):
    sink, queries = opened
    await sink.write(
        rows(
            window(), alert(), finding(), delivery(), alert("b", started_at=T0 - 5),
            window(tenant="globex", count=77),
            alert("g", tenant="globex", series=series(tenant="globex")),
        )
    )  # fmt: skip
    mine, theirs = series(), series(tenant="globex")
    for key in (mine, theirs):
        points = await queries.windows("globex", key, "live", *RANGE, None, None, 10)
        assert [p.value for p in points] == ([77.0] if key == theirs else [])
        assert await queries.findings("globex", key, "live", 0, 2 * T0, 10) == []
    assert await queries.alert("globex", "a1") is None
    assert await queries.alert_history("globex", "a1") == []
    assert await queries.deliveries("globex", "a1") == []
    found, _ = await queries.series("globex", "", {}, 100, None)
    assert {info.key for info in found} == {theirs}
    found, _ = await queries.alerts("globex", AlertFilter(series=mine), 100, None)
    assert found == []
    groups = [window().group, window(tenant="globex").group]
    assert [*await queries.latest("globex", groups)] == groups[1:]
    assert await queries.latest("initech", groups) == {}


async def test_another_tenants_cursor_gives_nothing_of_that_tenant(opened):
    sink, queries = opened
    for tenant in ("acme", "globex"):
        windows = [window(tenant=tenant, tags={"country": c}) for c in "ABC"]
        incidents = [alert(f"{tenant}{n}", tenant=tenant) for n in range(3)]
        await sink.write(rows(*windows, *incidents))
    _, cursor = await queries.alerts("acme", AlertFilter(), 1, None)
    found, _ = await queries.alerts("globex", AlertFilter(), 10, cursor)
    assert {incident.tenant for incident in found} == {"globex"}
    _, cursor = await queries.series("acme", "", {}, 1, None)
    found, _ = await queries.series("globex", "", {}, 10, cursor)
    assert {info.key.partition("|")[0] for info in found} == {"globex"}


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    ["x", "not base64!", "é", _encoded("{}"), _encoded('["a"]'), _encoded("[1]"),
     _encoded('[1, "a", "b", "c"]'), _encoded("[null, null]"), _encoded("[1e999, 2, 3]"),
     _encoded("""["' OR 1=1 --", "x"]"""), "A" * 5000],
)  # fmt: skip
async def test_a_cursor_that_was_not_given_out_is_an_error(opened, cursor: str):
    sink, queries = opened
    await sink.write(rows(window(), alert()))
    with pytest.raises(InvalidCursorError):
        await queries.alerts("acme", AlertFilter(), 10, cursor)
    with pytest.raises(InvalidCursorError):
        await queries.series("acme", "", {}, 10, cursor)


async def test_limits_are_held_within_bounds(opened):
    sink, queries = opened
    await sink.write(rows(*(alert(f"a{n}") for n in range(3)), window(), finding()))
    for limit in (-5, 0):
        found, cursor = await queries.alerts("acme", AlertFilter(), limit, None)
        assert len(found) == 1
        assert cursor is not None
    found, _ = await queries.alerts("acme", AlertFilter(), 10**12, None)
    assert len(found) == 3
    assert len(await queries.findings("acme", series(), "live", 0, 2 * T0, -1)) == 1
    assert len((await queries.series("acme", "", {}, 0, None))[0]) == 1
