"""The alert and the webhook's body that docs/alerts.md shows are what the code makes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from agents.stories import tell
from alerts.conditions import advance
from alerts.incidents import CLOCKS, INCIDENTS, IncidentConfig, fold_findings
from alerts.rules import parse_rule
from models.evidence import Row, Told
from models.flow import Batch, Record
from models.records import Finding, Value, Window, to_json
from tests.alerts.timeline import SERIES, T0

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
MINUTE, SLIDE = 60_000, 10_000
TOTAL = "demo|all{}"
RULE = parse_rule(
    {
        "id": "plays-unusual", "when": "anomaly(plays) >= 2 for 60s", "window": "1m", "group": [],
        "severity": "ticket", "summary": "Plays are not what they were",
    },
    SERIES,
)  # fmt: skip


def findings() -> list[Finding]:
    """The total falls for some minutes, and comes back."""
    made: list[Finding] = []
    state = None
    for n, plays in enumerate([845, 831, 812, 790, 823, *[948] * 8]):
        start = T0 + n * SLIDE
        low = plays < 900
        value = Value(
            value=plays, weight=plays, low=880.0, high=1020.0,
            score=2.4 + (845 - plays) / 100 if low else 0.2, shape="dip" if low else "",
            tail=0.0011 if low else None,
            contributions={"value": 0.58, "level": 0.27, "jump": 0.15} if low else {},
        )  # fmt: skip
        window = Window(
            "demo", TOTAL, "live", start, start + MINUTE, MINUTE, SLIDE, plays, {"plays": value}
        )
        state, found = advance(RULE, state, window, value, "demo|plays{}")
        made += found
    return made


def versions() -> list[dict[str, Any]]:
    """The alert's versions, by way of attribution and the alerts step."""
    rows = [
        Row((), "plays", "count", 845, 880, 1020, 845),
        Row((("country", "FR"), ("platform", "ios")), "plays", "count", 78, 150, 180, 78),
        Row((("country", "FR"), ("platform", "android")), "plays", "count", 74, 77, 85, 74),
    ]
    told = []
    for finding in findings():
        if finding.state == "firing":
            told += tell([Told("demo", "live", 0, finding, rows[0])], {r.tags: r for r in rows}, [])
        else:
            told.append(finding)
    records = [Record(n, f.at, None, to_json(f)) for n, f in enumerate(told)]
    batch = Batch("findings", 0, records, at_end=True)
    state: dict[str, Any] = {INCIDENTS: {}, CLOCKS: {}}
    out = fold_findings(batch, state, T0 + 400_000, IncidentConfig())
    return [json.loads(o.value) for o in out if o.topic == "alerts" and o.value]


def blocks() -> list[dict[str, Any]]:
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def test_the_alert_on_the_page_is_what_the_steps_make():
    first, last = versions()
    assert blocks()[:2] == [first, last]


def test_the_webhooks_body_on_the_page_is_what_is_posted():
    golden = ROOT / "tests" / "alerts" / "golden" / "webhook.json"
    assert blocks()[2] == json.loads(golden.read_text(encoding="utf-8"))
