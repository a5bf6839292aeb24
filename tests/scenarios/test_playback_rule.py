"""The shipped rule on failing playback: chance does not page, and the demo's break is found in time.

On the simulator's plays, through the code that decides on windows, without a worker around it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from math import comb, floor

import numpy as np
import pytest
from msgspec.structs import replace as changed

from alerts.conditions import advance
from alerts.rules import Rule, load_rules
from models.config import load_series_config
from models.records import LIVE, Value, Window
from models.series import format_key
from simulate.config import SimulationConfig, demo
from simulate.draw import PLAY
from simulate.generator import Simulation
from simulate.incidents import CYCLE
from simulate.markets import COUNTRY_NAMES, PLATFORM_NAMES, PLATFORMS
from tests.support.worker import ROOT

SERIES = load_series_config(ROOT / "config" / "series.toml")
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
NOW = 1_790_000_000_000 // MINUTE * MINUTE
CYCLES = 3


@pytest.fixture(scope="module")
def rule() -> Rule:
    rules, _ = load_rules(ROOT / "config" / "rules.toml", SERIES)
    return next(each for each in rules if each.id == "playback-errors")


def test_chance_pages_less_than_once_in_a_hundred_days_of_a_slice(rule: Rule):
    """Failures that know nothing of each other, at the worst platform's usual rate."""
    assert false_pages_a_day(rule) < 0.01


def test_the_rule_it_replaced_would_page_daily(rule: Rule):
    assert false_pages_a_day(changed(rule, threshold=0.05)) > 1
    assert false_pages_a_day(changed(rule, threshold=0.05), usual=0.004) > 0.9


def false_pages_a_day(rule: Rule, usual: float = max(p.errors for p in PLATFORMS)) -> float:
    """Of the slice size at which chance breaches as many windows in a row as the rule asks for."""
    assert rule.size is not None
    assert rule.op == ">"
    in_a_row, windows = rule.hold // rule.size, 24 * HOUR // rule.size
    sizes = range(int(rule.min_weight), 1_000)
    worst = max(tail(n, usual, floor(rule.threshold * n + 1e-9) + 1) for n in sizes)
    return float(windows * worst**in_a_row)


def tail(n: int, p: float, least: int) -> float:
    """The chance that ``least`` or more of ``n`` fail."""
    return 1 - sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(least))


def test_quiet_hours_do_not_page(rule: Rule):
    quiet = replace(demo(NOW), rate=40.0, incidents=())
    assert pages(rule, quiet, NOW - 3 * HOUR, NOW) == []


def test_the_demos_break_is_found_within_half_a_minute_each_time(rule: Rule):
    """And neither its silences, nor its breakouts, nor its late batches page as failing playback."""
    found = pages(rule, demo(NOW, cycles=CYCLES), NOW, NOW + CYCLES * CYCLE)
    assert {slice_ for _, slice_ in found} == {("ios", "FR")}
    begins = [NOW + n * CYCLE + 15 * SECOND for n in range(CYCLES)]
    assert len(found) == CYCLES
    assert all(0 < at - t <= 30 * SECOND for (at, _), t in zip(found, begins, strict=True))


def pages(
    rule: Rule, config: SimulationConfig, start: int, end: int
) -> list[tuple[int, tuple[str, str]]]:
    """When the rule fires, in event time, and on which platform and country."""
    plays, failed = counts(config, start, end)
    found = []
    for platform, country in np.ndindex(plays.shape[:2]):
        name = (PLATFORM_NAMES[platform], COUNTRY_NAMES[country])
        of_slice = zip(plays[platform, country], failed[platform, country], strict=True)
        found += [(at, name) for at in fired(rule, name, start, of_slice)]
    return sorted(found)


def counts(config: SimulationConfig, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Plays and failures by platform, country and window of ten seconds."""
    simulation = Simulation(1, config)
    shape = (len(PLATFORM_NAMES), len(COUNTRY_NAMES), (end - start) // (10 * SECOND))
    plays, failed = np.zeros(shape, int), np.zeros(shape, int)
    for rows in simulation.rows(start, end):
        mine = rows[(rows["kind"] == PLAY) & (rows["at"] >= start)]
        place = (
            mine["platform"], simulation.world.country[mine["listener"]],
            (mine["at"] - start) // (10 * SECOND),
        )  # fmt: skip
        np.add.at(plays, place, 1)
        np.add.at(failed, place, mine["error"] >= 0)
    return plays, failed


def fired(
    rule: Rule, name: tuple[str, str], start: int, of_slice: Iterator[tuple[int, int]]
) -> list[int]:
    size = rule.size or 0
    assert size == 10 * SECOND
    tags = {"platform": name[0], "country": name[1]}
    group, series = (format_key("demo", n, tags) for n in ("country_platform", "error_rate"))
    state, found = None, []
    for n, (plays, failed) in enumerate(of_slice):
        if plays:
            begin = start + n * size
            window = Window("demo", group, LIVE, begin, begin + size, size, size, int(plays), {})
            value = Value(float(failed / plays), float(plays))
            state, findings = advance(rule, state, window, value, series)
            found += [f.at for f in findings if f.state == "firing"]
    return found
