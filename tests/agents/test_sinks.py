"""What a fetch holds, as rows: by kind, with positions, and foreign bytes left out but counted."""

from types import SimpleNamespace

from aiokafka.structs import TopicPartition

from agents.sinks import DECODERS, rows_of
from models.records import Alert, to_json

ALERT = Alert(
    id="a1", revision=0, tenant="t", rule="r", rule_version="v", kind="threshold", state="firing",
    severity="page", series="t|error_rate{}", measure="error_rate", tags={}, stream="live",
    started_at=0, fired_at=1, updated_at=1, reason="why",
)  # fmt: skip


class Counted:
    def __init__(self):
        self.counts = {}

    def count(self, name, reason, n=1):
        self.counts[name, reason] = self.counts.get((name, reason), 0) + n


def record(partition, offset, value):
    return SimpleNamespace(partition=partition, offset=offset, value=value)


def test_rows_carry_positions_and_each_alerts_own_place(caplog):
    """A garbage record moves the position, is counted, and shifts nobody else's offset."""
    metrics = Counted()
    app = SimpleNamespace(engine=SimpleNamespace(metrics=metrics))
    batch = [record(2, 5, to_json(ALERT)), record(2, 6, b"?"), record(2, 9, to_json(ALERT))]
    fetched = {TopicPartition("x-alerts", 2): batch}
    rows = rows_of(fetched, {f"x-{s}": s for s in DECODERS}, "c1", app)
    assert rows.cluster == "c1"
    assert [a.id for a in rows.alerts] == ["a1", "a1"]
    assert list(rows.alert_offsets) == [(2, 5), (2, 9)]
    assert [tuple(p) for p in rows.positions] == [("x-alerts", 2, 10)]
    assert metrics.counts == {("sink_record", "undecodable"): 1}
    (line,) = caplog.records
    assert (line.topic, line.partition, line.offset) == ("x-alerts", 2, 6)
