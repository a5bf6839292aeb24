"""Labels over HTTP: making, listing and replacing them, and what they say of rules and detectors."""

from __future__ import annotations

import orjson
import pytest
from msgspec.structs import replace

from models.learning import Model, Selector, decode_label, key_of
from models.records import Value, Window, to_json
from storage.protocols import Rows
from tests.api.conftest import make_world
from tests.api.seed import MINUTE, NOW, PANE, alert, metric_window

LABELS = "/api/v1/labels"
PLAYS = "demo|plays{}"


async def add(client, **label) -> dict:
    answer = await client.post(LABELS, json=label)
    assert answer.status_code == 201, answer.text
    return answer.json()


def published(world) -> list:
    return [(m.key.decode(), m.value) for m in world.producer.topics.get("labels", [])]


async def test_an_alert_says_where_and_when(world, client):
    given = await add(client, alert="inc-demo-005", verdict="true", author="ann", reason="outage")
    sample = alert(5)
    assert given["series"] == sample.series
    assert given["since"] == "2026-01-02T02:59:05.000Z"
    assert given["until"] == "2026-01-02T03:04:05.000Z"  # it is still firing
    assert (given["rule"], given["detector"]) == ("playback-errors", "")
    ((key, value),) = published(world)
    kept = decode_label(value)
    assert key == f"demo:{given['id']}"
    assert (kept.author, kept.reason, kept.alert, kept.at) == ("ann", "outage", "inc-demo-005", NOW)
    assert (await client.get(LABELS)).json()["items"] == [given]


async def test_the_peak_of_the_stretch_is_kept(client):
    """The seed's windows of a minute all score 1.5; a stretch without windows has no peak."""
    given = await add(client, series=PLAYS, since=NOW - 5 * MINUTE, until=NOW, verdict="false")
    assert given["peak"] == 1.5
    assert given["author"] == "demo"
    empty = await add(client, series=PLAYS, since=0, until=MINUTE, verdict="false")
    assert empty["peak"] is None


async def test_a_window_that_begins_before_the_stretch_counts(world, client):
    start = (NOW - 30 * MINUTE) // MINUTE * MINUTE
    high = Window(
        tenant="demo", group="demo|all{}", stream="live", start=start, end=start + MINUTE,
        size=MINUTE, slide=PANE, count=1, values={"plays": Value(value=1.0, score=7.5)},
    )  # fmt: skip
    await world.store.write(Rows(windows=[high]))
    stretch = {"series": PLAYS, "verdict": "true", "until": start + 2 * MINUTE}
    assert (await add(client, since=start + MINUTE - 1, **stretch))["peak"] == 7.5
    assert (await add(client, since=start + MINUTE, **stretch))["peak"] is None


async def test_saying_it_again_replaces_it(client):
    first = await add(client, alert="inc-demo-030", verdict="true")
    second = await add(client, alert="inc-demo-030", verdict="false", reason="it was a test")
    assert first["id"] == second["id"]
    assert (await client.get(LABELS)).json()["items"] == [second]


async def test_a_label_can_be_forgotten(world, client):
    given = await add(client, alert="inc-demo-030", verdict="true")
    assert (await client.delete(f"{LABELS}/{given['id']}")).status_code == 204
    assert (await client.get(LABELS)).json()["items"] == []
    assert published(world)[-1] == (f"demo:{given['id']}", None)
    assert (await client.delete(f"{LABELS}/{given['id']}")).status_code == 404


