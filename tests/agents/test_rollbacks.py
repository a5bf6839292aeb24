"""Roll-backs to before an incident, as the judge carries them out. No broker."""

import pytest

from agents.snapshots import SNAPSHOTS
from ml import registry
from models.learning import Rollback, Selector
from tests.agents.models_bed import MINUTE, Bed, rollback


@pytest.fixture
def bed():
    return Bed()


@pytest.mark.parametrize("is_served", [False, True])
def test_a_roll_back_restores_the_state_before_an_incident_once(bed, is_served):
    if is_served:
        bed.move(bed.new(), "active")
    bed.run(3 * 1440)
    incident = bed.at
    bed.run(600, lambda _: 900.0)
    poisoned = bed.detector.dump()
    (kept,) = bed.state[SNAPSHOTS.name].values()
    newest = max(s.at for s in kept.kept if s.at <= incident)
    expected = registry.load(next(s.body for s in kept.kept if s.at == newest))
    rollback(bed, incident)
    at = bed.at
    bed.run(1)
    expected.learn(100.0 + at // MINUTE % 7, at)
    assert bed.detector.dump() == expected.dump() != poisoned
    bed.restart()
    bed.run(5)
    for i in range(1, 6):
        expected.learn(100.0 + (at // MINUTE + i) % 7, at + i * MINUTE)
    assert bed.detector.dump() == expected.dump(), "it was applied a second time"


def test_a_roll_back_to_when_the_model_was_a_shadow_can_be_taken_back(bed):
    first, second = bed.new(), bed.new(spec={"name": "lite"})
    bed.move(first, "active")
    bed.move(second, "shadow", 3)
    bed.run(200)
    bed.move(second, "active", 4)
    promoted = bed.at
    bed.run(100, lambda i: 500.0 + i % 7)
    learned = bed.detector.active.dump()
    rollback(bed, promoted + MINUTE)
    bed.run(1)
    assert bed.detector.model == second
    assert bed.detector.active.dump() != learned
    rollback(bed, bed.at, name="r2")
    expected, at = registry.load(learned), bed.at
    bed.run(1)
    expected.learn(100.0 + at // MINUTE % 7, at)
    assert bed.detector.active.dump() == expected.dump()


def test_a_tenant_that_goes_back_often_does_not_push_out_anothers_roll_back(bed):
    bed.run(2 * 1440)
    before = bed.detector
    rollback(bed, bed.at)
    bed.records.publish(
        *(Rollback("other", f"o{i}", Selector("x"), 1, "eve", bed.at + i) for i in range(200))
    )
    bed.run(1)
    assert bed.detector is not before


def test_a_roll_back_without_a_snapshot_is_counted_and_changes_nothing(bed):
    bed.run(10)
    rollback(bed, bed.at)
    twin = Bed()
    twin.run(15)
    bed.run(5)
    assert bed.detector.dump() == twin.detector.dump()
    assert bed.tally.counts["rollbacks_skipped", "no_snapshot"] == 1


def test_a_series_that_begins_after_a_roll_back_knows_nothing_of_it(bed):
    rollback(bed, bed.at)
    bed.run(10)
    assert not bed.tally.counts


def test_a_roll_back_of_other_series_is_not_ours(bed):
    bed.run(2 * 1440)
    before = bed.detector
    rollback(bed, bed.at, selector=Selector("plays", {"country": "DE"}))
    bed.run(1)
    assert bed.detector is before
