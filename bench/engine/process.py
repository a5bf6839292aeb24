"""A worker as the bench sees it: started, watched through /proc, stopped; and what the samples say."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from bench.machine import CLOCK, peak_mb

WARM = 0.1
"""Share of the events that are left out: starting, first fetches, a JIT compiler's first seconds."""

STALLED = 90.0
"""Seconds without one event more, or without becoming ready, after which a run has failed."""


class RunError(Exception):
    """A run that gives no figure: the worker died, stalled or computed something else."""


class Sample(NamedTuple):
    """One look: seconds, events done, CPU seconds of the worker and of the broker."""

    at: float
    events: int
    cpu: float
    broker: float


class Figures(NamedTuple):
    """What a run comes to."""

    events_per_s: float
    cpu_us_per_event: float
    broker_us_per_event: float
    seconds: float


def figures(samples: list[Sample], total: int) -> Figures:
    """Rates between the first look after the warm-up and the first at which everything was done.

    Raises RunError if the samples never got there, or there is no time between the two.
    """
    first = next((s for s in samples if s.events >= total * WARM), None)
    last = next((s for s in samples if s.events >= total), None)
    if first is None or last is None or last.events <= first.events:
        reached = max((s.events for s in samples), default=0)
        msg = f"no span to measure: {reached} of {total} events in {len(samples)} looks"
        raise RunError(msg)
    events, seconds = last.events - first.events, last.at - first.at
    return Figures(
        events / seconds,
        (last.cpu - first.cpu) / events * 1e6,
        (last.broker - first.broker) / events * 1e6,
        seconds,
    )


def family(pid: int) -> list[int]:
    """A process and its living descendants."""
    try:
        tasks = [*Path(f"/proc/{pid}/task").iterdir()]
        children = [c for t in tasks for c in (t / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(p for child in children for p in family(int(child)))]


def cpu_of_all(pid: int) -> float:
    """User + system seconds of a process, all its threads, its children and those it has buried."""
    ticks = 0
    for member in family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / CLOCK


class Process:
    """A worker with its log; a process group of its own, ended with it."""

    def __init__(self, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, env=dict(env), stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                cwd=Path(__file__).parents[2], start_new_session=True,
            )  # fmt: skip
        self.pid = self._process.pid
        self.began = time.time()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def peak_mb(self) -> float:
        """High-water mark of resident memory, with the children's."""
        try:
            return sum(peak_mb(member) for member in family(self.pid))
        except OSError:  # one has just gone
            return 0.0

    def ended(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def stop(self, *, ask: bool = True, within: float = 60) -> None:
        """SIGTERM, unless it ends by itself, and wait; raises RunError if it does not end."""
        if ask and self.ended() is None:
            self._process.terminate()
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self.kill()
            msg = f"it did not stop within {within:.0f} s\n{self.tail()}"
            raise RunError(msg) from None

    def kill(self) -> None:
        """End it and its children at once."""
        if self.ended() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def watch(
        self, progress: Callable[[], tuple[int, int]], total: int, broker: int, every: float
    ) -> tuple[list[Sample], float]:
        """Look until everything is done; the samples, and the peak memory in MB until then."""
        samples = [Sample(time.monotonic(), 0, 0, 0)]
        moved, peak = time.monotonic(), 0.0
        while samples[-1].events < total:
            ended = self.ended()  # before the look, so that a last word is heard
            events = progress()[1]
            now = time.monotonic()
            if events > samples[-1].events:
                moved = now
            peak = max(peak, self.peak_mb())
            samples.append(Sample(now, events, cpu_of_all(self.pid), cpu_of_all(broker)))
            self._fail_if_stuck(ended, samples[-1], total, moved)
            time.sleep(every)
        return samples, peak

    def wait_ready(self, progress: Callable[[], tuple[int, int]]) -> float:
        """Seconds from its start until it had its state."""
        moved = time.monotonic()
        while not (ready := progress()[0]):
            self._fail_if_stuck(self.ended(), Sample(time.monotonic(), 0, 0, 0), 1, moved)
            time.sleep(0.05)
        return ready / 1000 - self.began

    def _fail_if_stuck(self, ended: int | None, look: Sample, total: int, moved: float) -> None:
        if look.events >= total:
            return
        if ended is not None:
            msg = f"it ended with code {ended} after {look.events} of {total}\n{self.tail()}"
            raise RunError(msg)
        if time.monotonic() - moved > STALLED:
            msg = f"it stood still at {look.events} of {total} for {STALLED:.0f} s\n{self.tail()}"
            raise RunError(msg)
