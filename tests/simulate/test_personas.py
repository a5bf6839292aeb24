"""Personas differ in what can be measured, and the catalogue has a long tail."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from simulate.config import SimulationConfig
from simulate.generator import Simulation
from simulate.markets import COUNTRIES, PLATFORM_NAMES
from simulate.personas import PERSONA_NAMES, PERSONAS, SOURCES

MONDAY = 1_789_948_800_000  # 2026-09-21
HOUR = 3_600_000
CONFIG = SimulationConfig(
    listeners=3_000, tracks=20_000, artists=2_000, rate=4.0, duplicates=0.0, garbage=0.0
)


@pytest.fixture(scope="module")
def day():
    """Every play of a Monday as rows, and its world."""
    simulation = Simulation(5, CONFIG)
    rows = np.concatenate(list(simulation.rows(MONDAY, MONDAY + 24 * HOUR)))
    return simulation.world, rows


@pytest.fixture(scope="module")
def by_persona(day):
    world, rows = day
    persona = world.persona[rows["listener"]]
    return {name: rows[persona == n] for n, name in enumerate(PERSONA_NAMES)}


def test_the_tables_are_whole():
    assert sum(p.share for p in PERSONAS) == pytest.approx(1.0)
    assert sum(c.share for c in COUNTRIES) == pytest.approx(1.0)
    for persona in PERSONAS:
        assert len(persona.hours) == len(persona.weekend) == 24
        assert len(persona.sources) == len(SOURCES)
        assert persona.platforms.keys() == set(PLATFORM_NAMES)


def local_hours(world, rows):
    offsets = np.array([c.utc_offset * HOUR for c in COUNTRIES], dtype=np.int64)
    return (rows["at"] + offsets[world.country[rows["listener"]]]) // HOUR % 24


def test_each_persona_has_its_own_hours(day, by_persona):
    world, _ = day
    share = {}
    for name, rows in by_persona.items():
        hours = np.bincount(local_hours(world, rows), minlength=24)
        share[name] = hours / hours.sum()
    assert share["commuter"][[7, 8, 17, 18]].sum() > 1.6 * share["explorer"][[7, 8, 17, 18]].sum()
    assert share["night"][[22, 23, 0, 1, 2]].sum() > 0.5
    assert share["focus"][9:17].sum() > 0.6
    assert share["explorer"][18:23].sum() > 2 * share["focus"][18:23].sum()


def test_skips_and_loops_differ(by_persona):
    skips = {name: rows["skipped"].mean() for name, rows in by_persona.items()}
    assert skips["explorer"] > 0.4
    assert 0.15 < skips["commuter"] < 0.3
    assert skips["night"] < 0.05

    def tracks_a_play(rows):
        seen = defaultdict(set)
        for listener, track in zip(rows["listener"], rows["track"], strict=True):
            seen[listener].add(track)
        return sum(len(s) for s in seen.values()) / len(rows)

    variety = {name: tracks_a_play(rows) for name, rows in by_persona.items()}
    assert variety["explorer"] > 0.9
    assert variety["night"] < 0.7 * variety["explorer"]


def test_super_fans_play_one_artist_and_radio_listeners_the_radio(day, by_persona):
    world, _ = day
    fans = by_persona["super-fan"]
    top = []
    artists = world.artist[fans["track"]]
    for listener in np.unique(fans["listener"]):
        played = Counter(artists[fans["listener"] == listener].tolist())
        if played.total() >= 10:
            top.append(played.most_common(1)[0][1] / played.total())
    assert np.mean(top) > 0.8
    radio = SOURCES.index("radio")
    assert (by_persona["radio"]["source"] == radio).mean() > 0.7
    assert (by_persona["focus"]["source"] == radio).mean() < 0.15


def test_families_are_on_the_family_plan(day):
    world, _ = day
    family = world.persona == PERSONA_NAMES.index("family")
    assert (world.plan[family] == 2).mean() > 0.9
    assert (world.plan[~family] == 2).mean() < 0.15


def test_the_catalogue_has_a_long_tail(day):
    world, rows = day
    plays = np.sort(np.bincount(rows["track"], minlength=CONFIG.tracks))[::-1]
    share = plays / plays.sum()
    assert 0.2 < share[:100].sum() < 0.6
    assert (plays > 0).sum() > 0.4 * CONFIG.tracks
    assert np.bincount(world.artist, minlength=CONFIG.artists).min() >= 1


def test_start_up_is_log_normal_around_what_platform_and_country_make_it(day):
    world, rows = day
    started = rows[rows["startup"] >= 0]
    for country, platform in ((0, 0), (4, 1), (1, 2)):
        some = started["startup"][
            (world.country[started["listener"]] == country) & (started["platform"] == platform)
        ]
        assert np.median(some) == pytest.approx(world.startup[country, platform], rel=0.06)
        assert np.std(np.log(some)) == pytest.approx(0.45, rel=0.06)


def test_weekends_have_no_rush_hour(day):
    world, _ = day
    commuters = (
        world.rates(MONDAY + 7 * HOUR)[::7].sum() / world.rates(MONDAY + 12 * HOUR)[::7].sum()
    )
    saturday = MONDAY + 5 * 24 * HOUR
    calm = (
        world.rates(saturday + 7 * HOUR)[::7].sum() / world.rates(saturday + 12 * HOUR)[::7].sum()
    )
    assert commuters > 1.5
    assert calm < 1.0
