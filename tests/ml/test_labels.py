"""Labels against claims, and thresholds from labels: examples, and what must hold for any labels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.labels import (
    HIGHEST,
    LOWEST,
    USUAL,
    Claim,
    quality,
    quality_by_detector,
    quality_by_rule,
    threshold_for,
)
from models.learning import Label

SERIES = "demo|plays{}"


def label(verdict="true", since=0, until=10, peak=None, series=SERIES, **more) -> Label:
    number = more.pop("id", f"{series}{since}-{until}{verdict}{peak}")
    return Label("demo", number, series, since, until, verdict, "ann", 0, peak=peak, **more)


def test_claims_are_right_where_they_meet_an_event():
    labels = [label("true", 0, 10), label("false", 20, 30), label("expected", 40, 50)]
    claims = [
        Claim(SERIES, 9, 12),  # meets the event
        Claim(SERIES, 10, 20),  # touches two and meets none: stretches are half open
        Claim(SERIES, 29, 35),
        Claim(SERIES, 30, 41),
        Claim("demo|other{}", 0, 10),
        Claim(SERIES, 5, 25),  # both an event and not: it found the event
    ]
    found = quality(claims, labels)
    assert found == (2, 1, 1, 2, 1, 1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == 1.0


def test_without_labels_nothing_is_said():
    found = quality([Claim(SERIES, 0, 1)], [])
    assert (found.unjudged, found.precision, found.recall) == (1, None, None)
    assert quality([], [label("true")]).recall == 0.0


def test_a_label_of_an_alert_is_of_that_alert_whatever_its_times():
    labels = [label("false", 100, 110, alert="inc-1")]
    claims = [Claim(SERIES, 0, 10, "inc-1"), Claim(SERIES, 0, 10, "inc-2")]
    assert quality(claims, labels)[:4] == (0, 1, 0, 1)


def test_each_rule_answers_for_its_own_events():
    labels = [
        label("true", 0, 10, rule="a"),
        label("true", 20, 30),  # names nobody: for whoever spoke of the series
        label("false", 40, 50),
        label("true", 60, 70, series="demo|other{}"),
    ]
    claims = [
        Claim(SERIES, 0, 10, rule="a"),
        Claim(SERIES, 0, 10, rule="b"),
        Claim(SERIES, 40, 50, rule="b"),
        Claim("demo|other{}", 0, 10, rule="c"),
    ]
    found = quality_by_rule(claims, labels)
    assert list(found) == ["a", "b", "c"]
    assert (found["a"].precision, found["a"].recall) == (1.0, 0.5)
    # It is right about the event of another rule, and does not answer for missing it.
    assert (found["b"].precision, found["b"].recall) == (0.5, 0.0)
    assert (found["c"].precision, found["c"].recall) == (None, 0.0)


def test_a_detector_that_only_labels_name_is_there():
    found = quality_by_detector([], [label("true", detector="novelty"), label("true", 20, 30)])
    assert {name: q.recall for name, q in found.items()} == {"novelty": 0.0}


def test_a_false_label_raises_the_threshold_just_above_its_peak():
    value, reason = threshold_for(SERIES, [label("false", peak=3.0)])
    assert value == pytest.approx(3.3)
    assert "1 false label up to a score of 3" in reason


def test_one_false_label_does_not_make_a_detector_deaf():
    value, reason = threshold_for(SERIES, [label("false", peak=1e6)])
    assert value == 2 * USUAL
    assert "held back" in reason
    many = [label("false", n, n + 1, peak=1e6) for n in range(50)]
    assert threshold_for(SERIES, many).value == HIGHEST * USUAL


def test_a_missed_event_lowers_the_threshold_to_it():
    value, reason = threshold_for(SERIES, [label("true", peak=1.4)])
    assert value == 1.4
    assert "to find 1 event" in reason


def test_an_event_within_the_noise_is_left_out_and_said():
    value, reason = threshold_for(SERIES, [label("true", peak=0.2)])
    assert value == USUAL
    assert "left out" in reason


def test_a_real_event_is_kept_against_false_labels():
    value, reason = threshold_for(
        SERIES, [label("false", peak=3.5), label("true", 20, 30, peak=2.5)]
    )
    assert value == 2.5
    assert "false label" in reason
    assert "event" in reason


def test_labels_that_say_nothing_of_scores_change_nothing():
    nothing = [
        label("expected", peak=9.0), label("false"), label("false", peak=9.0, series="demo|x{}"),
        label("true", peak=float("nan")),
    ]  # fmt: skip
    assert threshold_for(SERIES, nothing, usual=3.0).value == 3.0
    assert "no label of the series" in threshold_for(SERIES, nothing).reason


PEAKS = st.one_of(st.none(), st.floats(0, 100), st.floats(0, 4))
LABELS = st.lists(
    st.builds(label, st.sampled_from(["true", "false", "expected"]), peak=PEAKS), max_size=12
)


@given(LABELS, PEAKS)
def test_a_further_false_label_never_lowers_a_threshold(labels, peak):
    before = threshold_for(SERIES, labels).value
    assert threshold_for(SERIES, [*labels, label("false", peak=peak)]).value >= before


@given(LABELS, st.floats(0, 100))
def test_a_further_true_label_never_raises_it_and_its_event_would_be_found(labels, peak):
    before = threshold_for(SERIES, labels).value
    after = threshold_for(SERIES, [*labels, label("true", peak=peak)]).value
    assert after <= before
    assert after <= peak or peak < LOWEST * USUAL


@given(LABELS, st.permutations(range(12)))
def test_a_threshold_is_bounded_and_knows_no_order(labels, order):
    shuffled = [labels[i] for i in order if i < len(labels)]
    found = threshold_for(SERIES, labels)
    assert threshold_for(SERIES, shuffled) == found
    assert LOWEST * USUAL <= found.value <= HIGHEST * USUAL
    assert found.reason


SPANS = st.tuples(st.integers(0, 50), st.integers(1, 20)).map(lambda s: (s[0], s[0] + s[1]))


@given(
    st.lists(SPANS.map(lambda s: Claim(SERIES, *s)), max_size=8),
    st.lists(
        st.tuples(st.sampled_from(["true", "false", "expected"]), SPANS).map(
            lambda t: label(t[0], *t[1])
        ),
        max_size=8,
        unique_by=lambda la: la.id,
    ),
)
def test_every_claim_and_every_event_is_counted_once(claims, labels):
    found = quality(claims, labels)
    assert found.right + found.wrong + found.expected + found.unjudged == len(claims)
    assert found.events == sum(la.verdict == "true" for la in labels)
    assert 0 <= found.found <= found.events
