"""A simulation played out in time: what is past at full speed, the rest when it is due."""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np

from simulate.draw import SUPPRESSED
from simulate.encoding import Event
from simulate.generator import Simulation
from simulate.labels import Tally

Send = Callable[[Sequence[Event]], Awaitable[None]]

_CHUNK = 5_000
_TICK = 0.02
"""Seconds that due events are gathered for, so that a fast stream goes out in batches."""


def wall_clock() -> int:
    """Epoch ms now."""
    return time.time_ns() // 1_000_000


@dataclass
class Progress:
    """How far a run has come.

    Everything that arrives before ``until`` has been sent, and ``tally`` counts exactly what arrives
    before ``counted``; at the end of a run they are the same.
    """

    until: int
    counted: int
    sent: int = 0
    tally: Tally = field(default_factory=Tally)


async def play(
    simulation: Simulation,
    start: int,
    end: int,
    send: Send,
    stop: asyncio.Event,
    report: Callable[[Progress], None] = lambda _: None,
    clock: Callable[[], int] = wall_clock,
) -> Progress:
    """Send what arrives in ``[start, end)``, each record no sooner than its arrival.

    ``report`` is called after every send. Returns at the end, or soon after ``stop`` is set.
    """
    progress = Progress(start, start)
    for rows in simulation.rows(start, end):
        events = list(simulation.encode(rows))
        done = 0
        while done < len(events) and not stop.is_set():
            due = bisect_right(events, clock(), lo=done, key=attrgetter("arrival"))
            due = min(due, done + _CHUNK)
            if due > done:
                await send(events[done:due])
                progress.sent += due - done
                progress.until = events[due - 1].arrival
                done = due
                report(progress)
            else:
                await _wait(stop, (events[done].arrival - clock()) / 1000)
        if done < len(events):
            delivered = np.flatnonzero(rows["kind"] != SUPPRESSED)
            progress.tally.count(rows[: delivered[done]])
            progress.until = progress.counted = events[done].arrival
            return progress
        progress.tally.count(rows)
        progress.counted = progress.until + 1
    progress.until = progress.counted = end
    return progress


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), max(seconds, _TICK))
