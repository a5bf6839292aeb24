"""The judge: learns from what does not overlap, keeps bands for revisions, and forgets."""

import random
from pathlib import Path

import pytest
from msgspec.structs import replace

from agents.judging import DETECTORS, JUDGE_STORES, RULES, RuleBook, RuleJudge
from alerts.rules import load_rules, parse_rules
from models.config import load_series_config
from models.evidence import Told, decode_testimony
from models.records import REMARKABLE, Value, Window, decode_finding, decode_window, to_json
from tables.publications import PUBLICATIONS, Publication
from tables.publishing import Gone

ROOT = Path(__file__).parents[2]
SERIES = load_series_config(ROOT / "config" / "series.toml")
RULE_LIST, _ = load_rules(ROOT / "config" / "rules.toml", SERIES)
PANE, MINUTE, _HOUR = SERIES.windows
DAY = 86_400_000
GROUP = "demo|country_platform{country=FR,platform=ios}"


def window(spec, start, **values):
    return Window(
        tenant="demo", group=GROUP, stream="live", start=start, end=start + spec.size,
        size=spec.size, slide=spec.slide, count=100,
        values={name: Value(value=v, weight=100.0) for name, v in values.items()},
    )  # fmt: skip


def new_judge():
    judge = RuleJudge(RuleBook(RULE_LIST), (w.size for w in SERIES.windows))
    return judge, {spec.name: {} for spec in JUDGE_STORES}


