"""The engine's Prometheus metrics; labels are bounded by the topic table and partition counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class EngineMetrics:
    """One set per process, on the registry it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.records = Counter(
            "backbeat_records_folded_total",
            "Records whose effects are flushed.",
            ["source"],
            registry=registry,
        )
        self.outputs = Counter(
            "backbeat_outputs_flushed_total", "Records written.", ["source"], registry=registry
        )
        self.changes = Counter(
            "backbeat_state_changes_flushed_total",
            "Changelog records written.",
            ["source"],
            registry=registry,
        )
        self.flush_seconds = Histogram(
            "backbeat_flush_seconds",
            "Time of a flush.",
            ["source"],
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=registry,
        )
        self.lag = Gauge(
            "backbeat_partition_lag_records",
            "Records not yet in the flushed state.",
            ["source", "partition"],
            registry=registry,
        )
        self.restore_seconds = Gauge(
            "backbeat_partition_restore_seconds",
            "Time of the last restore.",
            ["source", "partition"],
            registry=registry,
        )
        self.state_keys = Gauge(
            "backbeat_state_keys", "Keys in memory.", ["source", "partition"], registry=registry
        )
        self.truncated = Counter(
            "backbeat_source_records_truncated_total",
            "Records that the broker deleted before they were read.",
            ["source"],
            registry=registry,
        )
        self.dead_letters = Counter(
            "backbeat_records_rejected_total",
            "Records sent to dead-letters.",
            ["source", "reason"],
            registry=registry,
        )
        self.dropped = Counter(
            "backbeat_things_dropped_total",
            "What a bound or a rule left out, by name and reason.",
            ["name", "reason"],
            registry=registry,
        )

    def count(self, name: str, reason: str, n: int = 1) -> None:
        """The counter that pure folds are given."""
        self.dropped.labels(name, reason).inc(n)
