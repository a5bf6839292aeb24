"""Forty minutes of a streaming service that goes wrong in one place, ending now."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

from models.config import load_series_config
from models.records import Alert, Delivery, Finding, Value, Window
from models.series import format_key
from storage.memory import MemoryStore
from storage.protocols import Position, Rows

PANE = 10_000
MINUTE = 60_000
SPAN = 40 * MINUTE
LAG = 14_000
"""How far the newest closed window is behind: the pane, the lateness, a flush."""

GROUPS: list[tuple[dict[str, str], float]] = [
    ({}, 1280.0),
    ({"platform": "ios"}, 510.0),
    ({"platform": "android"}, 470.0),
    ({"platform": "web"}, 190.0),
    ({"country": "FR"}, 240.0),
    ({"country": "DE"}, 310.0),
    ({"country": "FR", "platform": "ios"}, 96.0),
]
FAILING = {"country": "FR", "platform": "ios"}
FAILS_FOR = 6 * MINUTE


class Service:
    """Makes windows of any time, always the same for the same time."""

    def __init__(self, now: int | None = None) -> None:
        self.now = now or time.time_ns() // 1_000_000
        self.last = (self.now - LAG) // PANE * PANE - PANE
        self.broke = self.last - FAILS_FOR
        self.series = load_series_config(Path(__file__).parents[2] / "config" / "series.toml")

    def _plays(self, base: float, start: int, seed: str) -> float:
        wave = 1 + 0.09 * math.sin(start / 900_000) + 0.03 * math.sin(start / 170_000)
        noise = random.Random(f"{seed}{start}").gauss(0, 0.025)
        return round(base * 10 * (wave + noise))

    def _error_rate(self, tags: dict[str, str], start: int, seed: str) -> float:
        rate = max(0.002, random.Random(f"e{seed}{start}").gauss(0.011, 0.003))
        if start >= self.broke and FAILING.items() >= tags.items() and tags:
            share = {1: 0.35, 2: 1.0}[len(tags)]
            rate += share * 0.105 * min(1.0, (start - self.broke) / 90_000 + 0.4)
        return round(rate, 5)

    def window(self, tags: dict[str, str], base: float, start: int, size: int) -> Window:
        """One window of plays; a minute's is the mean of its panes, with a band."""
        seed = format_key("demo", "x", tags)
        starts = range(start, start + size, PANE)
        plays = sum(self._plays(base, s, seed) for s in starts)
        errors = sum(self._error_rate(tags, s, seed) for s in starts) / len(starts)
        startup = (
            640 + 60 * math.sin(start / 700_000) + random.Random(f"s{seed}{start}").gauss(0, 18)
        )
        if tags == {"platform": "web"} and start >= self.last - 12 * MINUTE:
            startup += 240 * min(1.0, (start - self.last + 12 * MINUTE) / 240_000)
        expected = base * 10 * len(starts) * (1 + 0.09 * math.sin(start / 900_000))

        def banded(value: float, middle: float, width: float, weight: float) -> Value:
            if size == PANE:
                return Value(value=value, weight=weight)
            score = abs(value - middle) / (width / 3)
            low = max(0.0, middle - width)
            return Value(value=value, weight=weight, score=score, low=low, high=middle + width)

        return Window(
            tenant="demo",
            group=format_key("demo", "_".join(sorted(tags)) or "all", tags),
            stream="live",
            start=start,
            end=start + size,
            size=size,
            slide=PANE,
            count=int(plays),
            values={
                "plays": banded(plays, expected, expected * 0.11, plays),
                "error_rate": banded(errors, 0.011, 0.006, plays),
                "startup_p95": banded(
                    round(startup, 1), 640 + 60 * math.sin(start / 700_000), 90, plays * 0.97
                ),
                "listeners": Value(value=round(plays * 0.83), weight=plays, learning=True),
            },
        )

    def metric(self, start: int) -> Window:
        """A gauge with a band, and a gap."""
        value = 0.42 + 0.05 * math.sin(start / 400_000) + random.Random(f"m{start}").gauss(0, 0.012)
        return Window(
            tenant="demo",
            group=format_key("demo", "metric:queue_depth", {"region": "eu-west"}),
            stream="live",
            start=start,
            end=start + PANE,
            size=PANE,
            slide=PANE,
            count=1,
            values={
                "value": Value(value=value * 1000, weight=1.0, score=0.8, low=340.0, high=530.0)
            },
        )

    def windows(self, first: int, last: int) -> list[Window]:
        """All windows that end with a pane of [first, last]."""
        found = []
        for start in range(first, last + 1, PANE):
            for tags, base in GROUPS:
                found.append(self.window(tags, base, start, PANE))
                found.append(self.window(tags, base, start - MINUTE + PANE, MINUTE))
            if not self.last - 22 * MINUTE < start < self.last - 19 * MINUTE:
                found.append(self.metric(start))
        return found

    def failing(self, revision: int = 0, **changes) -> Alert:
        """The incident: playback fails in one place."""
        started = self.broke
        fields = {
            "id": "3f9c1a7e52d04b18",
            "revision": revision,
            "tenant": "demo",
            "rule": "playback-errors",
            "rule_version": "1",
            "kind": "threshold",
            "state": "firing",
            "severity": "page",
            "series": format_key("demo", "error_rate", FAILING),
            "measure": "error_rate",
            "tags": FAILING,
            "stream": "live",
            "started_at": started,
            "fired_at": started + 20_000,
            "updated_at": started + 20_000 + revision * 60_000,
            "reason": "error rate of ios × FR is 7.2 %, above 5 %, for 20 s",
            "summary": "Playback is failing on ios in FR",
            "value": 0.0724,
            "threshold": 0.05,
            "peak": 0.124,
            "seen_at": started + 23_400,
        }
        return Alert(**(fields | changes))

    def slow(self) -> Alert:
        started = self.last - 11 * MINUTE
        return self.failing(
            id="77aa20c4e1", rule="slow-start", kind="anomaly", severity="ticket",
            series=format_key("demo", "startup_p95", {"platform": "web"}), measure="startup_p95",
            tags={"platform": "web"}, started_at=started, fired_at=started + 30_000,
            updated_at=started + 30_000, reason="startup p95 of web is 861 ms, above the expected 550 to 730 ms, for 30 s",
            summary="", value=861.0, threshold=8.0, score=9.4, low=550.0, high=730.0, peak=902.0,
            shape="level shift", tail=0.0011, contributions={"level": 0.56, "jump": 0.21},
        )  # fmt: skip

    def passed(self, revision: int = 0) -> Alert:
        started = self.last - 33 * MINUTE
        over = {"state": "resolved", "resolved_at": started + 4 * MINUTE,
                "reason": "plays are as expected again, for 60 s; they were 70,890 at worst"} if revision else {}  # fmt: skip
        return self.failing(
            revision, id="b1d5c9", rule="plays-unusual", kind="anomaly", severity="ticket",
            series=format_key("demo", "plays", {}), measure="plays", tags={}, started_at=started,
            fired_at=started + 60_000, updated_at=started + (1 + 3 * revision) * MINUTE, summary="",
            value=71_240.0, score=11.2, threshold=10.0, low=74_600.0, high=85_300.0, peak=70_890.0,
            **({"reason": "plays are 71,240, below the expected 74,600 to 85,300, for 60 s"} | over),
        )  # fmt: skip

    def finding(self, alert: Alert, state: str, at: int, value: float) -> Finding:
        return Finding(
            incident=alert.id, tenant="demo", rule=alert.rule, rule_version="1",
            kind=alert.kind, state=state, series=alert.series, stream="live",
            measure=alert.measure, tags=alert.tags, severity=alert.severity, since=alert.started_at,
            at=at, window_start=at - PANE, window_end=at, reason=alert.reason, value=value,
            threshold=alert.threshold,
        )  # fmt: skip

    def delivery(self, alert: Alert, **changes) -> Delivery:
        fields = {
            "notification": f"{alert.id}/{alert.state}/webhook", "tenant": "demo",
            "receiver": "webhook", "alert": alert.id, "transition": alert.state,
            "outcome": "delivered", "attempts": 1, "at": alert.seen_at + 700, "status": 200,
        }  # fmt: skip
        return Delivery(**(fields | changes))


async def seeded(service: Service, *, quiet: bool = False) -> MemoryStore:
    """A store with all that; ``quiet``: without anything firing."""
    store = MemoryStore(service.series)
    alerts = [service.passed(), service.passed(1)]
    findings = [
        service.finding(alerts[0], "firing", alerts[0].fired_at, 71_240.0),
        service.finding(alerts[0], "resolved", alerts[1].resolved_at, 77_000.0),
    ]
    deliveries = [service.delivery(a) for a in alerts]
    if not quiet:
        slow = service.slow()
        alerts.append(slow)
        findings.append(service.finding(slow, "firing", slow.fired_at, 861.0))
    await store.write(
        Rows(
            windows=service.windows(service.last - SPAN, service.last),
            findings=findings,
            alerts=alerts,
            deliveries=deliveries,
            positions=[Position("alerts", 0, 0)],
        )
    )
    return store