@pytest.mark.parametrize(
    ("label", "status"),
    [
        ({"verdict": "maybe", "alert": "inc-demo-005"}, 422),
        ({"verdict": "true"}, 422),
        ({"verdict": "true", "series": PLAYS, "since": 5}, 422),
        ({"verdict": "true", "series": PLAYS, "since": 5, "until": 5}, 422),
        ({"verdict": "true", "alert": "inc-demo-005", "since": NOW + MINUTE}, 422),
        ({"verdict": "true", "alert": "inc-other-005"}, 404),
        ({"verdict": "true", "alert": "none"}, 404),
        ({"verdict": "true", "series": "other|plays{}", "since": 1, "until": 2}, 404),
        ({"verdict": "true", "series": "no key", "since": 1, "until": 2}, 404),
        ({"verdict": "true", "alert": "inc-demo-005", "typo": 1}, 422),
        ({"verdict": "true", "series": "demo|nothing{}", "since": 1, "until": 2}, 404),
        ({"verdict": "true", "series": PLAYS, "since": "1969-01-01T00:00:00Z", "until": 2}, 422),
        ({"verdict": "false", "series": PLAYS, "since": NOW + 1, "until": NOW + 2}, 422),
        ({"verdict": "true", "series": PLAYS, "since": NOW - 1, "until": NOW + 1}, 422),
        ({"verdict": "false", "alert": "inc-demo-030", "until": NOW + 1}, 422),
        ({"verdict": "true", "alert": "inc-demo-005", "series": PLAYS}, 422),
        ({"verdict": "true", "alert": "inc-demo-005", "series": "other|plays{}"}, 422),
        ({"verdict": "true", "alert": "inc-demo-030", "since": NOW - 20 * MINUTE}, 422),
        ({"verdict": "true", "alert": "inc-demo-030", "until": NOW - 30 * MINUTE}, 422),
        ({"verdict": "expected", "alert": "inc-demo-030", "since": 1, "until": 2}, 422),
    ],
)
async def test_labels_that_cannot_be_kept(world, client, label, status):
    answer = await client.post(LABELS, json=label)
    assert answer.status_code == status, answer.text
    assert published(world) == []


async def test_a_label_of_an_alert_may_say_its_stretch_better(client):
    sample = alert(30)
    stretch = {"since": sample.started_at - MINUTE, "until": sample.started_at + MINUTE}
    given = await add(client, alert=sample.id, verdict="true", series=sample.series, **stretch)
    assert given["since"] < "2026-01-02T02:34:05" < given["until"]


async def test_what_is_planned_can_be_said_beforehand(world, client):
    """Alerts of the maintenance are then expected."""
    ahead = {"series": PLAYS, "since": NOW + MINUTE, "until": NOW + 60 * MINUTE}
    await add(client, verdict="expected", **ahead)
    later = alert(-5, series=PLAYS, tags={}, measure="plays")
    await world.store.write(Rows(alerts=[later]))
    until = NOW + 90 * MINUTE
    report = (await client.get(f"{LABELS}/report?since={NOW}&until={until}")).json()
    assert (report["total"]["alerts"], report["total"]["expected"]) == (1, 1)


