"""Generated documents are up to date, and the AsyncAPI schemas describe what really flows."""

import json

import jsonschema
import pytest

from cli.docs import documents, generate
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
