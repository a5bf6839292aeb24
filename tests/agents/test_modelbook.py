"""Models in force, as the judge sees them: swaps, shadows, refusals. No broker."""

import logging
from itertools import pairwise

import pytest
from msgspec.structs import replace

from agents.judging import DETECTORS, JUDGE_STORES
from agents.snapshots import CHANGES, DAILY, DAY, SNAPSHOTS
from ml import life, registry
from ml.features import version
from ml.served import RECENT, ServedDetector
from models.learning import Model, ShadowReport
from models.records import decode_finding
from tables.publishing import Gone
from tests.agents.models_bed import (
    GROUP,
    KEY,
    MINUTE,
    SERIES,
    Bed,
    trained,
)


@pytest.fixture
def bed():
    return Bed()


def test_without_models_nothing_is_wrapped_and_no_value_names_one(bed):
    assert bed.run(5).model == ""
    assert not isinstance(bed.detector, ServedDetector)


def test_a_promoted_model_judges_from_the_next_window_with_what_it_was_trained_with(bed):
    bed.run(40)
    model_id = bed.new(states=[(SERIES, MINUTE, 0, trained())])
    bed.run(1)
    assert not isinstance(bed.detector, ServedDetector), "a candidate changes nothing"
    bed.move(model_id, "active")
    value = bed.run(1)
    assert (value.model, value.learning) == (model_id, False)
    assert bed.detector.active.name == registry.create("lite").name


def test_a_shadow_never_touches_the_published_window(bed):
    other = Bed()
    bed.move(bed.new(spec={"name": "gaussian"}), "shadow")
    for _ in range(200):
        i = bed.at // MINUTE

        def wild(_, i=i):
            return 1_000.0 if i % 50 == 0 else 100.0 + i % 7

        assert bed.run(1, wild) == other.run(1, wild)
    assert list(bed.detector.shadows) == ["plays.1"]


def test_a_promoted_shadow_goes_on_with_what_it_learned_as_a_shadow(bed):
    model_id = bed.new()
    bed.move(model_id, "shadow")
    bed.run(100)
    bed.restart()
    warmed = bed.detector.shadows[model_id].detector.dump()
    bed.move(model_id, "active")
    assert bed.run(1, lambda _: 100.0).learning is False
    expected = registry.load(warmed)
    expected.learn(100.0, bed.at - MINUTE)
    assert bed.detector.active.dump() == expected.dump()
    assert bed.detector.shadows == {}