async def test_a_series_that_only_a_replay_has_can_be_labelled(world, client):
    window = metric_window("demo", NOW // MINUTE * MINUTE - 5 * MINUTE)
    window = replace(window, group="demo|metric:heat{}", stream="last-year")
    await world.store.write(Rows(windows=[window]))
    stretch = {"since": window.start, "until": window.end}
    given = await add(client, series="demo|heat{}", verdict="false", **stretch)
    assert given["peak"] == 0.4


async def test_labels_are_listed_by_what_is_asked_for(client):
    for n, verdict in enumerate(["true", "false", "expected"]):
        await add(client, series=PLAYS, since=1_000 * n, until=1_000 * n + 500, verdict=verdict)
    await add(client, alert="inc-demo-005", verdict="false")

    async def verdicts(query: str) -> list[str]:
        return [la["verdict"] for la in (await client.get(f"{LABELS}?{query}")).json()["items"]]

    assert await verdicts("") == ["false", "expected", "false", "true"]
    assert await verdicts("series=demo%7Cplays%7B%7D") == ["expected", "false", "true"]
    assert await verdicts("verdict=true") == ["true"]
    assert await verdicts("since=500&until=2000") == ["false"]
    assert await verdicts("limit=1") == ["false"]
    assert (await client.get(f"{LABELS}?verdict=maybe")).status_code == 422


async def test_labels_are_listed_a_page_at_a_time(client):
    for n in range(5):
        await add(client, series=PLAYS, since=n // 2, until=10, verdict="true", detector=str(n))
        await add(client, series=PLAYS, since=n, until=20, verdict="false")
    whole = (await client.get(LABELS)).json()
    assert (len(whole["items"]), whole["next"]) == (8, None)
    seen, cursor = [], ""
    while cursor is not None:
        page = (await client.get(f"{LABELS}?limit=3{cursor and f'&cursor={cursor}'}")).json()
        seen, cursor = seen + page["items"], page["next"]
    assert seen == whole["items"]
    assert (await client.get(f"{LABELS}?cursor=other")).status_code == 422


@pytest.mark.parametrize("path", [LABELS, f"{LABELS}/report"])
async def test_a_time_that_ends_before_it_begins_holds_no_labels(client, path):
    answer = await client.get(f"{path}?since=9&until=5")
    assert answer.status_code == 422
    assert "`since` is not before `until`" in answer.json()["detail"]
    assert (await client.get(f"{path}?since=9&until=9")).status_code == 422


async def test_rules_and_detectors_are_held_against_labels(world, client, golden):
    """Of the seed's three alerts two are of one rule; the detector's was nothing."""
    await add(client, alert="inc-demo-030", verdict="true")
    await add(client, alert="inc-demo-002", verdict="false")
    await add(client, series=PLAYS, since=NOW - 20 * MINUTE, until=NOW - 15 * MINUTE,
              verdict="true", rule="plays-unusual", detector="novelty")  # fmt: skip
    answer = await client.get(f"{LABELS}/report")
    golden("label-report.json", orjson.dumps(answer.json(), option=orjson.OPT_INDENT_2) + b"\n")
    report = answer.json()
    rules = {q["name"]: q for q in report["rules"]}
    errors, unusual = rules["playback-errors"], rules["plays-unusual"]
    assert (errors["alerts"], errors["unjudged"], errors["precision"]) == (2, 1, 1.0)
    assert (unusual["precision"], unusual["recall"]) == (0.0, 0.0)
    assert [q["name"] for q in report["detectors"]] == ["novelty"]
    assert (report["total"]["events"], report["total"]["found"]) == (2, 1)
    (threshold,) = report["thresholds"]
    assert threshold["series"] == PLAYS


async def test_the_detector_of_an_alert_is_that_of_the_active_model(world, client):
    model = Model(
        "demo", "calm.1", "calm", 1, "detector", Selector("plays"), {"name": "lite"}, "active",
        "ann", 0, "",
    )  # fmt: skip
    world.producer.tables["models"].take(key_of(model), to_json(model))
    given = await add(client, alert="inc-demo-002", verdict="false")
    assert given["detector"] == "lite"
    report = (await client.get(f"{LABELS}/report")).json()
    assert [q["name"] for q in report["detectors"]] == ["lite"]


async def test_retracted_alerts_claim_nothing(world, client):
    await world.store.write(Rows(alerts=[alert(5, revision=1, state="retracted")]))
    await add(client, alert="inc-demo-005", verdict="false")
    report = (await client.get(f"{LABELS}/report")).json()
    assert report["total"]["wrong"] == 0


async def test_without_a_broker_nothing_is_kept(world, client):
    world.producer.reachable = False
    answer = await client.post(LABELS, json={"alert": "inc-demo-005", "verdict": "true"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    world.producer.tables["labels"].is_complete = False
    assert (await client.get(LABELS)).status_code == 503


async def test_labels_are_their_tenants(guarded):
    world = await make_world(guarded)
    async with (
        world.client("token-of-demo-tenant") as mine, world.client("token-of-other-tenant") as theirs
    ):  # fmt: skip
        given = await add(mine, alert="inc-demo-005", verdict="true")
        assert (await theirs.get(LABELS)).json()["items"] == []
        assert (await theirs.delete(f"{LABELS}/{given['id']}")).status_code == 404
        stolen = {"alert": "inc-demo-005", "verdict": "false"}
        assert (await theirs.post(LABELS, json=stolen)).status_code == 404
        assert (await theirs.get(f"{LABELS}/report")).json()["total"]["right"] == 0
        assert {la["tenant"] for la in map(orjson.loads, (v for _, v in published(world)))} == {
            "demo"
        }
        mine.headers.pop("authorization")
        mine.cookies.set("backbeat_session", "token-of-demo-tenant")
        assert (await mine.get(LABELS)).status_code == 200
        assert (await mine.post(LABELS, json=stolen)).status_code == 401
