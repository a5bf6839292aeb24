"""The AsyncAPI document of the topics, generated from the topic table and the records' types."""

from __future__ import annotations

from typing import Any

import msgspec

from models.topics import ALERT_ID_HEADER, EVENT_ID_HEADER, STREAM_HEADER, TOPICS, Topic

ACTIONS = {"in": "send", "inner": "receive", "out": "receive", "table": "receive"}
"""What a user of Backbeat does with a topic: sends to ``in``, receives from the others."""


def asyncapi_document(version: str, partitions: int) -> dict[str, Any]:
    """An AsyncAPI 3.0 document of every topic: key, schema, partitions, clean-up policy."""
    schemas, _ = _schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Backbeat",
            "version": version,
            "description": "Topics of Backbeat. Generated from the topic table; do not edit.",
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(topic, partitions) for name, topic in TOPICS.items()},
        "operations": {
            f"{ACTIONS[t.role]}-{name}": {
                "action": ACTIONS[t.role],
                "channel": {"$ref": f"#/channels/{name}"},
                "summary": t.about,
            }
            for name, t in TOPICS.items()
        },
        "components": {
            "messages": {name: _message(topic) for name, topic in TOPICS.items()},
            "schemas": schemas,
        },
    }


def _schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    """Schemas by name, and the payload of each topic that has one."""
    topics = [t for t in TOPICS.values() if t.schema is not None]
    payloads, schemas = msgspec.json.schema_components(
        [t.schema for t in topics], ref_template="#/components/schemas/{name}"
    )
    for payload in payloads:
        if "discriminator" in payload:  # OpenAPI's form; AsyncAPI wants the property alone
            payload["discriminator"] = payload["discriminator"]["propertyName"]
    return schemas, dict(zip((t.name for t in topics), payloads, strict=True))


def _channel(topic: Topic, partitions: int) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": topic.about,
        "messages": {topic.name: {"$ref": f"#/components/messages/{topic.name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": partitions,
                "topicConfiguration": _configuration(topic),
                "bindingVersion": "0.5.0",
            }
        },
    }


def _configuration(topic: Topic) -> dict[str, Any]:
    if topic.compacted:
        return {"cleanup.policy": ["compact"]}
    return {"cleanup.policy": ["delete"], "retention.ms": topic.retention}


def _message(topic: Topic) -> dict[str, Any]:
    _, payloads = _schemas()
    return {
        "name": topic.name,
        "contentType": f"application/{topic.encoding}",
        "summary": topic.about,
        "headers": {
            "type": "object",
            "properties": {
                h: {"type": "string"} for h in (STREAM_HEADER, EVENT_ID_HEADER, ALERT_ID_HEADER)
            },
        },
        "payload": payloads.get(topic.name, {"type": "object"}),
        "bindings": {"kafka": {"key": {"type": "string", "description": topic.key}}},
    }
