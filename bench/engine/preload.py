"""A data set onto a broker, quickly: its record batches are built once, kept in a file, and sent as they are.

The file lies in ``.cache/bench`` and is named after the data set and the code that makes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from bench.engine import dataset as source
from bench.engine.dataset import PARTITIONS, Dataset

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "bench"

BATCH_BYTES = 64 * 1024
"""Of a record batch before compression; a busy producer's."""

IN_FLIGHT = 4
"""Requests under way; a broker takes one connection's in order, so batches keep theirs."""

LZ4 = 3
"""The codec's number in a record batch."""

HEAD = struct.Struct("<BI")
"""Before each batch in the file: partition, size."""


def batch_file(dataset: Dataset, folder: Path = CACHE) -> Path:
    """The data set's record batches, lz4, made if they are not there yet."""
    code = hashlib.sha256(Path(source.__file__).read_bytes() + Path(__file__).read_bytes())
    stem = f"{dataset.topic}-{dataset.seed}-"
    path = folder / f"{stem}{code.hexdigest()[:8]}.batches"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for outdated in folder.glob(f"{stem}*"):
            outdated.unlink()
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            for partition, batch in _batches(dataset):
                file.write(HEAD.pack(partition, len(batch)) + batch)
        partial.rename(path)
    return path


def read_batches(path: Path) -> Iterator[tuple[int, bytes]]:
    """Partition and bytes of every batch in the file."""
    with path.open("rb") as file:
        while head := file.read(HEAD.size):
            partition, size = HEAD.unpack(head)
            yield partition, file.read(size)


def _builder() -> Any:
    return DefaultRecordBatchBuilder(2, LZ4, 0, -1, -1, 0, BATCH_BYTES)


def _batches(dataset: Dataset) -> Iterator[tuple[int, bytes]]:
    builders, counts = [_builder() for _ in range(PARTITIONS)], [0] * PARTITIONS
    for partition, at, key, value in dataset.records():
        added = builders[partition].append(counts[partition], at, key, value, [])
        if added is None:
            yield partition, bytes(builders[partition].build())
            builders[partition], counts[partition] = _builder(), 0
            builders[partition].append(0, at, key, value, [])
        counts[partition] += 1
    for partition, builder in enumerate(builders):
        if counts[partition]:
            yield partition, bytes(builder.build())


async def preload(bootstrap: str, dataset: Dataset, folder: Path = CACHE) -> None:
    """Make the data set's topic and fill it; all acknowledged on return."""
    path = batch_file(dataset, folder)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        kept = {"retention.ms": "-1"}  # event times lie in the past
        await admin.create_topics([NewTopic(dataset.topic, PARTITIONS, 1, topic_configs=kept)])
    finally:
        await admin.close()
    client = AIOKafkaClient(bootstrap_servers=bootstrap)
    await client.bootstrap()
    try:
        await _send(client, dataset.topic, path)
    finally:
        await client.close()


async def _send(client: Any, topic: str, path: Path) -> None:
    await client.set_topics([topic])
    last = TopicPartition(topic, PARTITIONS - 1)
    while (node := client.cluster.leader_for_partition(last)) in {None, -1}:
        await asyncio.sleep(0.05)
        await client.force_metadata_update()
    requests = _one_a_partition(path)
    first = next(requests)
    while first:  # a leader is named a moment before it leads
        refused = _refused(await client.send(node, _request(topic, first)))
        first = [(number, batch) for number, batch in first if number in refused]
        await asyncio.sleep(0.05)
    under_way: deque[asyncio.Task[Any]] = deque()
    for batches in requests:
        under_way.append(asyncio.create_task(client.send(node, _request(topic, batches))))
        await asyncio.sleep(0)  # it is written before the next
        if len(under_way) == IN_FLIGHT:
            _raise_if_refused(await under_way.popleft())
    while under_way:
        _raise_if_refused(await under_way.popleft())


def _request(topic: str, batches: list[tuple[int, bytes]]) -> Any:
    return ProduceRequest(None, -1, 60_000, [(topic, batches)])


def _one_a_partition(path: Path) -> Iterator[list[tuple[int, bytes]]]:
    """What a request may hold: at most one batch of each partition."""
    request: dict[int, bytes] = {}
    for partition, batch in read_batches(path):
        if partition in request:
            yield list(request.items())
            request = {}
        request[partition] = batch
    if request:
        yield list(request.items())


def _refused(response: Any) -> dict[int, int]:
    """Error codes by partition."""
    return {n: code for _, partitions in response.topics for n, code, *_ in partitions if code}


def _raise_if_refused(response: Any) -> None:
    if refused := _refused(response):
        msg = f"batches were refused: partition and error code {refused}"
        raise OSError(msg)
