"""The bench of the simulator's incidents: what it counts, and a small run of the command."""

import json
import re

import numpy as np
import pytest

from bench.incidents import __main__ as command
from bench.incidents import contest, ground
from bench.incidents.contest import Scored
from bench.incidents.ground import DAY, KINDS, MINUTE, PANE, SIZE, Ground, Track, kind_of
from bench.steps import Pipeline, dealt
from models.records import decode_window
from models.series import parse_key
from simulate.config import SimulationConfig
from simulate.generator import Simulation
from simulate.incidents import Incident, expected
from tables.windowing import fold_windows

FIRST = DAY // PANE
AT = DAY + 600_000
BROKEN = Incident("silence/1", "silence", AT, AT + 180_000, "web")


def one(*points, incidents=(BROKEN,), measure="plays", tags=None):
    """A ground of one series on which the windows of ``points`` (ms of their end) score 5."""
    scores = np.zeros(2 * FIRST)
    for end in points:
        scores[(end - SIZE) // PANE] = 5.0
    track = Track(measure, {"platform": "web"} if tags is None else tags, scores, scores >= 0)
    return Scored(Ground(1, 0, FIRST, tuple(incidents), [track]), {"d": [scores]})


def row(scored, kind="silence"):
    return contest.tally([scored], lambda each: contest.alerts(each, "d", 5.0))[kind]


def test_an_incident_is_found_by_a_window_that_overlaps_it_and_delay_is_to_its_end():
    found = row(one(AT + 90_000))

    assert (found.incidents, found.found, found.false) == (1, 1, 0)
    assert found.delays == (90.0,)


@pytest.mark.parametrize("end", [AT, AT + 180_000 + SIZE])
def test_an_alert_before_or_after_it_is_false(end):
    found = row(one(end))

    assert (found.found, found.false) == (0, 1)
    assert found.weekly == pytest.approx(7.0, rel=0.01)


def test_a_series_that_the_incident_does_not_move_cannot_find_it_and_is_not_false_either():
    found = row(one(AT + 90_000, tags={"platform": "ios"}))

    assert (found.found, found.false) == (0, 0)


def test_the_first_day_is_not_counted():
    found = row(one(AT - 700_000, incidents=()))

    assert (found.incidents, found.false) == (0, 0)


def test_a_baseline_is_set_to_alert_no_more_often_and_one_step_lower_it_would():
    rng = np.random.default_rng(3)
    scores = rng.random(2 * FIRST)
    calm = [Scored(one(incidents=()).ground, {"d": [scores]})]
    at = contest.same_rate(calm, "d", weekly=20.0)
    below = float(np.sort(scores[scores < at])[-1])

    def often(threshold):
        return contest.weekly_alerts(calm, lambda x: contest.alerts(x, "d", threshold))

    assert often(at) <= 20.0 < often(below)
    none = contest.same_rate(calm, "d", weekly=0.0)
    assert often(none) == 0


def test_the_metronome_alerts_at_the_rate_it_is_given():
    many = [one(incidents=()) for _ in range(3)]
    assert contest.weekly_alerts(many, lambda x: contest.beats(x, 70.0)) == pytest.approx(70, abs=8)
    assert contest.weekly_alerts(many, lambda x: contest.beats(x, 0.0)) == 0


def test_a_seed_draws_each_kind_in_turn_and_each_incident_moves_a_series_that_is_watched():
    drawn = ground.schedule(11, 0, 2 * DAY)
    watched = [(measure, tags) for measure, tags in ground.watched()]

    assert {kind_of(i) for i in drawn} == set(KINDS)
    assert all((e.measure, e.tags) in watched for i in drawn for e in expected(i))
    gaps = np.diff([i.start for i in drawn])
    assert gaps.min() >= 60 * MINUTE
    assert drawn != ground.schedule(12, 0, 2 * DAY)
    assert drawn == ground.schedule(11, 0, 2 * DAY)


def test_windows_hold_what_the_products_hold(monkeypatch):
    """Counts exactly, quantiles to a percent, from the same plays through ingest and windows."""
    got = ground.simulate(5, 8 * MINUTE / DAY, is_calm=True, learned=0.0, rate=8.0)
    end = got.start + 8 * MINUTE
    config = SimulationConfig(rate=8.0, slice_ms=10 * MINUTE)
    events = Simulation(5, config).events(got.start - MINUTE, end + 2 * MINUTE)
    theirs = published([(e.key, e.value, e.headers) for e in events], end, monkeypatch)

    compared = 0
    for track in got.tracks:
        for n, value in enumerate(track.values.tolist()):
            window = theirs[tuple(sorted(track.tags.items())), got.start + n * PANE]
            known = window.values[track.measure].value
            near = 0.0101 if track.measure == "startup_p95" else 1e-9
            assert known == (None if np.isnan(value) else pytest.approx(value, rel=near))
            compared += 1
    assert compared == len(got.tracks) * (8 * 6 - 5)


def published(rows, now, monkeypatch):
    """First publications of minutes by tags and start, of the shipped configuration's folds."""
    found = {}

    def fold(*args):
        outputs = fold_windows(*args)
        for out in outputs:
            if out.topic == "windows":
                window = decode_window(out.value)
                if window.size == SIZE and window.revision == 0:
                    tags = tuple(sorted(parse_key(window.group).tags))
                    found[tags, window.start] = window
        return outputs

    monkeypatch.setattr("bench.steps.fold_windows", fold)
    pipeline, parts = Pipeline(), dealt(rows, now)
    for number, part in enumerate(parts):
        pipeline.feed("plays", number, part, now)
    pipeline.follow(now)
    return found


def test_a_small_run_prints_its_seeds_and_says_what_it_was(tmp_path, capsys, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{command.BEGIN}\nold\n{command.END}\nafter\n")
    monkeypatch.setattr(command, "PAGE", page)
    out = tmp_path / "out.json"
    arguments = ["--quick", "--score", "2", "--workers", "1", "--docs"]
    arguments += ["--detectors", "novelty", "--json", str(out)]
    assert command.main(arguments) == 0

    got = json.loads(out.read_text())
    assert f"seeds from {got['seed_base']}" in capsys.readouterr().out
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", got["simulator"])
    rows = got["at"]["2"]["rows"]
    assert [name.split()[0] for name in rows] == [
        "novelty", "zscore", "metronome", "random",
    ]  # fmt: skip
    assert set(rows["novelty ≥ 2"]) == set(KINDS)
    assert sum(r["incidents"] for r in rows["metronome"].values()) == 5
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| silence (" in text
