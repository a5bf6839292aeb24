"""One alert instead of twenty: which finding speaks for which, and the same whatever the batches."""

from __future__ import annotations

import random

import msgspec
import pytest

from agents.attributing import ATTRIBUTION_STORES, AttributionConfig
from models.evidence import Evidence, Passed, Row, Told
from models.records import Finding, Share, decode_dead_letter, decode_finding
from models.series import format_key
from tables.watermarks import END_OF_TIME
from tests.support.evidence_step import EvidenceStep

PARTITIONS, MINUTE = 4, 60_000
T0 = 1_767_225_600_000


class Step(EvidenceStep):
    """The attribution step, and what it made."""

    def __init__(self) -> None:
        super().__init__(ATTRIBUTION_STORES)
        self.config = AttributionConfig(PARTITIONS, self)
        self.out = []

    def take(self, *told) -> list[Finding]:
        outputs = self.fold(told)
        found = [decode_finding(o.value) for o in outputs if o.topic == "findings"]
        self.dead = [decode_dead_letter(o.value) for o in outputs if o.topic == "dead-letters"]
        self.out += found
        return found


def row(slice_: str, value: float, low: float, high: float, *, measure="plays", weight=0.0) -> Row:
    """``slice_`` is like ``ios``, ``FR``, ``ios FR``, ``free``, or empty for the total."""
    names = {
        "ios": "platform",
        "android": "platform",
        "FR": "country",
        "DE": "country",
        "free": "plan",
    }
    tags = tuple(sorted((names[word], word) for word in slice_.split()))
    kind = "count" if measure == "plays" else "ratio"
    return Row(tags, measure, kind, value, low, high, weight or value)


def evidence(*rows: Row, end: int = MINUTE, partition: int = 0) -> Evidence:
    return Evidence("acme", "live", partition, MINUTE, T0 + end, rows)


def told(
    own: Row, state="firing", *, at: int = MINUTE, partition=0, incident="", **changed
) -> Told:
    tags = dict(own.tags)
    name = incident or " ".join(tags[t] for t in sorted(tags, reverse=True)) or "total"
    finding = Finding(
        incident=name, tenant="acme", rule="r", rule_version="v1", kind="anomaly", state=state,
        series=format_key("acme", own.measure, tags), stream="live", measure=own.measure, tags=tags,
        severity="ticket", since=T0, at=T0 + at, window_start=T0 + at - MINUTE, window_end=T0 + at,
        reason="because", value=own.value,
    )  # fmt: skip
    return Told("acme", "live", partition, msgspec.structs.replace(finding, **changed), own)


def passed(at: int = MINUTE, partitions=range(PARTITIONS)) -> list[Passed]:
    return [Passed("acme", "live", n, at if at >= END_OF_TIME else T0 + at) for n in partitions]


TOTAL, IOS, FR = row("", 880, 980, 1020), row("ios", 280, 390, 410), row("FR", 180, 290, 310)
IOS_FR, FREE = row("ios FR", 5, 110, 130), row("free", 437, 490, 510)
FALLEN = (TOTAL, IOS, FR, IOS_FR, FREE)


def parents(findings: list[Finding]) -> dict[str, str]:
    return {f.incident: f.parent for f in findings if f.state == "firing"}


def test_one_finding_speaks_for_what_its_cause_explains():
    step = Step()
    found = step.take(evidence(*FALLEN), *(told(r) for r in FALLEN), *passed())
    assert parents(found) == {
        "total": "", "ios": "total", "FR": "total", "ios FR": "total", "free": "total",
    }  # fmt: skip
    lead = found[0]
    assert lead.shares == [Share({"country": "FR", "platform": "ios"}, 0.9583, named=True)]
    assert lead.cause == "plays of ios × FR explain 96 % of the drop (total −12 %)"
    assert lead.reason == f"because; {lead.cause}"
    assert step.counted == {"evidence explained": 4}


def test_the_total_need_not_fire_to_be_explained():
    found = Step().take(evidence(TOTAL, IOS, FR, IOS_FR), told(FR), told(IOS_FR), *passed())
    assert parents(found) == {"FR": "", "ios FR": "FR"}
    assert "(total −12 %)" in found[0].cause


def test_nor_be_kept():
    """Without a total the coarsest finding is explained by its own parts."""
    found = Step().take(evidence(IOS, FR, IOS_FR), told(FR), told(IOS_FR), told(IOS), *passed())
    assert parents(found) == {"FR": "", "ios": "FR", "ios FR": "FR"}
    assert found[0].cause == "plays of ios × FR explain 96 % of the drop (FR −40 %)"


