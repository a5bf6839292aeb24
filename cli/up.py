"""``backbeat up``: the whole system on this machine, in one command, from nothing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from cli import parts
from cli.alerts import follow_alerts
from cli.probes import port_is_free
from cli.run import (
    DEMO_DIR,
    ROOT,
    Run,
    check_config,
    current_run,
    load_settings,
    run_file,
    save_run,
)
from cli.screen import Screen
from cli.supervisor import Part, PartFailedError, Supervisor
from cli.webhooks import webhook_receiver
from models.config import parse_duration
from models.errors import ConfigurationError, StorageUnavailableError
from models.settings import Settings, read_settings
from simulate.pacing import wall_clock

NEARLY_FULL = 200_000_000
"""Bytes free on the disk from which on a failure may come from there."""


class Wishes(NamedTuple):
    """The options of ``up``."""

    port: int
    simulator: bool
    seed: int
    rate: float | None
    history: str
    keep_data: bool


def command(
    *,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the page and API.")] = 8080,
    simulator: Annotated[
        bool, typer.Option("--simulator/--no-simulator", help="Whether to simulate a service.")
    ] = True,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same service.")] = 7,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Simulated plays a second.")] = None,
    history: Annotated[str, typer.Option(help="How much past the simulator sends first.")] = "6h",
    keep_data: Annotated[bool, typer.Option("--keep-data", help="Leave data/demo behind.")] = False,
) -> None:
    """Start everything: broker, worker, API, page and a simulated service (Ctrl-C ends it all)."""
    parse_duration(history)
    check_config(read_settings())  # as its parts would; before any of them runs
    wishes = Wishes(port, simulator, seed, rate, history, keep_data)
    with _only_one(DEMO_DIR.with_suffix(".lock")):
        if not port_is_free(parts.HOST, port):
            msg = (
                f"port {port} on {parts.HOST} is taken by another program; "
                f"{parts.another_port(port)}"
            )
            raise ConfigurationError(msg)
        with _written(DEMO_DIR):
            if DEMO_DIR.exists():
                shutil.rmtree(DEMO_DIR)
            DEMO_DIR.mkdir(parents=True)
        stack = parts.plan_stack(DEMO_DIR, port)
        code = asyncio.run(_up(stack, wishes, Supervisor(DEMO_DIR / "logs", ROOT)))
        run_file(DEMO_DIR).unlink(missing_ok=True)
        if code == 0 and not keep_data:
            shutil.rmtree(DEMO_DIR, ignore_errors=True)
    sys.exit(code)


@contextlib.contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    """Hold the lock of the data folder, or say who does."""
    with _written(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        opened = lock.open("w")
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            run = current_run(DEMO_DIR)
            who = f" (process {run.pid}, {run.page})" if run else ""
            msg = f"a demo is already running here{who}; end it first with Ctrl-C"
            raise ConfigurationError(msg) from exc
        yield


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Say in one line that a folder cannot be written to."""
    try:
        yield
    except OSError as exc:
        msg = f"{folder} cannot be written: {exc}; the demo keeps its logs and its store there"
        raise ConfigurationError(msg) from exc


def _room(folder: Path) -> str:
    """What a failure may come from: that the disk is nearly full. Empty where it is not."""
    free = shutil.disk_usage(folder).free
    if free > NEARLY_FULL:
        return ""
    return f"\n  The disk of {folder} is nearly full: {free / 1e6:.0f} MB are free."


async def _up(stack: parts.Stack, wishes: Wishes, supervisor: Supervisor) -> int:
    """Run the stack until a signal or a failure; the exit code. Nothing is left running."""
    stop = asyncio.Event()

    def asked_to_stop() -> None:
        if stop.is_set():  # a second Ctrl-C: at once
            supervisor.hurry()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, asked_to_stop)
    code = 0
    with Screen(stack) as screen:
        async with webhook_receiver(parts.HOST, stack.webhook, screen.webhook):
            session = _Session(stack, wishes, supervisor, screen)
            try:
                await session.until(stop)
            except PartFailedError as exc:
                screen.failed(f"{exc}{_room(stack.directory)}")
                code = 1
            finally:
                screen.stopping(list(supervisor.pids))
                screen.stopped(await supervisor.stop())
    return code


class _Session:
    """One run: brings the parts up, then shows what happens."""

    def __init__(
        self, stack: parts.Stack, wishes: Wishes, supervisor: Supervisor, screen: Screen
    ) -> None:
        self._stack = stack
        self._wishes = wishes
        self._supervisor = supervisor
        self._screen = screen
        self._serving = asyncio.Event()

    async def until(self, stop: asyncio.Event) -> None:
        """Run until asked to stop.

        Raises:
            PartFailedError: a part failed.
        """
        tasks = [
            asyncio.create_task(coroutine)
            for coroutine in (stop.wait(), self._supervisor.watch(), self._run())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        stack = self._stack
        await _together(self._start(parts.broker(stack)), self._start(parts.valkey(stack)))
        await _together(self._serve(wall_clock()), self._simulate())

    async def _serve(self, began: int) -> None:
        stack = self._stack
        await _together(
            self._start(parts.worker(stack)),
            self._start(parts.stores(stack)),
            self._start(parts.api(stack)),
        )
        self._screen.page()
        self._serving.set()
        await self._alerts(began)

    async def _simulate(self) -> None:
        """Start beside the worker: the simulator waits for the topic that the worker creates."""
        stack, wishes = self._stack, self._wishes
        if wishes.simulator:
            await self._start(parts.simulator(stack, wishes.seed, wishes.rate, wishes.history))
        await self._serving.wait()
        if wishes.simulator:
            self._screen.went_live(wishes.history)
        await self._screen.keep_fresh()

    async def _start(self, part: Part) -> None:
        self._screen.ready(part.name, await self._supervisor.start(part))
        run = Run(os.getpid(), self._stack.page, self._stack.env(), self._supervisor.pids)
        save_run(run, self._stack.directory)

    async def _alerts(self, since: int) -> None:
        settings = _settings(self._stack)
        while True:
            try:
                async for seen in follow_alerts(settings, since):
                    self._screen.alert(seen.alert)
            except StorageUnavailableError:  # the broker is watched; if it is dead, that is told
                await asyncio.sleep(1)


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Do everything at once; the first failure of a part ends the rest and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except* PartFailedError as failures:
        raise _first(failures) from None


def _first(failures: BaseExceptionGroup[PartFailedError]) -> PartFailedError:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _settings(stack: parts.Stack) -> Settings:
    return load_settings(environ={}, directory=stack.directory)[0]
