"""The life of a condition on a timeline, in event time."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts import rulestate
from alerts.conditions import REVISABLE, breaches, holds
from alerts.rulestate import EVIDENCE, Seen
from models.errors import StateError
from models.records import Value
from tests.alerts.timeline import T0, Timeline, rule

BAD, GOOD = 0.3, 0.01
ANOMALY = {"low": 100.0, "high": 140.0}


def test_fires_when_the_breach_has_lasted_from_its_first_windows_start_to_this_ones_end():
    line = Timeline(rule("error_rate > 0.05 for 20s"))
    line.push(at=0, value=GOOD)
    line.push(at=10, value=BAD)
    line.push(at=20, value=BAD)

    pending, firing = line.want("pending", between=(20, 20)), line.want("firing", between=(30, 30))
    assert pending.incident == firing.incident
    assert (firing.since, firing.window_start) == (T0 + 10_000, T0 + 20_000)
    assert (pending.revision, firing.revision) == (0, 1)


def test_without_for_the_first_breaching_window_fires():
    line = Timeline(rule("error_rate > 0.05"))
    line.push(at=0, value=BAD)

    assert line.told() == [("firing", 10)]


def test_a_window_longer_than_for_fires_at_once():
    line = Timeline(rule("skip_rate > 0.5 for 60s", window="1m"), size=60, slide=10)
    line.push(at=0, value=0.9)

    assert line.told() == [("firing", 60)]


def test_a_good_window_while_pending_drops_it_without_a_word():
    line = Timeline(rule("error_rate > 0.05 for 30s"))
    line.each(0, [BAD, BAD, GOOD, BAD, BAD])

    assert line.told() == [("pending", 10), ("pending", 40)]
    assert line.findings[0].incident != line.findings[1].incident


def test_resolves_only_after_as_long_as_it_took_to_fire():
    line = Timeline(rule("error_rate > 0.05 for 20s"))
    line.each(0, [BAD, BAD, GOOD, BAD, GOOD, GOOD])

    resolved = line.want("resolved", between=(60, 60))
    assert line.told() == [("pending", 10), ("firing", 20), ("resolved", 60)]
    assert resolved.peak == BAD
    assert resolved.incident == line.findings[0].incident


def test_without_for_one_good_window_resolves():
    line = Timeline(rule("error_rate > 0.05"))
    line.each(0, [BAD, GOOD])

    assert line.told() == [("firing", 10), ("resolved", 20)]


def test_sliding_windows_resolve_after_one_windows_length_without_a_breach():
    line = Timeline(rule("skip_rate > 0.5", window="1m"), size=60, slide=10)
    line.each(0, [0.9, 0.1, 0.1, 0.9])
    line.each(40, [0.1] * 6)

    # The last breach ended at 90; the minute after it is over at 150.
    assert line.told() == [("firing", 60), ("resolved", 150)]


def test_a_gap_neither_confirms_nor_ends():
    line = Timeline(rule("error_rate > 0.05 for 30s"))
    line.each(0, [BAD, None, BAD])
    assert line.told() == [("pending", 10), ("firing", 30)]

    line.each(30, [GOOD, None, None, GOOD, None, GOOD])
    assert line.told()[2:] == [("resolved", 90)]


def test_a_long_gap_ends_it_and_says_so():
    line = Timeline(rule("error_rate > 0.05"))
    line.push(at=0, value=BAD)
    line.each(10, [None] * 11)

    resolved = line.want("resolved", between=(120, 120))
    assert "no data for 1 min 50 s" in resolved.reason
    assert resolved.value is None


def test_a_gap_in_which_no_windows_came_at_all_ends_it_too():
    line = Timeline(rule("error_rate > 0.05"))
    line.push(at=0, value=BAD)
    line.push(at=500, value=BAD)

    assert [state for state, _ in line.told()] == ["firing", "resolved", "firing"]
    assert line.findings[0].incident != line.findings[2].incident


def test_a_pending_breach_does_not_survive_a_long_gap():
    line = Timeline(rule("error_rate > 0.05 for 20s"))
    line.push(at=0, value=BAD)
    line.push(at=500, value=BAD)

    assert [state for state, _ in line.told()] == ["pending", "pending"]


def test_too_light_a_window_is_no_data_for_a_share():
    line = Timeline(rule("error_rate > 0.05", min_weight=20))
    line.push(at=0, value=1.0, weight=19)

    assert line.told() == []
    assert line.state is None


def test_too_light_a_window_is_data_for_a_count():
    line = Timeline(rule("plays < 1", min_weight=20))
    line.push(at=0, value=0.0, weight=0)

    assert line.told() == [("firing", 10)]


def test_a_young_series_does_not_alert():
    line = Timeline(rule("plays < 1", min_history="1m"))
    line.each(0, [5.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert line.told() == []

    line.push(at=60, value=0.0)
    assert line.told() == [("firing", 70)]


def test_reopen_keeps_quiet_for_its_time():
    line = Timeline(rule("error_rate > 0.05", reopen="1m"))
    line.each(0, [BAD, GOOD, BAD, BAD, BAD, BAD, BAD, BAD, BAD])

    assert line.told() == [("firing", 10), ("resolved", 20), ("firing", 90)]


def test_reopen_auto_is_quiet_for_longer_the_older_the_stream_is():
    def quiet(age: int) -> int:
        """Windows from the resolution to the next alert."""
        line = Timeline(rule("anomaly(value) >= 2", metric="*", window="pane", reopen="auto"))
        line.push(at=0, value=1.0, score=0.0)
        line.push(at=age * 10, value=9.0, score=5.0)
        line.push(at=age * 10 + 10, value=1.0, score=0.0)
        at = age + 2
        while not line.push(at=at * 10, value=9.0, score=5.0):
            at += 1
        return at - age - 2

    assert quiet(200) == 30
    assert 70 <= quiet(2000) <= 90
    assert quiet(60_000) == 300


def test_an_anomaly_fires_on_the_score_and_tells_the_band_it_began_with():
    line = Timeline(rule("anomaly(startup_p95) >= 3 for 20s", window="1m"), size=10)
    line.push(at=0, value=120.0, score=0.1, **ANOMALY)
    line.push(at=10, value=400.0, score=5.0, **ANOMALY)
    line.push(at=20, value=300.0, score=4.0, low=200.0, high=310.0)

    firing = line.want("firing", between=(30, 30))
    assert (firing.low, firing.high, firing.peak, firing.score) == (100, 140, 400, 4.0)
    assert firing.kind == "anomaly"


@pytest.mark.parametrize(
    ("direction", "value", "expected"),
    [("up", 150.0, True), ("up", 90.0, False), ("down", 90.0, True), ("down", 150.0, False),
     ("", 90.0, True), ("", 120.0, True), ("up", 120.0, False)],
)  # fmt: skip
def test_an_anomaly_can_be_wanted_in_one_direction(direction, value, expected):
    asked = rule(f"anomaly(plays) >= 3 {direction}", window="1m")

    assert breaches(asked, Value(value, 1.0, score=9.0, **ANOMALY)) is expected


def test_a_detector_that_is_learning_says_nothing():
    asked = rule("anomaly(plays) >= 3", window="1m")

    assert breaches(asked, Value(5.0, 9.0, learning=True)) is None


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [(">", 5, False), (">=", 5, True), ("<", 5, False), ("<=", 5, True), (">", 6, True), ("<", 4, True)],
)  # fmt: skip
def test_the_operators_mean_what_they_say(op, value, expected):
    assert breaches(rule(f"plays {op} 5"), Value(float(value), 1.0)) is expected


def test_the_same_windows_have_the_same_incident_and_other_series_another():
    ids = set()
    for stream, rule_id in (("live", "r"), ("live", "r"), ("import", "r"), ("live", "q")):
        line = Timeline(rule("error_rate > 0.05", id=rule_id), stream=stream)
        ids.add(line.push(at=0, value=BAD)[0].incident)

    assert len(ids) == 3
    assert all(len(i) == 20 and int(i, 16) >= 0 for i in ids)


def test_a_window_that_comes_again_changes_nothing():
    line = Timeline(rule("error_rate > 0.05 for 30s"))
    line.each(0, [BAD, BAD])
    before = line.state
    line.push(at=10, value=BAD)

    assert line.state is before or line.state == before
    assert line.told() == [("pending", 10)]


def test_a_revision_that_takes_the_breach_away_takes_the_alert_back():
    line = Timeline(rule("error_rate > 0.05 for 20s"))
    line.each(0, [BAD, BAD])
    line.push(at=10, value=GOOD, revision=1)

    retracted = line.want("retracted", between=(20, 20))
    firing = line.want("firing", between=(20, 20))
    assert retracted.incident == firing.incident
    assert retracted.revision == firing.revision + 1
    assert "late events changed the window of 2026-01-01 00:00:10 UTC" in retracted.reason
    assert line.state is None


def test_a_revision_that_still_breaches_keeps_the_alert():
    line = Timeline(rule("error_rate > 0.05 for 20s"))
    line.each(0, [BAD, BAD])
    line.push(at=10, value=0.06, revision=1)

    assert line.told() == [("pending", 10), ("firing", 20)]


def test_an_alert_stays_while_later_windows_alone_fulfil_the_rule():
    line = Timeline(rule("error_rate > 0.05 for 20s"))
    line.each(0, [BAD, BAD, BAD])
    line.push(at=0, value=GOOD, revision=1)
    assert line.told()[-1] == ("firing", 20)

    line.push(at=20, value=GOOD, revision=1)
    assert line.told()[-1] == ("retracted", 30)


def test_a_pending_breach_is_dropped_by_a_revision_of_its_first_window():
    line = Timeline(rule("error_rate > 0.05 for 30s"))
    line.each(0, [BAD, BAD])
    line.push(at=0, value=GOOD, revision=1)
    line.push(at=20, value=BAD)

    assert [state for state, _ in line.told()] == ["pending", "pending"]


def test_a_resolved_alert_can_be_taken_back_for_a_day():
    line = Timeline(rule("error_rate > 0.05"))
    line.each(0, [BAD, GOOD, GOOD])
    line.push(at=0, value=GOOD, revision=1)
    assert line.told() == [("firing", 10), ("resolved", 20), ("retracted", 10)]

    line.push(at=100, value=BAD)
    line.push(at=110, value=GOOD)
    line.push(at=REVISABLE / 1000 + 200, value=GOOD)
    assert line.state is None


def test_a_revision_never_begins_an_incident():
    line = Timeline(rule("error_rate > 0.05"))
    line.push(at=0, value=GOOD)
    line.push(at=0, value=BAD, revision=1)

    assert line.told() == []


def test_a_revised_anomaly_is_judged_by_the_band_of_its_first_publication():
    line = Timeline(rule("anomaly(plays) >= 3", window="1m"), size=60)
    line.push(at=0, value=10.0, score=6.0, **ANOMALY)
    line.push(at=0, value=90.0, score=6.0, revision=1, low=80.0, high=85.0)
    assert line.told() == [("firing", 60)]

    line.push(at=0, value=120.0, score=6.0, revision=2)
    assert line.told()[-1] == ("retracted", 60)
    assert "as expected (100–140)" in line.findings[-1].reason


def test_evidence_is_bounded_and_keeps_the_beginning():
    line = Timeline(rule("error_rate > 0.05 for 20s"))
    line.each(0, [BAD] * 500)
    incident = line.state.incident

    assert len(incident.evidence) == EVIDENCE
    assert incident.evidence[0].start == T0
    assert incident.evidence[-1].end == T0 + 5_000_000
    assert len(rulestate.encode(line.state)) < 4000
    line.push(at=2500, value=GOOD, revision=1)
    assert line.told()[-1] == ("firing", 20)


def test_nothing_is_remembered_of_a_quiet_series_unless_the_rule_asks_its_age():
    quiet, aged = Timeline(rule()), Timeline(rule(min_history="1h"))
    quiet.each(0, [GOOD] * 5)
    aged.each(0, [GOOD] * 5)

    assert quiet.state is None
    assert len(rulestate.encode(aged.state)) < 16


def test_breaching_runs_are_not_joined_over_a_good_window():
    def seen(*runs):
        return tuple(Seen(i * 10, i * 10 + 10, b, 0.0) for i, b in enumerate(runs))

    assert holds(seen(True, True), 20)
    assert not holds(seen(True, False, True), 20)
    assert not holds(seen(False), 0)
    assert holds(seen(True), 0)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x90\x01", msgspec.msgpack.encode([99]), msgspec.msgpack.encode({})]
)
def test_foreign_bytes_are_no_state(data):
    with pytest.raises(StateError):
        rulestate.decode(data)


steps = st.lists(
    st.tuples(
        st.sampled_from([0.3, 0.01, None]), st.integers(0, 3), st.booleans(), st.integers(0, 40)
    ),
    max_size=60,
)


@given(steps=steps, hold=st.sampled_from(["", " for 20s", " for 50s"]), reopen=st.sampled_from([None, "30s", "auto"]))  # fmt: skip
def test_any_history_tells_a_consistent_story(steps, hold, reopen):
    """Whatever comes: each incident is pending, firing, resolved, retracted in this order, none
    twice, and (see Timeline) the state's bytes continue as the state would.
    """
    keys = {} if reopen is None else {"reopen": reopen}
    line = Timeline(rule(f"error_rate > 0.05{hold}", **keys))
    at = 0
    for value, skipped, revises, back in steps:
        if revises:
            line.push(at=max(0, at - 10 * back), value=value, revision=1)
        else:
            at += 10 * (1 + skipped * 4)
            line.push(at=at, value=value)

    order = ["pending", "firing", "resolved", "retracted"]
    lives: dict[str, list[str]] = {}
    for finding in line.findings:
        lives.setdefault(finding.incident, []).append(finding.state)
    for life in lives.values():
        ranks = [order.index(state) for state in life]
        assert ranks == sorted(set(ranks))
        assert not {"resolved", "retracted"} & set(life) or "firing" in life
