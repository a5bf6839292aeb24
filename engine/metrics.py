"""The engine's Prometheus metrics; labels are bounded by the topic table and partition counts."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

FLUSH = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class EngineMetrics:
    """One set per process, on the registry it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        where = ["source", "partition"]
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
            "things_dropped", "What a bound or a rule left out.", ["name", "reason"]
        )
        self.flush_seconds = Histogram(
            "backbeat_flush_seconds",
            "Time of a flush.",
            ["source"],
            buckets=FLUSH,
            registry=registry,
        )
        self.lag = self._gauge("partition_lag_records", "Records not yet in flushed state.", where)
        self.restore_seconds = self._gauge("partition_restore_seconds", "Last restore.", where)
        self.state_keys = self._gauge("state_keys", "Keys in memory.", where)

    def _counter(self, name: str, about: str, labels: Sequence[str] = ("source",)) -> Counter:
        return Counter(f"backbeat_{name}_total", about, labels, registry=self.registry)

    def _gauge(self, name: str, about: str, labels: Sequence[str]) -> Gauge:
        return Gauge(f"backbeat_{name}", about, labels, registry=self.registry)

    def count(self, name: str, reason: str, n: int = 1) -> None:
        """The counter that pure folds are given."""
        self.dropped.labels(name, reason).inc(n)
