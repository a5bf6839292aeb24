"""A small, fixed world for the API's tests: two tenants, plays and a metric, incidents."""

from __future__ import annotations

from models.config import SeriesConfig, load_series_config
from models.records import Alert, Delivery, Finding, Value, Window
from models.series import format_key
from storage.memory import MemoryStore
from storage.protocols import Position, Rows

NOW = 1_767_323_045_000  # 2026-01-02T03:04:05Z
PANE = 10_000
MINUTE = 60_000


def series_config() -> SeriesConfig:
    from pathlib import Path

    return load_series_config(Path(__file__).parents[2] / "config" / "series.toml")


def alert(number: int, tenant: str = "demo", **changes) -> Alert:
    """Incident ``number``, which began so many minutes before the fixture's present."""
    started = NOW - number * MINUTE
    fields = {
        "id": f"inc-{tenant}-{number:03d}",
        "revision": 0,
        "tenant": tenant,
        "rule": "playback-errors",
        "rule_version": "1",
        "kind": "threshold",
        "state": "firing",
        "severity": "page",
        "series": format_key(tenant, "error_rate", {"country": "FR", "platform": "ios"}),
        "measure": "error_rate",
        "tags": {"country": "FR", "platform": "ios"},
        "stream": "live",
        "started_at": started,
        "fired_at": started + 20_000,
        "updated_at": started + 20_000,
        "reason": "error_rate 0.12 > 0.05 for 20s",
        "summary": "Playback is failing on ios in FR",
        "value": 0.12,
        "threshold": 0.05,
        "peak": 0.14,
        "seen_at": started + 23_456,
    }
    return Alert(**(fields | changes))


def finding(of: Alert, state: str = "firing") -> Finding:
    return Finding(
        incident=of.id,
        tenant=of.tenant,
        rule=of.rule,
        rule_version=of.rule_version,
        kind="threshold",
        state=state,
        series=of.series,
        stream=of.stream,
        measure=of.measure,
        tags=of.tags,
        severity=of.severity,
        since=of.started_at,
        at=of.fired_at,
        window_start=of.fired_at - PANE,
        window_end=of.fired_at,
        reason=of.reason,
        value=of.value,
        threshold=of.threshold,
    )


def delivery(of: Alert) -> Delivery:
    return Delivery(
        notification=f"{of.id}/firing/webhook",
        tenant=of.tenant,
        receiver="webhook",
        alert=of.id,
        transition="firing",
        outcome="delivered",
        attempts=1,
        at=of.seen_at + 800,
        status=200,
    )


def plays_window(tenant: str, tags: dict[str, str], start: int, size: int = PANE) -> Window:
    """A window of plays whose numbers follow from its start."""
    group = "_".join(sorted(tags)) or "all"
    plays = 100.0 + start // PANE % 7 * 10
    band = {"score": 1.5, "low": 80.0, "high": 180.0} if size == MINUTE else {}
    return Window(
        tenant=tenant,
        group=format_key(tenant, group, tags),
        stream="live",
        start=start,
        end=start + size,
        size=size,
        slide=PANE,
        count=int(plays),
        values={
            "plays": Value(value=plays, weight=plays, **band),
            "error_rate": Value(value=0.02, weight=plays),
            "startup_p95": Value(value=740.0, weight=plays - 3, learning=True),
        },
    )


def metric_window(tenant: str, start: int, value: float = 0.7) -> Window:
    return Window(
        tenant=tenant,
        group=format_key(tenant, "metric:cpu", {"host": "a/1"}),
        stream="live",
        start=start,
        end=start + PANE,
        size=PANE,
        slide=PANE,
        count=1,
        values={"value": Value(value=value, weight=1.0, score=0.4, low=0.5, high=0.9)},
    )


async def seeded_store(tenants: tuple[str, ...] = ("demo", "other")) -> MemoryStore:
    """Ten minutes of windows, three incidents, a finding and a delivery for each tenant."""
    store = MemoryStore(series_config())
    last = (NOW // PANE - 2) * PANE
    windows = [
        w
        for tenant in tenants
        for start in range(last - 10 * MINUTE, last + 1, PANE)
        for w in (
            plays_window(tenant, {}, start),
            plays_window(tenant, {}, start - MINUTE + PANE, MINUTE),
            plays_window(tenant, {"country": "FR", "platform": "ios"}, start),
            metric_window(tenant, start),
        )
    ]
    alerts = []
    for tenant in tenants:
        first = alert(30, tenant)
        alerts += [
            first,
            alert(30, tenant, revision=1, state="resolved", resolved_at=NOW - 20 * MINUTE),
            alert(5, tenant),
            alert(2, tenant, severity="ticket", rule="plays-unusual", kind="anomaly",
                  series=format_key(tenant, "plays", {}), tags={}, measure="plays",
                  summary="", reason="score 12.1 >= 10 for 60s", score=12.1, low=80.0, high=180.0,
                  value=4.0, threshold=10.0),
        ]  # fmt: skip
    await store.write(
        Rows(
            windows=windows,
            alerts=alerts,
            findings=[finding(a) for a in alerts if a.revision == 0],
            deliveries=[delivery(a) for a in alerts if a.revision == 0 and a.severity == "page"],
            positions=[Position("alerts", 0, 0)],
        )
    )
    return store
