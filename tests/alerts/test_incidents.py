"""The alerts step: findings in, versions and notifications out, each once."""

import itertools
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.incidents import CLOCKS, INCIDENT_STORES, INCIDENTS, IncidentConfig, fold_findings
from alerts.rules import Receiver
from models.errors import StateError
from models.flow import Batch, Output, Record, header
from models.records import (
    Alert,
    Finding,
    Notification,
    Share,
    decode_alert,
    decode_dead_letter,
    decode_notification,
    to_json,
)
from tests.alerts.timeline import T0

DAY = 86_400_000
HOOK, PAGER = Receiver("hook", "webhook"), Receiver("pager", "webhook", severities=("page",))


class Step:
    """The alerts step on plain dictionaries, whose values cross their bytes after every batch."""

    def __init__(self, *receivers: Receiver) -> None:
        self.counted: Counter[str] = Counter()
        self.config = IncidentConfig(receivers or (HOOK,), self)
        self.state: dict[str, dict] = {INCIDENTS: {}, CLOCKS: {}}
        self.outputs: list[Output] = []
        self.now = T0

    def count(self, name: str, reason: str, n: int = 1) -> None:
        self.counted[f"{name} {reason}"] += n

    def take(self, *findings: Finding | bytes | None) -> list[Output]:
        values = [to_json(f) if isinstance(f, Finding) else f for f in findings]
        records = [Record(i, T0, b"acme", v) for i, v in enumerate(values)]
        outputs = fold_findings(
            Batch("findings", 3, records, True), self.state, self.now, self.config
        )
        for spec in INCIDENT_STORES:
            store = self.state[spec.name]
            for key, value in store.items():
                store[key] = spec.decode(spec.encode(value))
                assert store[key] == value
        self.outputs += outputs
        self.now += 1000
        return list(outputs)

    @property
    def alerts(self) -> list[Alert]:
        return [decode_alert(o.value) for o in self.outputs if o.topic == "alerts"]

    @property
    def notifications(self) -> list[Notification]:
        return [decode_notification(o.value) for o in self.outputs if o.topic == "notifications"]


def finding(state: str = "firing", at: int = 30_000, **changed) -> Finding:
    made = Finding(
        incident="i1", tenant="acme", rule="r", rule_version="v1", kind="threshold", state=state,
        series="acme|error_rate{country=FR}", stream="live", measure="error_rate",
        tags={"country": "FR"}, severity="page", since=T0, at=T0 + at, window_start=T0 + at - 10_000,
        window_end=T0 + at, reason=f"because {state}", value=0.3, threshold=0.05, peak=0.3,
    )  # fmt: skip
    return msgspec.structs.replace(made, **changed)


def test_a_firing_finding_is_an_alert_and_a_notification():
    step = Step()
    alert_out, notification_out = step.take(finding())
    (alert,), (notification,) = step.alerts, step.notifications

    assert (alert.id, alert.revision, alert.state) == ("i1", 0, "firing")
    assert (alert.started_at, alert.fired_at, alert.updated_at) == (T0, T0 + 30_000, T0 + 30_000)
    assert (alert.reason, alert.seen_at) == ("because firing", T0)
    assert (notification.receiver, notification.transition) == ("hook", "firing")
    assert notification.alert == alert
    for out in (alert_out, notification_out):
        assert out.key == b"acme"
        assert header(out.headers, "alert_id") == "i1"
        assert header(out.headers, "stream") == "live"


def test_each_transition_is_a_version():
    step = Step()
    step.take(finding(), finding("resolved", 60_000))
    step.take(finding("retracted", 20_000))

    assert [(a.state, a.revision) for a in step.alerts] == [
        ("firing", 0), ("resolved", 1), ("retracted", 2)
    ]  # fmt: skip
    last = step.alerts[-1]
    assert (last.fired_at, last.resolved_at) == (T0 + 30_000, T0 + 60_000)
    assert last.updated_at == T0 + 60_000
    assert [n.transition for n in step.notifications] == ["firing", "resolved", "retracted"]
    assert len({n.id for n in step.notifications}) == 3


def test_pending_findings_are_not_alerts():
    step = Step()

    assert step.take(finding("pending")) == []
    assert step.state[INCIDENTS] == {}


def test_what_comes_again_changes_nothing():
    step = Step()
    step.take(finding(), finding())
    step.take(finding("resolved", 60_000), finding(), finding("resolved", 60_000))

    assert len(step.outputs) == 4
    assert step.counted["finding repeated"] == 3


def test_an_ending_before_its_beginning_waits_for_it():
    step = Step()
    assert step.take(finding("resolved", 60_000), finding("resolved", 60_000)) == []
    step.take(finding())

    assert [(a.state, a.revision) for a in step.alerts] == [("firing", 0), ("resolved", 1)]
    assert step.counted == {"finding early": 1, "finding repeated": 1}