def test_overlapping_windows_are_scored_but_not_learned():
    """A sliding window repeats most of the one before it: learning it would count events six times."""
    judge, state = new_judge()
    for start in range(0, 60 * 60_000, 10_000):
        judge(window(MINUTE, start, plays=50.0 + start // 10_000 % 3), MINUTE, state)
    (detectors,) = state[DETECTORS].values()
    aligned = detectors["plays"]
    before = aligned.dump()
    judged, _ = judge(window(MINUTE, 60 * 60_000 + 10_000, plays=51.0), MINUTE, state)
    assert judged.values["plays"].score is not None
    assert aligned.dump() == before
    judge(window(MINUTE, 61 * 60_000, plays=51.0), MINUTE, state)
    assert aligned.dump() != before


def test_a_revision_keeps_its_band_and_is_not_learned():
    judge, state = new_judge()
    revised = replace(window(MINUTE, 0, plays=50.0), revision=1)
    first = {"plays": Value(score=9.0, low=40.0, high=60.0)}
    judged, _ = judge(revised, MINUTE, state, first)
    assert (judged.values["plays"].low, judged.values["plays"].score) == (40.0, 0.0)
    assert state[DETECTORS] == {}


def test_findings_name_the_series_and_survive_the_changelog():
    """Twenty seconds of errors fire; the state between the two windows has crossed the changelog."""
    judge, state = new_judge()
    found = []
    for start in (0, 10_000, 20_000):
        _, outputs = judge(window(PANE, start, error_rate=0.3), PANE, state)
        found += [decode_finding(out.value) for out in outputs]
        for spec in JUDGE_STORES:
            state[spec.name] = {k: spec.decode(spec.encode(v)) for k, v in state[spec.name].items()}
    assert [f.state for f in found] == ["pending", "firing"]
    assert {f.series for f in found} == {"demo|error_rate{country=FR,platform=ios}"}
    assert len({f.incident for f in found}) == 1


def test_forgetting_a_group_leaves_nothing():
    judge, state = new_judge()
    judge(window(MINUTE, 0, plays=1.0), MINUTE, state)
    judge(window(PANE, 0, error_rate=0.3), PANE, state)
    assert state[DETECTORS]
    assert state[RULES]
    assert judge.forget(gone("silent"), state) == []  # what is pending has not been told
    assert not any(state.values())


def gone(why, at=30_000):
    return Gone("demo", GROUP, "live", PANE.size, at, why)


@pytest.mark.parametrize(
    ("why", "at", "reason"),
    [
        ("silent", 20_000 + DAY, "no data for 1 d, so it is not watched until data comes again"),
        ("ended", 20_000, "the stream has ended"),
        ("abandoned", 20_000, "the stream has ended"),
    ],
)
def test_an_incident_ends_with_its_group(why, at, reason):
    """Nobody would ever see it end: an alert that stays open for ever is not believed."""
    judge, state = new_judge()
    before = []
    for start in (0, 10_000):
        _, outputs = judge(window(PANE, start, error_rate=0.3), PANE, state)
        before += [decode_finding(out.value) for out in outputs]
    (out,) = judge.forget(gone(why, at), state)
    finding = decode_finding(out.value)
    assert (out.topic, finding.state, finding.at) == ("findings", "resolved", at)
    assert (finding.incident, finding.revision) == (before[-1].incident, before[-1].revision + 1)
    assert finding.reason == f"error rate of ios × FR: {reason}"
    assert not any(state.values())
    assert judge.forget(gone(why, at), state) == []


def minutes(judge, state, values, start=0, measure="plays"):
    """Minute windows one after the other, as they are judged."""
    out = []
    for i, value in enumerate(values, start):
        judged, _ = judge(window(MINUTE, i * 60_000, **{measure: value}), MINUTE, state)
        out.append(judged)
    return out


def test_a_remarkable_value_says_what_it_looks_like_and_another_says_nothing():
    judge, state = new_judge()
    draw = random.Random(7)
    calm = minutes(judge, state, [draw.gauss(100, 4) for _ in range(1200)])
    shifted = minutes(judge, state, [draw.gauss(140, 4) for _ in range(9)], 1200)

    for judged in calm + shifted:
        value = decode_window(to_json(judged)).values["plays"]
        told = bool(value.shape or value.tail or value.contributions)
        assert told == (value.score is not None and value.score >= REMARKABLE)
    worst = shifted[-1].values["plays"]
    assert worst.shape == "level shift"
    assert worst.tail < 0.02
    assert 1 <= len(worst.contributions) <= 3
    assert list(worst.contributions.values()) == sorted(worst.contributions.values(), reverse=True)
    assert 0.3 < sum(worst.contributions.values()) <= 1.015


def test_what_is_said_of_surprises_hardly_lengthens_the_windows():
    """Two hours of a level shift in a day: under 1 % more bytes, for all but those say nothing."""
    judge, state = new_judge()
    draw = random.Random(8)
    usual, shifted = [draw.gauss(100, 4) for _ in range(1320)], [draw.gauss(140, 4)] * 120
    with_it = without = 0
    for judged in minutes(judge, state, usual + shifted):
        with_it += len(to_json(judged))
        plain = {
            name: replace(value, shape="", tail=None, contributions={})
            for name, value in judged.values.items()
        }
        without += len(to_json(replace(judged, values=plain)))

    assert without < with_it < 1.01 * without


def test_a_revision_outside_the_band_looks_like_its_first_publication():
    """What was remembered of it has crossed the changelog."""
    judge, state = new_judge()
    said = {"shape": "spike", "tail": 0.01, "contributions": {"level": 0.6}}
    first = {"plays": Value(score=2.0, low=40.0, high=60.0, **said)}
    publication = PUBLICATIONS.decode(PUBLICATIONS.encode(Publication.of(first)))
    outside = replace(window(MINUTE, 0, plays=90.0), revision=1)
    inside = replace(window(MINUTE, 0, plays=50.0), revision=1)

    value = judge(outside, MINUTE, state, publication.bands)[0].values["plays"]
    assert (value.score, value.shape, value.tail) == (2.0, "spike", 0.01)
    assert value.contributions == {"level": 0.6}
    value = judge(inside, MINUTE, state, publication.bands)[0].values["plays"]
    assert (value.score, value.shape, value.tail, value.contributions) == (0.0, "", None, {})


def said_of(outputs):
    return [decode_testimony(o.value) for o in outputs if o.topic == "evidence"]


def learned(rules, group, seconds=60 * 60):
    """A judge that has seen an hour of about fifty plays a minute."""
    judge = RuleJudge(RuleBook(rules), (w.size for w in SERIES.windows))
    state = {spec.name: {} for spec in JUDGE_STORES}
    told = []
    for start in range(0, seconds * 1000, 10_000):
        one = replace(window(MINUTE, start, plays=50.0 + start // 60_000 % 3), group=group)
        told += said_of(judge(one, MINUTE, state)[1])
    return judge, state, told


def test_a_quiet_slice_tells_nothing_and_one_out_of_its_band_its_row():
    (rules, _) = parse_rules({"rules": [UNUSUAL]}, SERIES)
    judge, state, told = learned(rules, GROUP)
    assert told == []
    broken = window(MINUTE, 60 * 60_000, plays=3.0, error_rate=0.9)
    (row,) = said_of(judge(broken, MINUTE, state)[1])[0].rows
    assert (row.tags, row.measure, row.kind, row.value) == (
        (("country", "FR"), ("platform", "ios")), "plays", "count", 3.0,
    )  # fmt: skip
    assert 3.0 < row.low < row.high
    revised = replace(broken, revision=1)
    assert said_of(judge(revised, MINUTE, state, {"plays": Value(low=1.0, high=2.0)})[1]) == []


def test_the_total_always_tells_and_without_such_a_rule_nobody_does():
    (rules, _) = parse_rules({"rules": [UNUSUAL]}, SERIES)
    _, _, told = learned(rules, "demo|all{}")
    assert len(told) > 100
    _, _, told = learned([replace(rules[0], attribute=False)], "demo|all{}")
    assert told == []


def test_findings_of_rules_that_attribute_wait_and_pending_ones_do_not():
    easily = UNUSUAL | {"when": "plays < 1 for 90s", "attribute": True}
    (rules, _) = parse_rules({"rules": [easily]}, SERIES)
    judge, state, _ = learned(rules, GROUP)
    found = []
    for start in range(60 * 60_000, 70 * 60_000, 10_000):
        found += judge(window(MINUTE, start, plays=0.0), MINUTE, state)[1]
    direct = [decode_finding(o.value).state for o in found if o.topic == "findings"]
    waiting = [t for t in said_of(found) if isinstance(t, Told)]
    assert set(direct) == {"pending"}
    assert waiting[0].finding.state == "firing"
    assert waiting[0].row.value == 0.0


UNUSUAL = {
    "id": "unusual", "when": "anomaly(plays) >= 0.5 for 20s", "window": "1m",
    "group": ["platform", "country"], "severity": "ticket",
}  # fmt: skip
