"""The engine's Prometheus metrics; labels are bounded by the topic table and partition counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from engine.partition import Partition

FLUSH = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class EngineMetrics:
    """One set per process, on the registry it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.records = self._counter("records_folded", "Records whose effects are flushed.")
        self.outputs = self._counter("outputs_flushed", "Records written.")
        self.changes = self._counter("state_changes_flushed", "Changelog records written.")
        self.truncated = self._counter(
            "source_records_truncated", "Records that the broker deleted before they were read."
        )
        self.dead_letters = self._counter(
            "records_isolated", "Records that broke a fold.", ["source", "reason"]
        )
        self.dropped = self._counter(
            "things_dropped", "What folds left out, refused or decided.", ["name", "reason"]
        )
        self.flush_seconds = Histogram(
            "backbeat_flush_seconds",
            "Time of a flush.",
            ["source"],
            buckets=FLUSH,
            registry=registry,
        )

    def _counter(self, name: str, about: str, labels: Sequence[str] = ("source",)) -> Counter:
        return Counter(f"backbeat_{name}_total", about, labels, registry=self.registry)

    def watch(self, partitions: Callable[[], Iterable[tuple[str, Partition]]]) -> None:
        """Report on each (source, partition) that there is at the time of a scrape."""
        self.registry.register(_PartitionCollector(partitions))

    def count(self, name: str, reason: str, n: int = 1) -> None:
        """The counter that pure folds are given."""
        self.dropped.labels(name, reason).inc(n)


GAUGES: dict[str, tuple[str, Callable[[Partition], float | None]]] = {
    "partition_lag_records": ("Records not yet in flushed state.", lambda p: p.lag),
    "partition_held_back_records": (
        "Records behind the last stable offset: open transactions hold them back.",
        lambda p: p.held_back,
    ),
    "partition_commit_age_seconds": (
        "Since the last flush; from the assignment on before the first.",
        lambda p: time.monotonic() - (p.flushed_at or p.assigned_at),
    ),
    "partition_standstill_seconds": (
        "For how long something could be read and nothing was flushed.",
        lambda p: p.stood_still(),
    ),
    "partition_flush_seconds": ("Time of the last flush.", lambda p: p.flush_seconds),
    "partition_restore_seconds": ("Time of the last restore.", lambda p: p.restore_seconds),
    "partition_restored_records": ("Changelog records read for it.", lambda p: p.restored_records),
    "partition_buffered_records": ("Records fetched and not yet folded.", lambda p: p.buffered),
    "partition_ready": ("1 when its state is restored.", lambda p: int(p.ready)),
    "partition_watermark_seconds": (
        "Event time (epoch) up to which the live stream is complete; absent before it is known.",
        lambda p: None if (at := p.watermark()) is None else at / 1000,
    ),
    "state_keys": ("Keys in memory.", lambda p: len(p.state)),
}


class _PartitionCollector(Collector):
    def __init__(self, partitions: Callable[[], Iterable[tuple[str, Partition]]]) -> None:
        self._partitions = partitions

    def collect(self) -> Iterable[GaugeMetricFamily]:
        now = list(self._partitions())
        for name, (about, value) in GAUGES.items():
            family = GaugeMetricFamily(f"backbeat_{name}", about, labels=["source", "partition"])
            for source, partition in now:
                if (found := value(partition)) is not None:
                    family.add_metric([source, str(partition.tp.partition)], found)
            yield family
