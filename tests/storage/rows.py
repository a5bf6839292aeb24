"""Rows to store, with as little said as a test cares about."""

import time
from collections.abc import Mapping
from pathlib import Path

from models.config import load_series_config
from models.records import Alert, Delivery, Finding, Value, Window
from models.series import format_key
from storage.protocols import Position, Rows

CONFIG = load_series_config(Path(__file__).parents[2] / "config" / "series.toml")

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000

T0 = (int(time.time()) // 3_600 - 5) * HOUR
"""A full hour some hours ago: InfluxDB takes nothing that is older than its retention."""

DE = {"country": "DE"}


def plays(number: float, **fields: object) -> Value:
    return Value(value=float(number), weight=float(number), **fields)


def window(
    start: int = T0,
    *,
    tenant: str = "acme",
    group: str = "country",
    tags: Mapping[str, str] = DE,
    stream: str = "live",
    size: int = 10 * SECOND,
    slide: int | None = None,
    revision: int = 0,
    values: Mapping[str, Value] | None = None,
    count: int = 3,
) -> Window:
    return Window(
        tenant=tenant,
        group=format_key(tenant, group, tags),
        stream=stream,
        start=start,
        end=start + size,
        size=size,
        slide=slide or size,
        count=count,
        values=dict(values) if values is not None else {"plays": plays(count)},
        revision=revision,
    )


def metric(
    start: int = T0, value: float | None = 1.0, name: str = "cpu", **fields: object
) -> Window:
    values = {"value": Value(value=value, weight=0.0 if value is None else 1.0)}
    return window(start, group=f"metric:{name}", values=values, **fields)


def series(measure: str = "plays", tenant: str = "acme", tags: Mapping[str, str] = DE) -> str:
    return format_key(tenant, measure, tags)


def alert(alert_id: str = "a1", revision: int = 0, **fields: object) -> Alert:
    given = {
        "tenant": "acme", "rule": "silent", "rule_version": "1", "kind": "threshold",
        "state": "firing", "severity": "page", "series": series(), "measure": "plays",
        "tags": dict(DE), "stream": "live", "started_at": T0, "fired_at": T0 + MINUTE,
        "updated_at": T0 + MINUTE + revision, "reason": "breached",
    }  # fmt: skip
    return Alert(**{**given, **fields, "id": alert_id, "revision": revision})


def finding(incident: str = "a1", state: str = "firing", **fields: object) -> Finding:
    given = {
        "tenant": "acme", "rule": "silent", "rule_version": "1", "kind": "threshold",
        "series": series(), "stream": "live", "measure": "plays", "tags": dict(DE),
        "severity": "page", "since": T0, "at": T0 + MINUTE, "window_start": T0,
        "window_end": T0 + MINUTE, "reason": "breached",
    }  # fmt: skip
    return Finding(**{**given, **fields, "incident": incident, "state": state})


def delivery(notification: str = "n1", **fields: object) -> Delivery:
    given = {
        "tenant": "acme", "receiver": "webhook", "alert": "a1", "transition": "firing",
        "outcome": "delivered", "attempts": 1, "at": T0 + 2 * MINUTE,
    }  # fmt: skip
    return Delivery(**{**given, **fields, "notification": notification})


def rows(*items: Window | Alert | Finding | Delivery | Position) -> Rows:
    """Put each item where it belongs; alerts get offsets 0, 1, 2 … of partition 0."""

    def every(kind: type) -> list:
        return [item for item in items if isinstance(item, kind)]

    alerts = every(Alert)
    return Rows(
        every(Window), every(Finding), alerts, every(Delivery), every(Position),
        [(0, offset) for offset in range(len(alerts))],
    )  # fmt: skip
