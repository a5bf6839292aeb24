"""Forecast rules in the judge: who has a forecaster, what it sees, and that it is forgotten."""

import random

from msgspec.structs import replace

from agents.forecasting import FORECASTERS
from agents.judging import DETECTORS, JUDGE_STORES, RuleBook, RuleJudge
from alerts.rules import parse_rule
from ml.forecasting.slots import slots_of
from models.config import load_series_config
from models.records import Value, Window, decode_finding
from models.series import format_key
from tables.publishing import Gone
from tests.alerts.timeline import ROOT

SERIES = load_series_config(ROOT / "config" / "series.toml")
SIZE = 60_000
HOUR = 3_600_000
SPEC = SERIES.windows[0]
GROUP = format_key("acme", "metric:disk_used", {"host": "db-1"})
RULE = {
    "id": "disk-full", "when": "forecast(value) >= 0.9 within 6h with 80%", "window": "pane",
    "metric": "disk_*", "severity": "page",
}  # fmt: skip


def new_judge(**keys):
    judge = RuleJudge(RuleBook([parse_rule(RULE | keys, SERIES)]), [SIZE])
    return judge, {spec.name: {} for spec in JUDGE_STORES}


def window(minute, value, group=GROUP, **keys):
    start = minute * SIZE
    made = {"value": Value(value, 1.0)}
    return Window("acme", group, "live", start, start + SIZE, SIZE, SIZE, 1, made, **keys)


def disk(hours, draw):
    """Calm at 0.3 for 20 hours, then 3 % more an hour."""
    for minute in range(hours * 60):
        grown = max(0, minute - 20 * 60) * 0.0005
        yield minute, 0.3 + grown + draw.gauss(0, 0.002)


def told(hours=40, store=lambda state: None, **keys):
    judge, state = new_judge(**keys)
    found = []
    for minute, value in disk(hours, random.Random(1)):
        _, outputs = judge(window(minute, value), SPEC, state)
        found += [decode_finding(out.value) for out in outputs]
        store(state)
    return judge, state, found


def test_a_disk_that_fills_is_told_hours_before_it_is_full():
    """It reaches 0.9 after 40 hours, at 3 % an hour: the rule looks six hours ahead."""
    _, _, found = told()
    firing = next(f for f in found if f.state == "firing")

    assert 33 * HOUR < firing.at < 37 * HOUR
    assert firing.kind == "forecast"
    assert firing.value < 0.85
    assert firing.reason.startswith("disk_used of db-1 will cross 0.9 in about ")
    assert firing.score >= 0.8


def test_findings_are_the_same_whenever_the_state_crosses_the_changelog():
    def through_bytes(state):
        if draw.random() < 0.05:
            for spec in JUDGE_STORES:
                kept = state[spec.name].items()
                state[spec.name] = {key: spec.decode(spec.encode(held)) for key, held in kept}

    draw = random.Random(2)
    assert told(store=through_bytes)[2] == told()[2]


def test_only_what_a_forecast_rule_looks_at_has_a_forecaster_and_only_slots_are_written():
    judge, state = new_judge()
    other = format_key("acme", "metric:cpu", {"host": "db-1"})
    judge(window(0, 0.5, group=other), SPEC, state)
    assert state[FORECASTERS] == {}
    judge(window(0, 0.5), SPEC, state)
    (held,) = state[FORECASTERS].values()
    assert list(held) == ["value/480000/45"]
    assert state[DETECTORS] == {}
    before = state[FORECASTERS] = dict(state[FORECASTERS])
    for minute in range(1, 7):
        judge(window(minute, 0.5), SPEC, before_is := Watching(state))
        assert FORECASTERS not in before_is.touched
    judge(window(7, 0.5), SPEC, before_is := Watching(state))
    assert FORECASTERS in before_is.touched
    assert before is state[FORECASTERS]


class Watching(dict):
    """Stores that note which of them a key is assigned in: that is what a flush writes."""

    def __init__(self, stores):
        self.touched = set()
        super().__init__({name: _Watched(self, name, store) for name, store in stores.items()})
        self.stores = stores


class _Watched(dict):
    def __init__(self, watching, name, store):
        super().__init__(store)
        self.watching, self.name, self.store = watching, name, store

    def __setitem__(self, key, value):
        self.watching.touched.add(self.name)
        self.store[key] = value
        super().__setitem__(key, value)


def test_a_revision_and_a_window_without_a_value_teach_nothing():
    judge, state, _ = told(hours=2)
    (held,) = state[FORECASTERS].values()
    (watched,) = held.values()
    before = watched.dump()
    judge(window(119, 5.0, revision=1), SPEC, state)
    judge(replace(window(127, 5.0), values={"value": Value(None)}), SPEC, state)

    assert watched.dump() == before


def test_forgetting_a_group_forgets_its_forecasters():
    judge, state, _ = told(hours=1)
    assert state[FORECASTERS]
    judge.forget(Gone("acme", GROUP, "live", SIZE, 60 * SIZE, "silent"), state)
    assert state[FORECASTERS] == {}


def test_a_forecaster_that_no_rule_asks_for_any_more_is_dropped():
    _, state, _ = told(hours=1)
    shorter, _ = new_judge(when="forecast(value) >= 0.9 within 1h")
    shorter(window(60, 0.3), SPEC, state)
    (held,) = state[FORECASTERS].values()
    assert list(held) == ["value/120000/30"]


def test_slots_are_whole_windows_and_parts_of_a_day_where_they_can():
    assert slots_of(6 * HOUR, 10_000) == (450_000, 48)
    assert slots_of(24 * HOUR, 300_000) == (1_800_000, 48)
    assert slots_of(HOUR, 3_600_000) == (3_600_000, 1)
    assert slots_of(60_000, 300_000) == (300_000, 1)
    assert slots_of(HOUR, 7_000)[0] % 7_000 == 0
    # Nothing longer than a day is a part of it, and is not looked for.
    assert slots_of(10**17, 10_000) == (10**17 // 48 // 10_000 * 10_000 + 10_000, 47)