def test_shadows_are_compared_with_the_active_one(bed):
    """Thirty windows of learning apart, every window is in the report, with who spoke up."""
    bed.move(bed.new(spec={"name": "zscore", "threshold": 3.0}), "shadow")
    bed.run(400, lambda i: 500.0 if i % 97 == 0 else 100.0 + i % 7)
    report = bed.told(ShadowReport)[-1]
    assert (report.model, report.against, report.partition) == ("plays.1", "", 0)
    assert report.windows == (report.until - report.since) // MINUTE
    assert report.shadow + report.both > 0
    marks = {m.at // MINUTE % 97 for m in report.marks}
    assert marks == {0}
    assert len(report.marks) <= report.active_findings + report.shadow_findings
    reports = bed.told(ShadowReport)
    assert all(b.until - a.until >= MINUTE for a, b in pairwise(reports))


def test_a_comparison_begins_anew_when_the_active_model_changes(bed):
    bed.move(bed.new(), "shadow")
    bed.run(100)
    bed.move(bed.new("other", spec={"name": "zscore"}), "active")
    bed.run(100)
    assert bed.told(ShadowReport)[-1].against == "other.1"
    assert bed.told(ShadowReport)[-1].windows <= 100


def test_more_shadows_than_two_are_left_out_and_counted(bed):
    for family in ("a", "b", "c"):
        bed.move(bed.new(family), "shadow", now=ord(family))
    bed.run(2)
    assert sorted(bed.detector.shadows) == ["b.1", "c.1"]
    assert bed.tally.counts["shadows_left_out", "over_limit"] > 0


def test_a_promotion_taken_back_finds_its_predecessor_as_it_was_and_caught_up(bed):
    """Between the two the one that was replaced learned nothing; kept values close the gap."""
    bed.move(bed.new(), "active")
    bed.run(100)
    twin = registry.load(bed.detector.active.dump())
    bed.move(bed.new(spec={"name": "zscore"}), "active", now=3)
    begin = bed.at
    bed.run(50)
    bed.restart()
    bed.publish(life.roll_back(bed.models, "plays", by="ann", now=4))
    assert bed.run(1).model == "plays.1"
    for at in range(begin, bed.at, MINUTE):
        twin.learn(100.0 + at // MINUTE % 7, at)
    assert bed.detector.active.dump() == twin.dump()


def test_retiring_the_only_model_brings_the_configured_detector_back(bed):
    model_id = bed.new()
    bed.run(10)
    bed.move(model_id, "active")
    bed.run(10)
    bed.move(model_id, "retired")
    assert bed.run(1).model == ""
    assert bed.detector.name == registry.create().name


def test_snapshots_are_daily_few_and_bounded_in_bytes(bed):
    bed.run(8 * 1440)
    ((key, kept),) = bed.state[SNAPSHOTS.name].items()
    days = [s.at // DAY for s in kept.kept]
    assert len(kept.kept) == DAILY
    assert days == list(range(days[0], days[0] + DAILY))
    assert len(SNAPSHOTS.encode(kept)) < (DAILY + CHANGES) * 3_000
    bed.judge.forget(Gone("demo", GROUP, "live", MINUTE, bed.at, "silent"), bed.state)
    assert key not in bed.state[SNAPSHOTS.name]


def test_a_tampered_state_is_refused_and_rebuilt_from_kept_values(bed, caplog):
    bed.move(bed.new(), "active")
    bed.run(RECENT + 50)
    model_id = bed.new(states=[(SERIES, MINUTE, 0, trained())], spec={"name": "zscore"})
    key = f"demo:{model_id}:{MINUTE}:{SERIES}"
    bed.records[key] = replace(bed.records[key], body=trained(value=1e6))
    with caplog.at_level(logging.ERROR):
        bed.move(model_id, "active", now=3)
        value = bed.run(1)
    assert (value.model, value.learning) == (model_id, False)
    assert value.high < 1_000
    assert bed.tally.counts["model_states_refused", "changed"] == 1
    assert "its record says" in caplog.text


def test_a_state_of_another_version_is_refused_and_rebuilt(bed, caplog):
    bed.move(bed.new(), "active")
    bed.run(50)
    foreign = trained().replace(b"lite/", b"lits/")
    bed.move(bed.new(states=[(SERIES, MINUTE, 0, foreign)], parent="plays.1"), "active", now=3)
    value = bed.run(1)
    assert (value.model, value.learning) == ("plays.2", False)
    assert bed.tally.counts["model_states_refused", "foreign"] == 1
    assert "this program reads" in caplog.text


def test_a_detector_in_service_whose_own_state_is_foreign_is_rebuilt(bed):
    """The changelog of another version: the active part cannot be read, the kept values can."""
    bed.move(bed.new(), "active")
    bed.run(100)
    (spec,) = [s for s in JUDGE_STORES if s.name == DETECTORS]
    data = spec.encode(bed.state[DETECTORS][KEY]).replace(b"lite/", b"lits/")
    bed.state[DETECTORS][KEY] = spec.decode(data)
    value = bed.run(1)
    assert (value.model, value.learning) == ("plays.1", False)
    assert bed.tally.counts["model_states_refused", "foreign"] == 1


def test_a_bare_detector_whose_state_is_foreign_begins_anew(bed, caplog):
    bed.run(100)
    (spec,) = [s for s in JUDGE_STORES if s.name == DETECTORS]
    data = spec.encode(bed.state[DETECTORS][KEY]).replace(b"novelty/", b"novelti/")
    bed.state[DETECTORS][KEY] = spec.decode(data)
    assert bed.run(1).learning is True
    assert "this program reads" in caplog.text


def test_a_model_that_is_not_what_was_sealed_leaves_what_serves(bed, caplog):
    bed.move(bed.new(), "active")
    bed.run(50)
    bed.move(bed.new(), "active", now=3)
    forged = replace(bed.models["plays.2"], spec={"name": "metronome"})
    bed.records.publish(forged)
    assert bed.run(1).model == "plays.1"
    assert bed.tally.counts["models_refused", "changed"] == 1
    assert "not what was sealed" in caplog.text


def test_a_model_waits_for_its_states(bed):
    """They come on other partitions of the topic, in any order."""
    states = [(SERIES, MINUTE, 0, trained()), ("demo|plays{country=DE}", MINUTE, 0, trained())]
    model_id = bed.new(states=states)
    missing = bed.records.pop(f"demo:{model_id}:{MINUTE}:demo|plays{{country=DE}}")
    bed.move(model_id, "active")
    assert bed.run(1).model == ""
    bed.records.publish(missing)
    assert bed.run(1).model == model_id


def test_a_drift_is_told_and_starts_one_shadow_a_day(bed):
    spec = {"name": "lite", "drift": "adwin", "retrain": "shadow"}
    bed.move(bed.new(spec=spec), "active")
    bed.run(6 * 1440, lambda i: 800.0 + i % 7)
    assert not [o for o in bed.outputs if o.topic == "findings"]
    shifted = bed.at
    bed.run(1440, lambda i: 600.0 + i % 7)
    found = [decode_finding(o.value) for o in bed.outputs if o.topic == "findings"]
    first = next(f for f in found if f.rule == "drift-inputs")
    assert first.since == pytest.approx(shifted, abs=40 * MINUTE)
    assert first.reason.startswith("the level of plays in FR has shifted: mean 80")
    assert [f.state for f in found if f.incident == first.incident] == ["firing", "resolved"]
    (shadow,) = bed.told(Model)
    assert (shadow.id, shadow.state, shadow.created_by) == ("plays.2", "shadow", "drift")
    assert (shadow.parent, shadow.spec) == ("plays.1", spec)
    life.verify(shadow)
    headers = {dict(o.headers)["alert_id"] for o in bed.outputs if o.topic == "findings"}
    assert first.incident.encode() in headers
    assert [o.topic for o in bed.outputs].count("audit") == 1
    bed.publish([shadow])
    bed.run(1)
    assert list(bed.detector.shadows) == ["plays.2"]


def test_a_model_brings_its_feature_pipeline_and_another_version_of_it_is_refused(bed, caplog):
    spec = {"name": "feature_trees", "features": "value, ratio(3)"}
    model_id = bed.new(spec=spec)
    assert bed.models[model_id].features == version("value,ratio(3)")
    bed.move(model_id, "active")
    bed.run(3)
    assert bed.detector.active.features == "value, ratio(3)"
    other = bed.new("other", spec=spec, features="0123456789ab")
    bed.move(other, "active", now=3)
    bed.run(1)
    assert bed.detector.active.name == registry.create().name
    assert bed.tally.counts["models_refused", "spec"] == 1
    assert "was trained with 0123456789ab" in caplog.text


def test_a_drift_in_a_family_with_two_shadows_starts_none(bed):
    bed.move(bed.new(spec={"drift": "page_hinkley", "retrain": "shadow", "name": "lite"}), "active")
    for _ in range(life.SHADOWS):
        bed.move(bed.new(spec={"name": "zscore"}), "shadow")
    bed.run(4 * 1440)
    bed.run(600, lambda i: 600.0 + i % 7)
    assert bed.told(Model) == []
    assert bed.tally.counts["retrainings_refused", "over_limit"] > 0
