"""Generated documents are up to date, and the AsyncAPI schemas describe what really flows."""

import ast
import importlib
import json
import re
from pathlib import Path

import jsonschema
import pytest
from prometheus_client import Histogram, generate_latest

from agents.measures import THINGS, worker_registry
from api.metrics import ApiMetrics
from api.problems import ABOUT
from cli import docs
from cli.addresses import addresses_table, openapi_document
from cli.docs import documents, filled, generate
from cli.measures import measures, measures_table
from models import records
from models.records import (
    Alert,
    DeadLetter,
    Delivery,
    Finding,
    LateEvent,
    Notification,
    Value,
    Window,
)
from models.topics import TOPICS

ALERT = Alert(
    id="a1", revision=0, tenant="t", rule="r", rule_version="v", kind="threshold", state="firing",
    severity="page", series="t|error_rate{}", measure="error_rate", tags={}, stream="live",
    started_at=0, fired_at=1, updated_at=1, reason="why",
)  # fmt: skip
SAMPLES = {
    "windows": Window(
        tenant="t", group="t|all{}", stream="live", start=0, end=10, size=10, slide=10, count=1,
        values={"plays": Value(value=1.0, weight=1.0, score=0.1, low=0.0, high=2.0)},
    ),
    "findings": Finding(
        incident="a1", tenant="t", rule="r", rule_version="v", kind="anomaly", state="firing",
        series="t|plays{}", stream="live", measure="plays", tags={"country": "FR"},
        severity="page", since=0, at=10, window_start=0, window_end=10, reason="why",
    ),
    "alerts": ALERT,
    "notifications": Notification(
        id="n1", tenant="t", receiver="webhook", transition="firing", alert=ALERT
    ),
    "deliveries": Delivery(
        notification="n1", tenant="t", receiver="webhook", alert="a1", transition="firing",
        outcome="delivered", attempts=1, at=1,
    ),
    "late": LateEvent(
        tenant="t", stream="live", at=0, watermark=9, reason="beyond_grace", topic="plays",
        partition=0, offset=1, value=b"{}",
    ),
    "dead-letters": DeadLetter(
        reason="not_json", detail="", topic="plays", partition=0, offset=1, timestamp=0,
        value=b"\xff", key=None, size=1,
    ),
}  # fmt: skip


def test_generated_documents_are_up_to_date():
    """`make docs` writes them; a change of settings or topics without it fails here."""
    assert generate(check=True) == []


def test_every_topic_has_a_channel_with_its_policy():
    document = json.loads(documents()["asyncapi.json"])
    assert set(document["channels"]) == set(TOPICS)
    for name, topic in TOPICS.items():
        binding = document["channels"][name]["bindings"]["kafka"]
        policy = binding["topicConfiguration"]["cleanup.policy"]
        assert policy == ["compact" if topic.compacted else "delete"]


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_what_flows_matches_its_schema(name):
    document = json.loads(documents()["asyncapi.json"])
    schema = {**document["components"]["messages"][name]["payload"], **document}
    record = json.loads(records.to_json(SAMPLES[name]))
    jsonschema.validate(record, schema)
    record.pop("tenant", None), record.pop("topic", None)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(record, schema)


# -- tables in pages that are written by hand -----------------------------------------------------

ROOT = Path(__file__).parents[2]


def test_a_table_is_put_between_its_marks_and_nothing_else_is_touched(tmp_path, monkeypatch):
    monkeypatch.setattr(docs, "FOLDER", tmp_path)
    page = "by hand\n<!-- made by make docs: one -->\n{}<!-- end -->\nby hand\n"
    (tmp_path / "page.md").write_text(page.format("| old |\n"))
    assert filled("page.md", {"one": "| \\1 new |"}) == page.format("| \\1 new |\n")
    with pytest.raises(ValueError, match="has places for"):
        filled("page.md", {"another": "| new |"})


@pytest.mark.parametrize("registry", [worker_registry(), ApiMetrics().registry])
def test_the_table_has_every_metric_that_is_served(registry):
    """By the names that a scrape would see, the process's own apart."""
    lines = generate_latest(registry).decode().splitlines()
    served = {line.split()[2] for line in lines if line.startswith("# TYPE ")}
    ours = {name for name in served if name.startswith("backbeat_")}
    assert {m.name for m in measures(registry)} == {n.removesuffix("_created") for n in ours}


def test_the_table_has_labels_of_every_kind_of_metric():
    registry = worker_registry()
    Histogram("backbeat_x", "About.", ["route"], registry=registry)
    lines = measures_table(registry).splitlines()
    assert lines[-1] == "| `backbeat_x` | histogram | `route` | About. |"
    assert any("| gauge | `source`, `partition` |" in line for line in lines)
    assert "| `backbeat_things_dropped_total` | counter | `name`, `reason` |" in "\n".join(lines)


def counted() -> set[str]:
    """The names under which folds count: the first argument of every `count(name, reason, …)`."""
    found = set()
    for path in (p for f in ("agents", "alerts", "tables") for p in (ROOT / f).rglob("*.py")):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="count"), args=[first, _, *_]):
                    match first:
                        case ast.Constant(value=str(name)):
                            found.add(name)
                        case ast.Name(id=constant) if constant.isupper():
                            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
                            found.add(getattr(importlib.import_module(module), constant))
    return found


def test_whatever_folds_count_is_explained():
    assert counted() == THINGS.keys()


def test_the_table_of_addresses_says_what_each_call_needs():
    document = openapi_document()
    lines = addresses_table(document).splitlines()
    assert len(lines) == 2 + sum(map(len, document["paths"].values()))
    assert "| GET | `/api/v1/alerts/stream` | Follow incidents | token or cookie |" in lines
    assert "| POST | `/api/v1/plays` | Publish plays | token |" in lines
    assert "| DELETE | `/api/v1/session` | Sign out | nothing |" in lines
    assert "| GET | `/health/live` | Is the process alive? | nothing |" in lines


def test_the_page_of_the_api_has_every_kind_of_problem():
    page = (ROOT / "docs" / "api.md").read_text()
    assert set(re.findall(r"^\| \d{3} \| `([\w-]+)` \|", page, re.MULTILINE)) == ABOUT.keys()
