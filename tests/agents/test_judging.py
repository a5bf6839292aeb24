"""The judge: learns from what does not overlap, keeps bands for revisions, and forgets."""

from pathlib import Path

from msgspec.structs import replace

from agents.forecasting import FORECASTERS
from agents.judging import DETECTORS, JUDGE_STORES, RULES, RuleBook, RuleJudge
from alerts.rules import load_rules
from models.config import load_series_config
from models.records import Value, Window, decode_finding

ROOT = Path(__file__).parents[2]
SERIES = load_series_config(ROOT / "config" / "series.toml")
RULE_LIST, _ = load_rules(ROOT / "config" / "rules.toml", SERIES)
PANE, MINUTE, _HOUR = SERIES.windows
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
    judge.forget(GROUP, "live", PANE.size, state)
    assert state == {DETECTORS: {}, RULES: {}, FORECASTERS: {}}
