"""Playing out in time, with a clock of the test's own."""

import asyncio

import pytest

from simulate import pacing
from simulate.config import SimulationConfig
from simulate.generator import Simulation
from simulate.labels import Tally

NOW = 1_790_000_000_000
MINUTE = 60_000
CONFIG = SimulationConfig(listeners=200, tracks=200, artists=20, rate=20.0, duplicates=0.05)


class Clock:
    """Stands still until a wait moves it."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now

    async def wait(self, stop, seconds):
        self.now += max(1, int(seconds * 1000))
        await asyncio.sleep(0)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(NOW)
    monkeypatch.setattr(pacing, "_wait", clock.wait)
    return clock


@pytest.fixture
def simulation():
    return Simulation(1, CONFIG)


async def test_the_past_goes_out_at_once_and_the_rest_when_it_is_due(simulation, clock):
    sent = []

    async def send(events):
        sent.extend((clock(), e) for e in events)

    start, end = NOW - 3 * MINUTE, NOW + 2 * MINUTE
    progress = await pacing.play(simulation, start, end, send, asyncio.Event(), clock=clock)

    assert [e for _, e in sent] == list(simulation.events(start, end))
    for at, event in sent:
        assert at == NOW if event.arrival <= NOW else 0 <= at - event.arrival < 1_000
    assert progress.sent == len(sent)
    assert progress.until == progress.counted == end


@pytest.mark.parametrize("after", [0, 1, 500, 2_500])
async def test_after_a_stop_the_tally_is_exactly_what_was_sent(simulation, clock, after):
    stop = asyncio.Event()
    sent = []

    async def send(events):
        sent.extend(events)
        if len(sent) > after:
            stop.set()

    progress = await pacing.play(
        simulation, NOW - MINUTE, NOW + 60 * MINUTE, send, stop, clock=clock
    )

    assert progress.tally.records == progress.sent == len(sent) > after
    again = Tally()
    list(simulation.events(NOW - MINUTE, progress.until, again))
    assert progress.counted == progress.until
    assert progress.tally.records - again.records in range(3)  # equal arrivals at the cut


async def test_whole_slices_are_counted_while_it_runs(simulation, clock):
    seen = []

    async def send(_):
        pass

    def report(progress):
        seen.append((progress.counted, progress.tally.records))

    await pacing.play(simulation, NOW, NOW + 3 * MINUTE, send, asyncio.Event(), report, clock=clock)
    for counted, records in dict(seen).items():
        exact = Tally()
        list(simulation.events(NOW, counted, exact))
        assert exact.records == records