def test_a_notification_has_the_same_id_in_every_run():
    ids = []
    for _ in range(2):
        step = Step(HOOK, PAGER)
        step.take(finding())
        ids.append([n.id for n in step.notifications])

    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, ["hook", "pager"]),
        ({"severity": "ticket"}, ["hook"]),
        ({"severity": "info"}, []),
        ({"receivers": ["pager"]}, ["pager"]),
        ({"receivers": ["pager"], "severity": "info"}, ["pager"]),
        ({"stream": "import-7"}, []),
    ],
)
def test_who_is_told(changed, told):
    step = Step(HOOK, PAGER)
    step.take(finding(**changed))

    assert [n.receiver for n in step.notifications] == told
    assert len(step.alerts) == 1


def test_a_receiver_may_ask_for_other_streams():
    step = Step(Receiver("lab", "webhook", streams=("import-7",)))
    step.take(finding(), finding(incident="i2", stream="import-7"))

    assert [n.alert.id for n in step.notifications] == ["i2"]


@pytest.mark.parametrize("value", [None, b"", b"{}", b"\xff\xfe", b'{"incident": 4}', b"[" * 5000])
def test_bytes_that_are_no_finding_are_dead_letters(value):
    step = Step()
    (out,) = step.take(value)
    letter = decode_dead_letter(out.value)

    assert out.topic == "dead-letters"
    assert (letter.reason, letter.topic, letter.partition) == ("undecodable_finding", "findings", 3)
    assert step.counted["finding undecodable"] == 1


def test_incidents_of_two_tenants_do_not_meet():
    step = Step()
    step.take(finding(), finding(tenant="other"))

    assert [(a.tenant, a.revision) for a in step.alerts] == [("acme", 0), ("other", 0)]


def test_what_has_been_over_for_a_week_is_forgotten_and_what_fires_is_not():
    step = Step()
    step.take(finding(), finding("resolved", 60_000), finding(incident="open"))
    step.take(finding(incident="import", stream="old", at=-400 * DAY))
    step.take(finding("resolved", incident="import", stream="old", at=-400 * DAY))
    step.take(finding(incident="x", at=6 * DAY))
    assert len(step.state[INCIDENTS]) == 4

    step.take(finding(incident="y", at=8 * DAY))
    assert set(step.state[INCIDENTS]) == {f"acme:{i}" for i in ("open", "import", "x", "y")}

    step.now += 8 * DAY
    step.take(finding(incident="z", at=9 * DAY))
    assert "acme:import" not in step.state[INCIDENTS]
    assert set(step.state[CLOCKS]) == {"acme:live"}


def test_foreign_bytes_are_no_incident():
    for spec in INCIDENT_STORES:
        with pytest.raises(StateError):
            spec.decode(b"\xc1")


LIFE = [finding(), finding("resolved", 60_000), finding("retracted", 20_000)]


@given(
    order=st.permutations(LIFE * 2),
    cuts=st.lists(st.integers(0, 6), max_size=3),
)
def test_any_order_repetition_and_batching_tells_the_life_once(order, cuts):
    step = Step()
    edges = sorted({0, 6, *cuts})
    for a, b in itertools.pairwise(edges):
        step.take(*order[a:b])

    told = [a.state for a in step.alerts]
    assert [a.revision for a in step.alerts] == list(range(len(told)))
    assert told[0] == "firing"
    assert told[-1] == "retracted"
    assert len(set(told)) == len(told)
    assert [n.transition for n in step.notifications] == told


def test_nobody_is_told_of_an_alert_that_another_speaks_for():
    step = Step()
    step.take(finding(incident="i2", parent="i1"))
    step.take(finding("resolved", 60_000, incident="i2"))
    assert [(a.parent, a.state) for a in step.alerts] == [("i1", "firing"), ("i1", "resolved")]
    assert step.notifications == []


def test_when_it_takes_over_it_is_told_once():
    step = Step()
    step.take(finding(incident="i2", parent="i1"))
    heir = finding(at=90_000, incident="i2", takes_over="i1", reason="goes on")
    step.take(heir, heir)
    step.take(finding("resolved", 120_000, incident="i2"))
    assert [a.parent for a in step.alerts] == ["i1", "", ""]
    assert [a.revision for a in step.alerts] == [0, 1, 2]
    assert [n.transition for n in step.notifications] == ["firing", "resolved"]
    assert step.notifications[0].alert.fired_at == T0 + 30_000
    assert step.counted == {"finding repeated": 1}


def test_the_cause_and_its_shares_stay_with_the_alert():
    step = Step()
    shares = [Share({"country": "FR"}, 0.83, named=True)]
    step.take(finding(cause="plays of FR explain 83 % of the drop", shares=shares))
    step.take(finding("resolved", 60_000))
    assert [(a.cause, a.shares) for a in step.alerts] == [
        ("plays of FR explain 83 % of the drop", shares)
    ] * 2
