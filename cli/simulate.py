"""``backbeat simulate``: a simulated streaming service, to Kafka or to a file."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cli.run import load_settings
from models.config import parse_duration
from models.errors import ConfigurationError, StorageUnavailableError
from simulate.config import SimulationConfig, demo
from simulate.generator import Simulation
from simulate.labels import Tally, labels, write_labels
from simulate.pacing import Progress, Send, play, wall_clock
from simulate.publisher import Publisher, partitions_of

_FOREVER = 365 * 86_400_000
_SAVE_EVERY = 30.0
_ASK_EVERY = 0.2


class Status(msgspec.Struct, frozen=True):
    """What a running simulation says of itself in its status file.

    ``now`` is the instant it went live, epoch ms; ``until`` how far its records go.
    """

    now: int
    sent: int
    until: int
    live: bool


def command(
    *,
    demo_profile: Annotated[
        bool, typer.Option("--demo", help="The demo's service, history and labelled incidents.")
    ] = False,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Plays a second.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same service.")] = 7,
    listeners: Annotated[int, typer.Option(min=1, help="How many people listen.")] = 2_000,
    history: Annotated[
        str | None,
        typer.Option(help="Past to send first, at full speed: 6h. Default: none; 6h in the demo."),
    ] = None,
    duration: Annotated[
        str | None, typer.Option(help="How long to go on in real time: 10m. Default: until Ctrl-C.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="What 'now' is, ISO 8601. Default: the clock.")
    ] = None,
    labels_file: Annotated[
        Path | None, typer.Option("--labels", help="Write the truth about what was sent here.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write records to this file, a line each, at full speed.")
    ] = None,
    wait: Annotated[
        str | None, typer.Option(help="How long to wait for the topic to be there: 30s.")
    ] = None,
    status_file: Annotated[Path | None, typer.Option("--status", hidden=True)] = None,
) -> None:
    """Send the plays of a simulated streaming service to the topic `plays`."""
    if wait is not None and out is None:
        asyncio.run(_topic_is_there(parse_duration(wait) / 1000))
    now = wall_clock() // 1000 * 1000 if start is None else _instant(start)
    past = parse_duration(history) if history else (parse_duration("6h") if demo_profile else 0)
    ahead = parse_duration(duration) if duration else None
    if out is not None and ahead is None and past == 0:
        raise ConfigurationError("nothing to write: --out needs a --history, a --duration, or both")
    try:
        config = _config(demo_profile, now, rate, past, listeners)
    except ValueError as exc:
        raise ConfigurationError(str(exc)) from exc
    simulation = Simulation(seed, config)
    book = _Book(simulation, now - past, now, labels_file, status_file)
    if out is not None:
        _to_file(simulation, book, now + (ahead or 0), out)
        return
    end = now + (_FOREVER if ahead is None else ahead)
    progress = asyncio.run(_to_kafka(simulation, book, end))
    print(f"sent {progress.sent} records")


def _config(
    demo_profile: bool, now: int, rate: float | None, past: int, listeners: int
) -> SimulationConfig:
    if demo_profile:
        return demo(now, history=past) if rate is None else demo(now, history=past, rate=rate)
    return SimulationConfig(listeners=listeners, rate=10.0 if rate is None else rate, anchor=now)


def _instant(text: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as exc:
        msg = f"--start {text!r} is not ISO 8601, such as 2026-03-01T12:00:00Z"
        raise ConfigurationError(msg) from exc
    return int(at.astimezone().timestamp() * 1000)


class _Book:
    """Keeps the labels and the status of a run up to date, not more often than needed."""

    def __init__(
        self,
        simulation: Simulation,
        start: int,
        now: int,
        labels_file: Path | None,
        status_file: Path | None,
    ) -> None:
        self.simulation = simulation
        self.start = start
        self.now = now
        self._labels = labels_file
        self._status = status_file
        self._saved = self._told = 0.0

    def report(self, progress: Progress) -> None:
        """Called after every send."""
        clock = time.monotonic()
        if clock - self._told > 0.5:
            self._told = clock
            self.tell(progress)
        if clock - self._saved > _SAVE_EVERY:
            self._saved = clock
            self.save(progress.counted, progress.tally)

    def tell(self, progress: Progress) -> None:
        """Write the status file."""
        if self._status is not None:
            live = progress.until >= self.now
            status = Status(self.now, progress.sent, progress.until, live)
            part = self._status.with_suffix(".part")
            part.write_bytes(msgspec.json.encode(status))
            part.replace(self._status)

    def save(self, until: int, tally: Tally) -> None:
        """Write the labels."""
        if self._labels is not None:
            s = self.simulation
            write_labels(self._labels, labels(s.seed, s.config, s.world, self.start, until, tally))


def _to_file(simulation: Simulation, book: _Book, end: int, out: Path) -> None:
    tally = Tally()
    with out.open("wb") as file:
        for event in simulation.events(book.start, end, tally):
            file.write(event.value + b"\n")
    book.save(end, tally)
    print(f"wrote {tally.records} records to {out}")


async def _topic_is_there(seconds: float) -> None:
    """Return when the broker has the topic; raise what is wrong when the time is up."""
    settings, _ = load_settings()
    deadline = time.monotonic() + seconds
    while True:
        try:
            await partitions_of(settings.bootstrap, settings.topic("plays"))
            return
        except (ConfigurationError, StorageUnavailableError):
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(_ASK_EVERY)


async def _to_kafka(simulation: Simulation, book: _Book, end: int) -> Progress:
    settings, _ = load_settings()
    topic = settings.topic("plays")
    partitions = await partitions_of(settings.bootstrap, topic)
    stop = asyncio.Event()
    _on_signals(stop.set)
    async with AsyncExitStack() as stack:
        publisher = await stack.enter_async_context(
            Publisher(settings.bootstrap, topic, partitions)
        )
        send: Send = publisher.send
        progress = await play(simulation, book.start, end, send, stop, book.report)
    book.tell(progress)
    book.save(progress.counted, progress.tally)
    return progress


def _on_signals(action: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, action)