@pytest.mark.parametrize("other", ["android DE", "DE", "android"])
def test_another_slice_keeps_its_own_page(other):
    mine = row(other, 5, 50, 60)
    rows = (*FALLEN, mine)
    found = Step().take(evidence(*rows), *(told(r) for r in rows), *passed())
    assert parents(found)[other] == ""


def test_two_causes_share_one_page():
    rows = (
        row("", 760, 980, 1020), IOS_FR, row("android DE", 5, 110, 130), IOS, row("DE", 80, 190, 210),
    )  # fmt: skip
    found = Step().take(evidence(*rows), *(told(r) for r in rows), *passed())
    assert set(parents(found).values()) == {"", "total"}
    assert [s.named for s in found[0].shares] == [True, True]


def test_where_everything_moved_no_slice_is_named_and_one_page_goes_out():
    rows = (row("", 700, 980, 1020), row("ios", 280, 390, 410), row("FR", 210, 290, 310))
    found = Step().take(evidence(*rows), *(told(r) for r in rows), *passed())
    assert parents(found) == {"total": "", "ios": "total", "FR": "total"}
    assert found[0].shares == []
    assert found[0].cause == "no slice explains the drop of plays (total −30 %)"


def test_a_slice_that_moved_much_more_than_everything_is_not_swallowed():
    rows = (row("", 900, 980, 1020), row("ios", 360, 390, 410), row("android DE", 1, 20, 30))
    found = Step().take(evidence(*rows), *(told(r) for r in rows), *passed())
    assert parents(found) == {"total": "", "ios": "total", "android DE": ""}


def test_ratios_are_weighed_by_what_they_rest_on():
    def errors(slice_: str, value: float, weight: float) -> Row:
        return row(slice_, value, 0.01, 0.03, measure="error_rate", weight=weight)

    rows = (errors("", 0.056, 1000), errors("ios", 0.11, 400), errors("ios FR", 0.35, 110))
    found = Step().take(evidence(*rows), *(told(r) for r in rows), *passed())
    assert parents(found) == {"total": "", "ios": "total", "ios FR": "total"}
    assert found[0].shares[0].tags == {"country": "FR", "platform": "ios"}
    assert found[0].shares[0].share == pytest.approx(1.0, abs=0.02)


def test_a_severer_finding_is_not_silenced_and_leads():
    page = told(IOS_FR, severity="page")
    found = Step().take(evidence(*FALLEN), told(TOTAL), told(IOS), page, *passed())
    assert parents(found) == {"ios FR": "", "total": "ios FR", "ios": "ios FR"}


@pytest.mark.parametrize("changed", [{"receivers": ["other"]}, {"measure": "eligible_plays"}])
def test_other_receivers_and_measures_are_told_apart(changed):
    found = Step().take(evidence(*FALLEN), told(TOTAL), told(IOS, **changed), *passed())
    assert set(parents(found).values()) == {""}


def test_nothing_goes_on_before_every_partition_has_passed():
    step = Step()
    assert (
        step.take(evidence(*FALLEN), told(TOTAL, partition=2), *passed(partitions=(0, 1, 2))) == []
    )
    assert step.take(*passed(partitions=(3,), at=MINUTE - 10_000)) == []
    assert parents(step.take(*passed(partitions=(3,)))) == {"total": ""}


def later(seconds: int, own: Row, state: str = "firing") -> list:
    at = MINUTE + seconds * 1000
    return [evidence(*FALLEN, end=at), told(own, state, at=at), *passed(at)]


def test_what_fires_later_joins_and_after_an_hour_does_not():
    step = Step()
    step.take(evidence(*FALLEN), told(TOTAL), *passed())
    assert parents(step.take(*later(30, FR))) == {"FR": "total"}
    assert parents(step.take(*later(3_700, IOS))) == {"ios": ""}


def test_when_the_lead_ends_what_goes_on_takes_over():
    step = Step()
    step.take(evidence(*FALLEN), *(told(r) for r in FALLEN), *passed())
    ended, heir = step.take(*later(120, TOTAL, "resolved"))
    assert (ended.incident, ended.state, ended.parent) == ("total", "resolved", "")
    assert (heir.incident, heir.state, heir.takes_over) == ("ios FR", "firing", "total")
    assert "goes on after" in heir.reason
    (child,) = step.take(*later(130, IOS, "resolved"))
    assert child.takes_over == ""
    for seconds, own in ((140, FR), (150, FREE), (160, IOS_FR)):
        step.take(*later(seconds, own, "retracted"))
    assert step.state["stories"] == {}


