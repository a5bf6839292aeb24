"""The API's own metrics, in a registry of their own: two applications in one process do not clash.

Labels are bounded: routes are templates, reasons come from closed sets, tenants never appear.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)


class ApiMetrics:
    """Everything the API counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "backbeat_requests_answered_total",
            "Requests by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "backbeat_request_seconds",
            "Time to the start of the answer.",
            ["route"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
            registry=self.registry,
        )
        self.events_accepted = Counter(
            "backbeat_events_accepted_total",
            "Events acknowledged by the broker.",
            ["topic"],
            registry=self.registry,
        )
        self.events_refused = Counter(
            "backbeat_events_refused_total",
            "Events that were not published, by reason.",
            ["topic", "reason"],
            registry=self.registry,
        )
        self.subscribers = Gauge(
            "backbeat_subscribers",
            "Open streams and sockets.",
            ["kind"],
            registry=self.registry,
        )
        self.subscribers_dropped = Counter(
            "backbeat_subscribers_dropped_total",
            "Subscribers that were cut off, by reason.",
            ["kind", "reason"],
            registry=self.registry,
        )
        self.snapshots = Counter(
            "backbeat_snapshots_sent_total",
            "Alert streams that began with a snapshot, by reason.",
            ["reason"],
            registry=self.registry,
        )
