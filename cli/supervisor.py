"""Processes that live and die together: started in order, watched, ended in reverse.

Knows nothing of what it runs, so that tests drive it with tiny parts of their own.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from models.errors import BackbeatError

_TAIL = 12
"""Log lines that a failure shows."""

_LOOK = 0.05
"""Seconds between two looks at whether a part is ready, or has died."""


class Part(NamedTuple):
    """One process. ``ready`` asks it whether it works; it is asked again until it says so.

    ``patience``: seconds it may take to get there. ``hint``: what to do if it fails.
    """

    name: str
    argv: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    env: Mapping[str, str] = {}
    patience: float = 60.0
    hint: str = ""


class PartFailedError(BackbeatError):
    """A part did not start, did not get ready, or died; the message says which, how and where."""


@dataclass
class _Running:
    part: Part
    process: subprocess.Popen[bytes]
    log: Path
    ready: bool = False


@dataclass
class Supervisor:
    """Runs parts. ``bound``: seconds a part may take to end before it is killed."""

    log_dir: Path
    cwd: Path
    bound: float = 15.0
    _running: list[_Running] = field(default_factory=list)
    _hurry: bool = False

    @property
    def pids(self) -> dict[str, int]:
        """The process id of every part that was started."""
        return {r.part.name: r.process.pid for r in self._running}

    async def start(self, part: Part) -> float:
        """Start a part and wait until it is ready; the seconds that took.

        Raises:
            PartFailedError: it could not be run, died, or was not ready in time.
        """
        began = time.monotonic()
        running = self._spawn(part)
        while not await part.ready():
            self._check(running, "died before it was ready")
            if time.monotonic() - began > part.patience:
                raise _failure(running, f"was not ready after {part.patience:g} s")
            await asyncio.sleep(_LOOK)
        self._check(running, "died as it became ready")
        running.ready = True
        return time.monotonic() - began

    async def watch(self) -> None:
        """Wait until a part dies that was ready.

        Raises:
            PartFailedError: always; the message says which one and how.
        """
        while True:
            for running in self._running:
                if running.ready:
                    self._check(running, "died")
            await asyncio.sleep(_LOOK)

    async def stop(self) -> list[str]:
        """End every part, last one first; the names of those that had to be killed."""
        killed = []
        while self._running:
            running = self._running[-1]
            if not await self._end(running):
                killed.append(running.part.name)
            self._running.pop()
        return killed

    def hurry(self) -> None:
        """Let :meth:`stop` wait for nothing any more."""
        self._hurry = True

    def _spawn(self, part: Part) -> _Running:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        log = self.log_dir / f"{part.name}.log"
        try:
            with log.open("ab") as out:
                process = subprocess.Popen(
                    part.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    cwd=self.cwd,
                    env={**os.environ, **part.env},
                    start_new_session=True,  # a Ctrl-C at the terminal is ours to pass on
                )
        except OSError as exc:
            msg = f"{part.name} cannot be run: {exc}.{_sentence(part.hint)}"
            raise PartFailedError(msg) from exc
        running = _Running(part, process, log)
        self._running.append(running)
        return running

    def _check(self, running: _Running, what: str) -> None:
        code = running.process.poll()
        if code is not None:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise _failure(running, f"{what} ({how})")

    async def _end(self, running: _Running) -> bool:
        """End one part and its children; whether it went by itself."""
        _signal(running.process.pid, signal.SIGTERM)
        until = time.monotonic() + self.bound
        while running.process.poll() is None:
            if self._hurry or time.monotonic() > until:
                break
            await asyncio.sleep(_LOOK)
        went = running.process.poll() is not None
        _signal(running.process.pid, signal.SIGKILL)  # what is left of its group
        running.process.wait()
        return went


def _signal(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return  # nobody left in the group (macOS says it the second way)


def _failure(running: _Running, what: str) -> PartFailedError:
    lines = _last_lines(running.log)
    shown = "".join(f"\n    {line}" for line in lines) or "\n    (it logged nothing)"
    return PartFailedError(
        f"{running.part.name} {what}.{_sentence(running.part.hint)}\n"
        f"  its last words, from {running.log}:{shown}"
    )


def _sentence(hint: str) -> str:
    return f" {hint}" if hint else ""


def _last_lines(log: Path) -> list[str]:
    """The end of a log without tracebacks, what tells the reason first."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 65_536))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    lines = [line[:300] for line in _without_tracebacks(text.splitlines())][-_TAIL:]
    for tells in (_LEAVES, _FAILS):
        told = [i for i, line in enumerate(lines) if tells.match(line)]
        if told:
            lines.insert(0, lines.pop(told[-1]))
            break
    return lines


_LEAVES = re.compile(r"backbeat: |\S+ \S+ CRITICAL ")
_FAILS = re.compile(r"\S+ \S+ ERROR |[\w.]+(Error|Exception)\b")
_BOX = re.compile(r"[|+].*[|+]$")
_CHAINED = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)


def _without_tracebacks(lines: Sequence[str]) -> Iterator[str]:
    """The lines that are not empty, but of tracebacks only the exception itself; no drawn boxes."""
    inside = False
    for line in lines:
        if "Traceback (most recent call last):" in line:
            inside = True
        elif not line.strip() or line in _CHAINED or _BOX.match(line):
            continue
        elif not (inside and line.startswith(" ")):
            inside = False
            yield line
