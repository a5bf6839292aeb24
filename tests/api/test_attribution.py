"""What explains an alert, over HTTP, from stored windows alone."""

from __future__ import annotations

import orjson
import pytest

from models.records import Value, Window
from models.series import format_key
from storage.memory import MemoryStore
from storage.protocols import Rows
from tests.api.conftest import make_world
from tests.api.seed import MINUTE, NOW, PANE, alert, series_config
from tests.api.test_reading import pretty

BEGAN = NOW // PANE * PANE - 5 * MINUTE
PLATFORMS = {"ios": 40, "android": 40, "web": 20}
COUNTRIES = {"US": 60, "FR": 30, "SE": 10}


def window(tags: dict[str, str], start: int, values: dict[str, Value], size: int = PANE) -> Window:
    group = format_key("demo", "_".join(sorted(tags)) or "all", tags)
    return Window("demo", group, "live", start, start + size, size, PANE, 1, values)


def service(lost: float, failing: float) -> list[Window]:
    """Twenty minutes of a service; from ``BEGAN`` on plays of ios × FR are ``lost`` or ``failing``."""
    made = []
    for start in range(BEGAN - 20 * MINUTE, BEGAN + MINUTE, PANE):
        groups: dict[tuple[tuple[str, str], ...], list[float]] = {}
        for p, wp in PLATFORMS.items():
            for c, wc in COUNTRIES.items():
                broken = start >= BEGAN and (p, c) == ("ios", "FR")
                plays = wp * wc / 10 * ((1 - lost) if broken else 1.0)
                failed = plays * (failing if broken else 0.01)
                for tags in ({}, {"platform": p}, {"country": c}, {"platform": p, "country": c}):
                    sums = groups.setdefault(tuple(sorted(tags.items())), [0.0, 0.0])
                    sums[0] += plays
                    sums[1] += failed
        for group, (plays, failed) in groups.items():
            values = {
                "plays": Value(plays, plays),
                "error_rate": Value(failed / plays if plays else None, plays),
            }
            made.append(window(dict(group), start, values))
    return made


def judged() -> list[Window]:
    """Start-up times at the alert's end: one slice is slow, and one is a little slow but heavy."""
    rows = {
        ("ios", "FR"): (900.0, 50.0),
        ("web", "US"): (520.0, 90.0),
        ("ios", "US"): (400.0, 99.0),
    }
    return [
        window(
            {"platform": p, "country": c},
            BEGAN - 40_000,
            {"startup_p95": Value(value, weight, score=1.0, low=300.0, high=500.0)},
            MINUTE,
        )
        for (p, c), (value, weight) in rows.items()
    ]


def incident(measure: str, tags: dict[str, str] | None = None, **changes):
    own = tags or {}
    fields = {"measure": measure, "tags": own, "series": format_key("demo", measure, own)}
    times = {"started_at": BEGAN, "fired_at": BEGAN + 20_000, "id": f"inc-{measure}"}
    return alert(1, **(fields | times | changes))


@pytest.fixture
async def client(settings):
    store = MemoryStore(series_config())
    alerts = [
        incident("plays"),
        incident("error_rate", {"platform": "ios"}),
        incident("startup_p95", {"platform": "ios", "country": "FR"}),
        incident("cpu", {"host": "a/1"}),
        incident("plays", id="inc-old", started_at=BEGAN - 9 * 3_600_000, fired_at=BEGAN - 8 * 3_600_000),
        incident("plays", id="inc-calm", started_at=BEGAN - 2 * MINUTE, fired_at=BEGAN - MINUTE),
    ]  # fmt: skip
    await store.write(Rows(windows=[*service(0.8, 0.4), *judged()], alerts=alerts))
    world = await make_world(settings, store)
    async with world.client() as found:
        yield found


async def asked(client, name: str) -> dict:
    answer = await client.get(f"/api/v1/alerts/{name}/attribution")
    assert answer.status_code == 200, answer.text
    return orjson.loads(answer.content)


async def test_the_answer_is_as_written_down(client, golden):
    answer = await client.get("/api/v1/alerts/inc-plays/attribution")
    golden("attribution.json", pretty(answer.content))


async def test_the_slice_that_broke_is_named_for_a_count(client):
    found = await asked(client, "inc-plays")
    assert found["method"] == "shares"
    best = found["explanations"][0]
    assert [s["tags"] for s in best["slices"]] == [{"country": "FR", "platform": "ios"}]
    assert best["share"] == pytest.approx(1.0)
    assert found["change"] == pytest.approx(found["actual"] - found["expected"])
    assert found["text"] == "plays of ios × FR explain 100 % of the drop (total −9.6 %)"


async def test_and_for_a_ratio_of_another_slice(client):
    """The alert is on all of ios; what is explained is the total's change."""
    found = await asked(client, "inc-error_rate")
    (cause,) = found["explanations"][0]["slices"]
    assert cause["tags"] == {"country": "FR", "platform": "ios"}
    assert cause["share"] == pytest.approx(1.0, abs=0.02)
    assert found["text"].startswith("error rate of ios × FR explains")
    assert "of the rise" in found["text"]


async def test_quantiles_list_what_left_its_band_by_weight(client):
    found = await asked(client, "inc-startup_p95")
    assert (found["method"], found["explanations"]) == ("outside_band", [])
    assert [u["tags"]["platform"] for u in found["unusual"]] == ["web", "ios"]
    assert "does not add up" in found["text"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("inc-cpu", "a metric has no dimension groups"),
        ("inc-old", "the windows of that time are not kept"),
        ("inc-calm", "plays did not change in total"),
    ],
)
async def test_where_nothing_explains_it_says_so(client, name, text):
    found = await asked(client, name)
    assert (found["explanations"], found["text"]) == ([], text)


async def test_an_unknown_alert_is_not_found(client):
    answer = await client.get("/api/v1/alerts/none/attribution")
    assert answer.status_code == 404