def test_a_finding_that_comes_again_changes_nothing():
    step = Step()
    step.take(evidence(*FALLEN), told(TOTAL), told(IOS), *passed())
    before = step.state["stories"]["acme:live"]
    assert step.take(evidence(*FALLEN), told(TOTAL), told(IOS), *passed()) == []
    assert step.state["stories"]["acme:live"] == before


def test_without_a_band_a_finding_goes_on_alone():
    alone = told(TOTAL)
    alone.row = None
    (found,) = Step().take(alone, *passed())
    assert (found.parent, found.cause) == ("", "")


def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_goes_on():
    step = Step()
    assert parents(step.take(b"\x00rubbish", told(TOTAL), *passed())) == {"total": ""}
    assert [d.reason for d in step.dead] == ["undecodable_evidence"]
    assert step.counted["evidence undecodable"] == 1


def test_a_quiet_stream_keeps_next_to_nothing_and_an_ended_one_nothing():
    step = Step()
    for n in range(1, 50):
        step.take(evidence(TOTAL, end=n * 10_000), *passed(n * 10_000))
    (spec, _), (held,) = ATTRIBUTION_STORES, step.state["held"].values()
    assert len(spec.encode(held)) < 60
    step.take(*passed(END_OF_TIME))
    assert step.state == {"held": {}, "stories": {}}


def stream() -> list[list]:
    """What four partitions tell of five minutes in which two slices break, one after the other."""
    logs: list[list] = [[] for _ in range(PARTITIONS)]
    other = row("android DE", 5, 110, 130)
    for edge in range(10_000, 300_001, 10_000):
        rows = [*FALLEN, *([other] if edge > 150_000 else [])] if edge >= 60_000 else [TOTAL]
        for n, each in enumerate(rows):
            log = logs[n % PARTITIONS]
            log.append(evidence(each, end=edge, partition=n % PARTITIONS))
            if edge in {60_000 + n * 10_000, 160_000 + n * 10_000}:
                log.append(told(each, at=edge, partition=n % PARTITIONS, incident=f"{n}@{edge}"))
            if edge == 250_000 + n * 5_000:
                log.append(told(each, "resolved", at=edge, incident=f"{n}@{60_000 + n * 10_000}",
                                partition=n % PARTITIONS))  # fmt: skip
        for n in range(PARTITIONS):
            logs[n] += passed(edge, (n,))
    return logs


@pytest.mark.parametrize("seed", range(20))
def test_batches_and_the_partitions_pace_change_nothing(seed):
    def go_through(rng: random.Random | None) -> list[Finding]:
        step, logs = Step(), stream()
        while any(logs):
            log = rng.choice([own for own in logs if own]) if rng else next(o for o in logs if o)
            size = rng.choice((1, 3, 30)) if rng else 1_000
            step.take(*log[:size])
            del log[:size]
        return step.out

    found = go_through(random.Random(seed))
    assert found == go_through(None)
    assert any(f.parent for f in found)
    assert any(f.takes_over for f in found)


def test_what_took_part_is_listed_beside_the_cause():
    rows = (row("", 880, 980, 1020), row("ios FR", 15, 110, 130), row("android FR", 92, 98, 106))
    (found,) = Step().take(evidence(*rows), told(rows[0]), *passed())
    assert [(s.tags["platform"], s.named) for s in found.shares] == [
        ("ios", True),
        ("android", False),
    ]
    assert found.cause.endswith("also: android × FR 8.3 %")


def test_what_only_overlaps_is_explained_by_no_more_than_can_have_come_of_it():
    """A small slice of one group must not speak for a large one of another."""
    free, ios_fr = row("free", 5, 20, 30), row("ios FR", 15, 110, 130)
    apart = Step().take(evidence(free, ios_fr), told(free), told(ios_fr), *passed())
    assert parents(apart) == {"free": "", "ios FR": ""}
    total, large = row("", 960, 980, 1020), row("free", 300, 490, 510)
    rows = (total, row("ios FR", 80, 110, 130), large)
    found = Step().take(evidence(*rows), *(told(r) for r in rows), *passed())
    assert parents(found)["free"] == ""


def test_what_is_unusual_without_having_moved_is_told_by_itself():
    still = row("ios", 400, 390, 410)
    found = Step().take(evidence(TOTAL), told(TOTAL), told(still), *passed())
    assert parents(found) == {"total": "", "ios": ""}
