"""Findings about what windows wait for: in words, and one alert however many partitions say so."""

from __future__ import annotations

from agents.health import held_output
from alerts.incidents import INCIDENT_STORES, IncidentConfig, fold_findings
from models.flow import Batch, Record
from models.records import decode_alert, decode_finding
from tables.watermarks import Held

AT = 1_760_000_400_000
HELD = Held("demo", "live", 3, AT, AT + 70_000, 61_000)


def alerts_of(*found: Held):
    state = {spec.name: {} for spec in INCIDENT_STORES}
    records = [Record(i, AT, out.key, out.value) for i, out in enumerate(map(held_output, found))]
    batch = Batch("findings", 0, records, at_end=True)
    outputs = fold_findings(batch, state, AT, IncidentConfig(receivers=()))
    return [decode_alert(out.value) for out in outputs if out.topic == "alerts"]


def test_it_says_which_partition_and_since_when():
    finding = decode_finding(held_output(HELD).value)
    assert (finding.kind, finding.state, finding.severity) == ("health", "firing", "page")
    assert finding.reason == (
        "windows wait for partition 3 of plays at 2025-10-09 09:00:00 UTC: nothing was heard of it "
        "for 1 min 1 s, while others came to 2025-10-09 09:01:10 UTC; has it an owner?"
    )
    never = decode_finding(held_output(HELD._replace(at=0)).value)
    assert never.reason.startswith("windows wait for partition 3 of plays: nothing")


def test_every_windows_partition_says_so_and_it_is_one_alert():
    over = HELD._replace(over=True, furthest=AT + 90_000)
    slower = HELD._replace(furthest=AT + 80_000)
    found = alerts_of(HELD, slower, over, slower, over)
    assert [(a.state, a.revision) for a in found] == [("firing", 0), ("resolved", 1)]
    assert found[1].id == found[0].id
    later = HELD._replace(at=AT + 100_000, furthest=AT + 200_000)
    assert len({a.id for a in alerts_of(HELD, over, later)}) == 2
