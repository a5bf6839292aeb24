"""What it costs to judge metrics together as they stream: ``python -m bench.joint --live``.

Hosts send four metrics a minute. The folds of the worker take them, a minute a batch: ingest without
and with the ``[[joint]]`` table (in turns, so that both see the same machine), and the step in which
they meet. CPU time of the folds and of encoding what they changed for the changelog; no broker.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

from msgspec.structs import replace

from agents.attributing import EVIDENCE_STORES, AttributionConfig, fold_evidence
from agents.judging import RuleBook
from agents.meeting import ENTITIES, MeetingConfig
from alerts.rules import parse_rule
from engine.store import PartitionState
from ml.joint import MIN_SAMPLES
from models.config import JointSpec, SeriesConfig, load_series_config
from models.flow import Batch, Output, Record
from models.settings import Settings
from tables.ingest import METRIC_STORES, IngestConfig, fold_metrics
from tables.routes import partition_of

PARTITIONS = 4
MINUTE = 60_000
BEGIN = 1_767_225_600_000
TENANT = "demo"

Rows = Sequence[Any]
"""Values a minute, by metric."""


class Uncounted:
    """Counts nothing."""

    def count(self, name: str, reason: str, n: int = 1) -> None:
        """Take a count."""


class Ingest:
    """The metrics fold over all source partitions, timed."""

    def __init__(self, series: SeriesConfig) -> None:
        self.config = IngestConfig(series, frozenset({TENANT}), PARTITIONS, PARTITIONS)
        self.states = [PartitionState(METRIC_STORES) for _ in range(PARTITIONS)]
        self.seconds = 0.0

    def take(self, batches: Sequence[list[Record]], now: int) -> list[Record]:
        """Fold a minute; what goes to the step where metrics meet."""
        told: list[Output] = []
        for number, records in enumerate(batches):
            state = self.states[number]
            batch = Batch("metrics", number, records, at_end=False)
            began = time.process_time()
            told += fold_metrics(batch, state.stores, now, self.config)
            state.freeze(0, now)
            self.seconds += time.process_time() - began
        return [Record(i, now, o.key, o.value) for i, o in enumerate(told) if o.topic == "evidence"]


def minute(rows: Sequence[Rows], number: int, offset: int) -> list[list[Record]]:
    """The samples of one minute of all hosts, by source partition."""
    batches: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    at = BEGIN + number * MINUTE
    for host, values in enumerate(rows):
        for metric, value in values[number].items():
            tags = {"host": f"host-{host}"}
            key = f"{TENANT}|{metric}{{host=host-{host}}}"
            body = {"tenant_id": TENANT, "name": metric, "value": value, "at": at, "tags": tags,
                    "event_id": f"{key}/{number}"}  # fmt: skip
            log = batches[partition_of(key, PARTITIONS)]
            log.append(Record(offset + len(log), at, key.encode(), json.dumps(body).encode()))
    return batches


def run(make: Callable[[int], Rows], hosts: int, minutes: int, metrics: Sequence[str]) -> str:
    """Go through the minutes; the figures as lines of a table."""
    plain = load_series_config(Settings().series_config)
    joint = JointSpec("health", tuple(metrics), MINUTE, ("host",), MINUTE)
    series = replace(plain, joints=(joint,))
    without, with_it = Ingest(plain), Ingest(series)
    rule = {"id": "r", "when": "joint(health) >= 4 for 2m", "severity": "page"}
    book = RuleBook([parse_rule(rule, series)])
    meeting = MeetingConfig((joint,), PARTITIONS, hosts, book, Uncounted())
    config = AttributionConfig(PARTITIONS, Uncounted(), meeting)
    state = PartitionState(EVIDENCE_STORES)
    rows = [list(islice(make(host), minutes)) for host in range(hosts)]
    folded = changed = sampled = 0.0
    windows = told_bytes = 0
    for number in range(minutes):
        now = BEGIN + number * MINUTE + 30_000
        batches = minute(rows, number, number * hosts * len(metrics))
        sampled += sum(map(len, batches))
        if number % 2:
            without.take(batches, now)
        told = with_it.take(batches, now)
        if not number % 2:
            without.take(batches, now)
        began = time.process_time()
        made = fold_evidence(Batch("evidence", 0, told, at_end=False), state.stores, now, config)
        between = time.process_time()
        state.freeze(0, now)
        if number > MIN_SAMPLES + 2:  # from here on windows are scored
            folded += between - began
            changed += time.process_time() - between
            windows += sum(o.topic == "windows" for o in made)
        told_bytes += sum(len(r.value or b"") for r in told)
    entities = state.stores[ENTITIES.name].values()
    size = sum(len(ENTITIES.encode(e)) for e in entities) / len(entities)
    more = (with_it.seconds - without.seconds) / sampled * 1e6
    judged, encoded = folded / windows * 1e6, changed / windows * 1e6
    return (
        f"{hosts} hosts, {len(metrics)} metrics, {minutes} minutes, {windows} scored windows\n"
        f"ingest, a sample: {without.seconds / sampled * 1e6:.1f} µs without, {more:+.1f} µs with\n"
        f"meeting, a scored window: {judged:.0f} µs to judge, {encoded:.0f} µs to encode\n"
        f"evidence, a sample: {told_bytes / sampled:.0f} bytes; state, a host: {size:,.0f} bytes"
    )
