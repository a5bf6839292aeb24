"""The labels against an independent recount from the bytes alone."""

import json
from collections import Counter

import orjson
import pytest

from models.decoding import decode_plays
from models.events import Play
from simulate.config import SimulationConfig
from simulate.generator import Simulation
from simulate.incidents import Incident, expected, late_batch, release
from simulate.labels import Tally, labels, write_labels

NOW = 1_790_000_000_000
MINUTE = 60_000
DAY = 86_400_000

RELEASE = release("broken", NOW + 5 * MINUTE, 10 * MINUTE, "ios", "FR")
SILENCE = Incident("silent", "silence", NOW + 20 * MINUTE, NOW + 25 * MINUTE, "web")
BREAKOUT = Incident("rising", "breakout", NOW + 30 * MINUTE, NOW + 40 * MINUTE, track=4_321)
LATE = late_batch("late", NOW + 41 * MINUTE, 250, DAY, 3 * DAY)
INCIDENTS = (RELEASE, SILENCE, BREAKOUT, LATE)
CONFIG = SimulationConfig(
    listeners=1_000,
    tracks=5_000,
    artists=500,
    rate=20.0,
    anchor=NOW,
    duplicates=0.01,
    garbage=0.01,
    incidents=INCIDENTS,
)
END = NOW + 45 * MINUTE


@pytest.fixture(scope="module")
def run():
    """The labels of a span, its records, and the valid plays among them (first deliveries)."""
    simulation = Simulation(11, CONFIG)
    tally = Tally()
    events = list(simulation.events(NOW, END, tally))
    told = labels(11, CONFIG, simulation.world, NOW, END, tally)
    before = {e.headers[0][1].decode() for e in simulation.events(NOW - MINUTE, NOW)}
    plays = {}
    for event, play in zip(events, decode_plays([e.value for e in events]), strict=True):
        ours = isinstance(play, Play) and play.tenant_id == "demo"
        if ours and play.started_at <= event.arrival and play.event_id not in before:
            plays.setdefault(play.event_id, (event, play))
    return told, events, [p for _, p in plays.values()]


def incident(told, name):
    return next(i for i in told["incidents"] if i["id"] == name)


def test_counts_agree_with_the_bytes(run):
    told, events, plays = run
    counts = told["counts"]
    good = counts["plays"] + counts["late"]
    assert len(plays) == good
    assert len(events) == counts["records"] == good + counts["duplicates"] + counts["garbage"]
    assert sum(p.offline for p in plays) == counts["late"] == LATE.plays
    assert sum(p.error is not None for p in plays) == counts["errors"]
    assert sum(counts["garbage_kinds"].values()) == counts["garbage"]
    assert counts["suppressed"] == incident(told, "silent")["plays"] > 0


def test_a_duplicate_is_the_same_record_again_within_half_a_minute(run):
    told, events, _ = run
    by_id = {}
    for event in events:
        by_id.setdefault(event.headers, []).append(event)
    twice = [copies for copies in by_id.values() if len(copies) > 1]
    # The first delivery of a few may lie before the span.
    assert told["counts"]["duplicates"] - len(twice) in range(5)
    for first, second in twice:
        assert (first.key, first.value) == (second.key, second.value)
        assert 1_000 <= second.arrival - first.arrival <= 30_000


def test_a_release_fails_a_third_of_its_slice_and_slows_the_rest(run):
    told, _, plays = run
    hit = [
        p
        for p in plays
        if RELEASE.start <= p.at < RELEASE.end and (p.platform, p.country) == ("ios", "FR")
    ]
    failed = [p for p in hit if p.error is not None]
    label = incident(told, "broken")
    assert (label["plays"], label["failed"]) == (len(hit), len(failed))
    assert 0.30 < len(failed) / len(hit) < 0.42
    assert label["expect"][0] == {
        "measure": "error_rate",
        "tags": {"platform": "ios", "country": "FR"},
        "direction": "up",
        "level": 0.35,
    }

    def p95(some):
        times = sorted(p.startup_ms for p in some if p.startup_ms is not None)
        return times[int(0.95 * len(times))]

    before = [p for p in plays if p.at < RELEASE.start and (p.platform, p.country) == ("ios", "FR")]
    assert 2.3 < p95(hit) / p95(before) < 3.8
    others = [p for p in plays if RELEASE.start <= p.at < RELEASE.end and p.platform == "android"]
    assert sum(p.error is not None for p in others) / len(others) < 0.03


def test_a_silent_platform_sends_nothing_that_started_then(run):
    _, _, plays = run
    silent = [p for p in plays if p.platform == "web" and SILENCE.start <= p.at < SILENCE.end]
    around = [
        p
        for p in plays
        if p.platform == "web" and SILENCE.start - 5 * MINUTE <= p.at < SILENCE.start
    ]
    assert silent == []
    assert len(around) > 100


def test_a_breakout_is_broad_and_doubles_the_plays(run):
    told, _, plays = run
    track = incident(told, "rising")["slice"]["track"]
    during = [p for p in plays if BREAKOUT.start <= p.at < BREAKOUT.end]
    rising = [p for p in during if p.track_id == track]
    usual = [p for p in plays if p.track_id == track and p.at < BREAKOUT.start and not p.offline]
    assert incident(told, "rising")["plays"] == pytest.approx(len(rising), abs=3)
    assert 0.4 < len(rising) / len(during) < 0.6
    assert len(usual) < 20
    assert len({p.listener_id for p in rising}) > 500
    assert {p.country for p in rising} == {"FR", "DE", "GB", "US", "BR"}


def test_late_plays_were_made_offline_days_ago_and_arrive_together(run):
    _, events, plays = run
    late = {p.event_id for p in plays if p.offline}
    arrived = {e.arrival for e in events if e.headers[0][1].decode() in late}
    assert LATE.start <= min(arrived) <= max(arrived) < LATE.end
    for play in plays:
        if play.offline:
            assert play.source == "offline"
            assert play.error is None
            assert LATE.start - LATE.oldest <= play.at <= LATE.end - LATE.youngest


def test_errors_are_rare_outside_incidents(run):
    _, _, plays = run
    calm = [p for p in plays if p.at < RELEASE.start]
    assert 0.002 < sum(p.error is not None for p in calm) / len(calm) < 0.012


def test_personas_are_labelled_for_every_listener_that_plays(run):
    told, _, plays = run
    assert {p.listener_id for p in plays} <= told["personas"].keys()
    assert len(set(told["personas"].values())) == 7
    assert Counter(told["personas"].values()).most_common(1)[0][0] == "commuter"


def test_incidents_outside_the_span_are_not_told():
    simulation = Simulation(11, CONFIG)
    told = labels(11, CONFIG, simulation.world, NOW, RELEASE.start, Tally())
    assert told["incidents"] == []


def test_every_kind_says_what_it_is():
    assert [i.about() for i in INCIDENTS] == [
        "a release breaks playback on ios in FR",
        "web falls silent",
        "one track breaks out, everywhere at once",
        "250 plays made offline arrive, 1d to 3d late",
    ]
    assert [len(expected(i)) for i in INCIDENTS] == [2, 1, 1, 0]


def test_the_file_is_json_and_replaced_as_a_whole(run, tmp_path):
    told, _, _ = run
    path = tmp_path / "labels.json"
    write_labels(path, {"old": True})
    write_labels(path, told)
    assert json.loads(path.read_text()) == orjson.loads(orjson.dumps(told))
    assert [p.name for p in tmp_path.iterdir()] == ["labels.json"]
