"""The broker: what it is, and the topics that must be there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Literal

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from models.errors import ConfigurationError, TopicMismatchError
from models.settings import Settings
from models.topics import Topic

log = logging.getLogger("backbeat.engine")

BrokerKind = Literal["kafka", "tansu"]
CONNECT_SECONDS = 30.0


async def probe(settings: Settings) -> BrokerKind:
    """Wait for the broker and find out what it is, unless the settings say it.

    Raises:
        ConfigurationError: it cannot be reached in 30 s.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CONNECT_SECONDS
    while True:
        try:
            await _reach(settings.bootstrap)
            break
        except (KafkaError, OSError) as exc:
            if loop.time() > deadline:
                msg = f"no broker at {settings.bootstrap} for {CONNECT_SECONDS:.0f} s: {exc}"
                raise ConfigurationError(msg) from exc
            await asyncio.sleep(0.5)
    if settings.broker_kind != "auto":
        return settings.broker_kind
    return "kafka" if await _has_transactions(settings) else "tansu"


async def _reach(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
    finally:
        await admin.close()


async def _has_transactions(settings: Settings) -> bool:
    """Ask for a transactional producer id: the embedded broker answers with an error."""
    noise = logging.getLogger("aiokafka")
    level = noise.level
    noise.setLevel(logging.CRITICAL)
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap, transactional_id=f"{settings.app_id}-probe"
    )
    try:
        await asyncio.wait_for(producer.start(), CONNECT_SECONDS)
    except (KafkaError, TimeoutError):
        return False
    else:
        return True
    finally:
        await producer.stop()
        noise.setLevel(level)


async def ensure_topics(
    settings: Settings,
    table: Sequence[Topic],
    changelogs: Sequence[str],
    kind: BrokerKind = "tansu",
) -> None:
    """Create the topics that are missing and check those that are there.

    Raises:
        TopicMismatchError: a topic has another number of partitions than configured (keys would move
            between partitions and state would be split), or another clean-up policy (a changelog
            that is deleted by age loses state). Policies are
            asked of Apache Kafka only: the embedded broker does not tell them.
    """
    wanted: dict[str, dict[str, str]] = {settings.topic(t.name): t.config() for t in table}
    wanted |= {name: {"cleanup.policy": "compact"} for name in changelogs}
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        missing = [
            NewTopic(name, settings.partitions, settings.replication, topic_configs=config)
            for name, config in wanted.items()
            if name not in present
        ]
        if missing:
            await _create(admin, missing)
        for described in await _described(admin, sorted(wanted)):
            found = len(described["partitions"])
            if found != settings.partitions:
                msg = (
                    f"topic {described['topic']} has {found} partitions, the configuration says "
                    f"{settings.partitions}; keys would move and state would be split: set "
                    f"BACKBEAT_PARTITIONS={found}, or use another BACKBEAT_TOPIC_PREFIX"
                )
                raise TopicMismatchError(msg)
        if kind == "kafka":
            await _check_policies(admin, wanted)
    finally:
        await admin.close()


async def _check_policies(admin: AIOKafkaAdminClient, wanted: dict[str, dict[str, str]]) -> None:
    asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in sorted(wanted)]
    for response in await admin.describe_configs(asked):
        for resource in response.resources:
            name, entries = resource[3], {entry[0]: entry[1] for entry in resource[4]}
            should = wanted[name]["cleanup.policy"]
            if (found := entries.get("cleanup.policy")) != should:
                msg = f"topic {name} has cleanup.policy {found}; it must be {should}"
                raise TopicMismatchError(msg)


async def _described(admin: AIOKafkaAdminClient, names: list[str]) -> list[dict[str, Any]]:
    """Topics as the broker describes them; one that was just created takes a moment to have partitions."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CONNECT_SECONDS
    while True:
        found: list[dict[str, Any]] = await admin.describe_topics(names)
        if all(topic["partitions"] for topic in found) or loop.time() > deadline:
            return found
        await asyncio.sleep(0.1)


async def _create(admin: AIOKafkaAdminClient, topics: list[NewTopic]) -> None:
    try:
        response: Any = await admin.create_topics(topics)
    except TopicAlreadyExistsError:
        return
    for error in response.topic_errors:
        name, code = error[0], error[1]
        if code not in {0, TopicAlreadyExistsError.errno}:
            msg = f"cannot create topic {name}: {for_code(code).__name__}"
            raise ConfigurationError(msg)
    log.info("created topics %s", ", ".join(t.name for t in topics))
