"""The broker as the chaos tests see and treat it: offsets, what readers are shown, what is taken away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest
from aiokafka.structs import ConsumerRecord, TopicPartition

from tests.support.chaos_events import PARTITIONS
from tests.support.kafka import KafkaServer
from tests.support.kafka_protocol import living_brokers
from tests.support.process import HOST, free_port

Isolation = Literal["read_committed", "read_uncommitted"]

QUICK_CLEANER = {"log.cleaner.backoff.ms": "200", "log.initial.task.delay.ms": "500"}
"""A broker that looks for something to compact five times a second."""

OFTEN_COMPACTED = {
    "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.001", "segment.ms": "1000",
    "min.compaction.lag.ms": "0", "delete.retention.ms": "100",
}  # fmt: skip
"""A topic that is compacted as soon as there is anything to compact."""

READ_WITHIN = 180.0


@asynccontextmanager
async def consumer(bootstrap: str, isolation: Isolation) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader without a group."""
    made = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest",
        isolation_level=isolation, fetch_max_wait_ms=100,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )  # fmt: skip
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An admin client."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def places(topic: str) -> list[TopicPartition]:
    """Every partition of a topic."""
    return [TopicPartition(topic, p) for p in range(PARTITIONS)]


async def _ends(bootstrap: str, topic: str, isolation: Isolation) -> list[int]:
    async with consumer(bootstrap, isolation) as reader:
        found = await reader.end_offsets(places(topic))
    return [found[tp] for tp in places(topic)]


def ends(bootstrap: str, topic: str, isolation: Isolation = "read_uncommitted") -> list[int]:
    """The ends of a topic's partitions; for ``read_committed``, as far as readers are let."""
    return asyncio.run(_ends(bootstrap, topic, isolation))


def begins(bootstrap: str, topic: str) -> list[int]:
    """The first offsets that are still in the log."""

    async def ask() -> list[int]:
        async with consumer(bootstrap, "read_uncommitted") as reader:
            found = await reader.beginning_offsets(places(topic))
        return [found[tp] for tp in places(topic)]

    return asyncio.run(ask())


def read(
    bootstrap: str,
    topic: str,
    isolation: Isolation = "read_committed",
    until: Sequence[int] | None = None,
) -> list[list[ConsumerRecord]]:
    """Every record, by partition in offset order; fails if an open transaction hides the end.

    Args:
        until: offsets to read up to; else the ends there are.
    """
    return asyncio.run(_read(bootstrap, topic, isolation, until))


async def _read(
    bootstrap: str, topic: str, isolation: Isolation, until: Sequence[int] | None
) -> list[list[ConsumerRecord]]:
    found: list[list[ConsumerRecord]] = [[] for _ in range(PARTITIONS)]
    last = until or await _ends(bootstrap, topic, "read_uncommitted")
    async with consumer(bootstrap, isolation) as reader:
        reader.assign(places(topic))
        await reader.seek_to_beginning(*places(topic))
        deadline = time.monotonic() + READ_WITHIN
        waiting = {tp for tp in places(topic) if last[tp.partition]}
        while waiting:
            assert time.monotonic() < deadline, f"{topic}: not readable to {last}: {waiting}"
            for tp, records in (await reader.getmany(*waiting, timeout_ms=200)).items():
                found[tp.partition] += [r for r in records if r.offset < last[tp.partition]]
            waiting = {tp for tp in waiting if await reader.position(tp) < last[tp.partition]}
    return found


def committed(bootstrap: str, group: str, topic: str) -> list[int]:
    """The group's offsets; -1 where it has none."""

    async def ask() -> list[int]:
        async with admin(bootstrap) as client:
            found = await client.list_consumer_group_offsets(group, partitions=places(topic))
        return [found[tp].offset for tp in places(topic)]

    return asyncio.run(ask())


def delete_group(bootstrap: str, group: str) -> None:
    """Forget a group and its offsets, as the broker does with one that was long away."""

    async def delete() -> None:
        async with admin(bootstrap) as client:
            node = await client.find_coordinator(group)
            answer = await client._send_request(DeleteGroupsRequest([group]), node)
        assert [error for _, error in answer.results] == [0], answer

    asyncio.run(delete())


def delete_records(bootstrap: str, topic: str, before: Mapping[int, int]) -> None:
    """Truncate partitions: what lies before these offsets is gone, as by retention."""

    async def delete() -> None:
        async with admin(bootstrap) as client:
            await client.delete_records(
                {TopicPartition(topic, p): RecordsToDelete(o) for p, o in before.items()}
            )

    asyncio.run(delete())


def create(bootstrap: str, topic: str, config: dict[str, str]) -> None:
    """Make a topic before the worker does, with settings of its own."""

    async def make() -> None:
        async with admin(bootstrap) as client:
            await client.create_topics([NewTopic(topic, PARTITIONS, 1, topic_configs=config)])

    asyncio.run(make())


def leaders(bootstrap: str, topic: str) -> list[int]:
    """The node that leads each partition; -1 where there is none."""

    async def ask() -> list[int]:
        async with admin(bootstrap) as client:
            (described,) = await client.describe_topics([topic])
        found = {p["partition"]: p["leader"] for p in described["partitions"]}
        return [found.get(p, -1) for p in range(PARTITIONS)]

    return asyncio.run(ask())


def surviving(
    before: Iterable[list[ConsumerRecord]], after: Iterable[list[ConsumerRecord]]
) -> float:
    """The share of the records read before that are still there, by offset."""
    kept = total = 0
    for old, new in zip(before, after, strict=True):
        offsets = {r.offset for r in new}
        total += len(old)
        kept += sum(r.offset in offsets for r in old)
    return kept / max(1, total)


class ClusterNode(KafkaServer):
    """One of three brokers, each a controller too; topics and transactions on all three."""

    def __init__(self, folder: Path, node: int, voters: Callable[[], str], port: int) -> None:
        replicated = {
            "default.replication.factor": "3", "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3", "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2", "node.id": str(node),
            # One vote may be lost at any time: an election must not be called by every pause.
            "controller.quorum.fetch.timeout.ms": "2000",
            "controller.quorum.election.timeout.ms": "1000",
        }  # fmt: skip
        super().__init__(folder, port, replicated)
        self.node = node
        self._voters = voters

    @property
    def voter(self) -> str:
        """This node as a quorum's list of voters has it."""
        return f"{self.node}@{HOST}:{self._controller}"

    def properties(self) -> dict[str, str]:
        found = super().properties() | {"controller.quorum.voters": self._voters()}
        del found["controller.quorum.bootstrap.servers"]
        return found

    def answers(self) -> bool:
        """It serves clients; the others may not be there yet."""
        return living_brokers(HOST, self.port) >= 1


class Cluster:
    """Three brokers on loopback; any one of them may be lost."""

    def __init__(self, folder: Path) -> None:
        def voters() -> str:
            return ",".join(node.voter for node in self.nodes)

        self.nodes = [ClusterNode(folder / f"node{n}", n, voters, free_port()) for n in (1, 2, 3)]

    @property
    def bootstrap(self) -> str:
        """All three, as a client wants them."""
        return ",".join(node.address for node in self.nodes)

    @property
    def url(self) -> str:
        """All three, as BACKBEAT_BROKER has them."""
        return ";".join(node.url for node in self.nodes)
