"""The journal: what is found again by event_id and alert_id in the log, and how little that may be."""

import json

import pytest

from agents.journal import Journal
from alerts.incidents import INCIDENT_STORES, IncidentConfig, fold_findings
from models.flow import Batch, Record
from models.logs import QUOTA_LINES, QUOTA_PERIOD
from models.records import Finding, to_json
from models.settings import Settings
from tables.ingest import fold_metrics, fold_plays
from tests.support.logs import logged
from tests.tables import ingest_bed
from tests.tables.ingest_bed import DAY, HOUR, T0, Counts, metric, play, record

NOW = T0 + 10 * DAY
FINDING = Finding(
    incident="i1", tenant="demo", rule="errors", rule_version="1", kind="threshold", state="firing",
    series="demo|error_rate{country=DE}", stream="live", measure="error_rate", tags={},
    severity="page", since=T0, at=T0 + 1, window_start=T0, window_end=T0 + 1, reason="breached",
)  # fmt: skip


@pytest.fixture
def written():
    """Reads the lines so far, as a worker writes them: JSON, through its own configuration."""
    with logged(Settings()) as lines:
        yield lambda: [json.loads(line) for line in lines()]


class Bed:
    """One source partition behind a journal."""

    def __init__(self, fold=fold_plays, source="plays", **config):
        self.config = ingest_bed.config(**config)
        self.counters = Counts()
        self.journal = Journal(self.counters)
        self.state = ingest_bed.stores()
        self.source = source
        self.fold = self.journal.around(
            lambda batch, state, now: fold(batch, state, now, self.config)
        )

    def push(self, *records, now=NOW, first=0):
        numbered = [r._replace(offset=first + n) for n, r in enumerate(records)]
        return self.fold(Batch(self.source, 1, numbered, at_end=False), self.state, now)


def fields(line, *names):
    return tuple(line.get(name) for name in names)


def test_a_rejected_event_is_found_by_its_id(written):
    """Whether it could be read, could not, or is no JSON at all but has the header."""
    Bed().push(
        record(play(event_id="stranger", tenant_id="nobody")),
        record(play(event_id="mars", country="Mars")),
        record(b"?", headers=(("event_id", b"in-header"),)),
        record(b"??"),
        record(play(event_id="fine")),
    )
    assert [
        fields(line, "message", "event_id", "reason", "topic", "partition", "offset")
        for line in written()
    ] == [
        ("event rejected", "stranger", "unknown_tenant", "plays", 1, 0),
        ("event rejected", "mars", "bad_country", "plays", 1, 1),
        ("event rejected", "in-header", "not_json", "plays", 1, 2),
        ("event rejected", None, "not_json", "plays", 1, 3),
    ]  # fmt: skip


def test_rejected_and_late_events_carry_their_id_on(written):
    bed = Bed()
    outputs = bed.push(
        record(play(event_id="new")),
        record(play(at=T0 - 30 * HOUR, event_id="old")),
        record(play(event_id="mars", country="Mars")),
    )
    carried = {o.topic: dict(o.headers) for o in outputs if o.topic != "partials"}
    assert carried == {"late": {"event_id": b"old"}, "dead-letters": {"event_id": b"mars"}}
    late = next(line for line in written() if line["message"] == "event too late")
    assert fields(late, "level", "event_id", "reason", "topic", "partition", "offset") == (
        "WARNING", "old", "beyond_grace", "plays", 1, 1,
    )  # fmt: skip
    assert late["behind_ms"] == 30 * HOUR - 10_000


def test_a_forwarded_event_is_found_by_its_id(written):
    bed = Bed(fold_metrics, "metrics", forwarding=True)
    (moved,) = bed.push(record(metric(event_id="m1", tags={"h": "1"})))
    assert (moved.topic, moved.partition) == ("metrics", 0)
    (line,) = written()
    assert fields(line, "level", "message", "event_id", "reason", "partition", "offset") == (
        "INFO", "event forwarded", "m1", "misrouted", 1, 0,
    )  # fmt: skip
    assert line["to_partition"] == 0


def test_an_event_that_breaks_the_fold_is_written_once(written):
    """The engine tries a lone record twice before it is a dead letter; a transient error is none."""
    journal = Journal(Counts())

    def fold(batch, state, now):
        raise ValueError("boom")

    around = journal.around(fold)
    good, bad = (Record(n, T0, None, b'{"event_id": "e%d"}' % n) for n in (1, 2))
    for records in ((good, bad), (good,), (bad,), (bad,)):
        with pytest.raises(ValueError, match="boom"):
            around(Batch("plays", 0, records, at_end=False), {}, NOW)
    (line,) = written()
    assert fields(line, "message", "event_id", "reason", "topic", "partition", "offset") == (
        "event failed in its handler", "e2", "handler_failed", "plays", 0, 2,
    )  # fmt: skip
    assert "boom" in line["detail"]


def test_an_alert_is_found_by_its_id_when_it_fires_and_when_it_ends(written):
    journal = Journal(Counts())
    state = {spec.name: {} for spec in INCIDENT_STORES}
    fold = journal.around(lambda *args: fold_findings(*args, config=IncidentConfig()))
    for n, name in enumerate(("firing", "firing", "resolved")):
        changed = to_json(FINDING).replace(b'"firing"', b'"%s"' % name.encode())
        fold(Batch("findings", 0, [Record(n, T0, b"demo", changed)], at_end=True), state, NOW)
    assert [
        fields(line, "message", "alert_id", "rule", "series", "revision") for line in written()
    ] == [
        ("alert firing", "i1", "errors", "demo|error_rate{country=DE}", 0),
        ("alert resolved", "i1", "errors", "demo|error_rate{country=DE}", 1),
    ]  # fmt: skip


def test_of_a_flood_the_first_lines_are_written_and_the_rest_is_numbered(written):
    bed = Bed()
    flood = [record(play(event_id=f"e{n}", country="Mars")) for n in range(QUOTA_LINES + 300)]
    bed.push(*flood, record(play(event_id="another reason", ms_played=-1)))
    lines = written()
    assert [line["event_id"] for line in lines] == [
        *(f"e{n}" for n in range(QUOTA_LINES)), "another reason"
    ]  # fmt: skip
    bed.push(now=NOW + QUOTA_PERIOD - 1)
    assert written() == []
    bed.push(now=NOW + QUOTA_PERIOD)
    (line,) = written()
    assert fields(line, "reason", "left_out") == ("bad_country", 300)
    assert bed.counters["log_lines", "over_limit"] == 300
    bed.push(flood[0], now=NOW + QUOTA_PERIOD)
    assert [line["event_id"] for line in written()] == ["e0"]
