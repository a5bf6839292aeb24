"""The records themselves: reproducible to the byte, in order, and what decoders expect."""

import subprocess
import sys
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decoding import decode_plays
from models.events import Play, Rejected
from simulate.config import SimulationConfig, demo
from simulate.generator import Simulation

NOW = 1_790_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE
ROOT = Path(__file__).parents[2]

SMALL = SimulationConfig(listeners=300, tracks=1_000, artists=100, rate=5.0, garbage=0.02)


def digest(events):
    seen = sha256()
    for event in events:
        seen.update(repr(event).encode())
    return seen.hexdigest()


@pytest.fixture(scope="module")
def simulation():
    return Simulation(3, SMALL)


def test_the_same_seed_and_span_give_the_same_bytes_in_another_process(simulation):
    script = (
        "from tests.simulate.test_generator import *\n"
        "print(digest(Simulation(3, SMALL).events(NOW, NOW + 10 * MINUTE)))"
    )
    other = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == digest(simulation.events(NOW, NOW + 10 * MINUTE))


def test_another_seed_gives_another_service(simulation):
    ours = list(simulation.events(NOW, NOW + MINUTE))
    other = list(Simulation(4, SMALL).events(NOW, NOW + MINUTE))
    assert {e.headers for e in ours}.isdisjoint(e.headers for e in other)


@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 10 * MINUTE - 1), min_size=1, max_size=4, unique=True))
def test_a_span_is_the_sum_of_its_parts_wherever_it_is_cut(simulation, cuts):
    edges = [NOW, *(NOW + c for c in sorted(cuts)), NOW + 10 * MINUTE]
    parts = [e for a, b in pairwise(edges) for e in simulation.events(a, b)]
    assert digest(parts) == digest(simulation.events(NOW, NOW + 10 * MINUTE))


def test_records_come_in_the_order_of_their_arrival_and_within_the_span(simulation):
    arrivals = [e.arrival for e in simulation.events(NOW + 1234, NOW + 5 * MINUTE)]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] >= NOW + 1234
    assert arrivals[-1] < NOW + 5 * MINUTE


def test_only_duplicates_and_offline_plays_are_later_than_the_allowed_lateness():
    config = SimulationConfig(listeners=300, tracks=500, artists=50, duplicates=0.0, garbage=0.0)
    for event in Simulation(1, config).events(NOW, NOW + 20 * MINUTE):
        assert 0 <= event.arrival - event.at < 10_000


def test_every_record_that_is_not_garbage_is_a_valid_play_keyed_by_its_listener(simulation):
    events = list(simulation.events(NOW, NOW + 20 * MINUTE))
    plays = decode_plays([e.value for e in events])
    valid = [(e, p) for e, p in zip(events, plays, strict=True) if isinstance(p, Play)]
    rejected = {p.reason for p in plays if isinstance(p, Rejected)}
    assert len(valid) > 0.96 * len(events)
    assert rejected == {
        *("not_json", "wrong_type", "missing_field", "invalid_utf8", "out_of_range"),
    }
    for event, play in valid:
        assert event.key == f"{play.tenant_id}:{play.listener_id}".encode()
        assert event.headers == (("event_id", play.event_id.encode()),)
        assert play.ms_played <= play.track_ms
        assert (play.error is None) == (play.startup_ms is not None)
        assert play.error is None or play.ms_played == 0


def test_garbage_that_decodes_is_of_a_strange_tenant_or_from_the_future(simulation):
    strange = future = 0
    for event in simulation.events(NOW, NOW + 40 * MINUTE):
        (play,) = decode_plays([event.value])
        if isinstance(play, Play):
            strange += play.tenant_id != "demo"
            future += play.started_at > event.arrival + 5 * MINUTE
    assert strange > 0
    assert future > 0


def test_plays_of_a_session_follow_each_other_without_overlap():
    config = SimulationConfig(
        listeners=20_000, tracks=500, artists=50, rate=2.0, duplicates=0.0, garbage=0.0
    )
    by_listener = {}
    for event in Simulation(1, config).events(NOW, NOW + 2 * HOUR):
        (play,) = decode_plays([event.value])
        if play.error is None:  # a failed play keeps the place of the one that was wanted
            by_listener.setdefault(play.listener_id, []).append(play)
    pairs = [
        pair
        for plays in by_listener.values()
        for pair in pairwise(sorted(plays, key=lambda p: p.at))
    ]
    apart = sum(b.at >= a.at + a.ms_played for a, b in pairs)
    assert len(pairs) > 5_000
    assert apart / len(pairs) > 0.9  # the rest are second sessions of the same account


def test_the_rate_holds_at_the_anchor_whatever_the_hour():
    for hour in (0, 7, 13):
        now = NOW + hour * HOUR
        config = demo(now, rate=20.0, history=HOUR)
        count = sum(1 for _ in Simulation(1, config).events(now - 10 * MINUTE, now))
        assert count / 600 == pytest.approx(20.0, rel=0.1)


def test_the_demo_sees_the_same_time_of_day_whenever_it_runs():
    def shape(now):
        simulation = Simulation(1, demo(now))
        return [round(float(simulation.world.rates(now - h * HOUR).sum()), 6) for h in range(6)]

    assert shape(NOW) == shape(NOW + 9 * HOUR) == shape(NOW + 3 * 24 * HOUR)


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed -1 is negative"):
        Simulation(-1, SMALL)
