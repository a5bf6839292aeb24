"""What ``up`` shows: a line as each part comes up, what to expect, alerts, and one status line."""

from __future__ import annotations

import asyncio
import os
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from alerts.wording import duration_text
from cli.parts import Stack, behind, simulator_status
from cli.terminal import alert_text, clock
from models.records import Alert
from simulate.incidents import live

_ABOUT = {
    "broker": "Kafka protocol (Tansu), in memory",
    "valkey": "latest values (Redis protocol)",
    "worker": "ingest, windows, detection, alerts",
    "stores": "a second worker: SQLite, Valkey, notifications",
    "api": "HTTP, event stream and the page",
    "simulator": "a music-streaming service with labelled incidents",
}

_LATE = 60_000
"""From so far behind, ms, on the page calls it late, too."""

_ASKED = 5
"""Seconds between two questions how far behind it is."""


class Screen:
    """Prints as things happen. The status line is only there on a terminal."""

    def __init__(self, stack: Stack, console: Console | None = None) -> None:
        self._stack = stack
        self._console = console or Console(highlight=False, soft_wrap=True)
        self._live: Live | None = None
        self._alerts = 0
        self._webhooks = 0
        self._late = 0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(Text(), console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live is not None:
            self._live.stop()

    def ready(self, name: str, seconds: float) -> None:
        """A part works."""
        line = Text("  ✓ ", "green")
        line.append(f"{name:<10}", "bold")
        line.append(f"{seconds:5.1f} s   ", "dim")
        line.append(_ABOUT.get(name, ""))
        self._console.print(line)

    def page(self) -> None:
        """Where to look."""
        line = Text("\n  Open ")
        line.append(self._stack.page, "bold underline cyan")
        line.append("   (Ctrl-C here ends everything)")
        self._console.print(line)
        log = os.path.relpath(self._stack.directory / "logs")
        self._console.print(Text(f"  Logs of the parts: {log}", "dim"))

    def went_live(self, history: str) -> None:
        """The simulator has sent its history: say what will happen, and when."""
        status = simulator_status(self._stack)
        if status is None:
            return
        self._console.print(
            f"\n  {status.sent:,} plays of the last {history} are sent; live since "
            f"{clock(status.now)}. What will happen:"
        )
        for incident in live(status.now, 1):
            self._console.print(
                Text(f"    {clock(incident.start)}  ", "dim").append(incident.about(), "default")
            )
        self._console.print(
            Text("    …and again every quarter of an hour. Alerts follow here as they come.\n")
        )

    def alert(self, alert: Alert) -> None:
        """A version of an alert."""
        self._alerts += 1
        self._console.print(Text("  ").append_text(alert_text(alert)))

    def webhook(self, body: dict[str, Any]) -> None:
        """A notification arrived at our own receiver."""
        self._webhooks += 1
        if self._webhooks == 1:
            self._console.print(Text("  → the first webhook was delivered", "dim"))

    def behind(self, lag: int | None) -> bool:
        """Take in how far what is read is behind the clock, ms, None: not known; whether it has caught up."""
        if lag is None:
            return False
        was_late, self._late = self._late, lag if lag > _LATE else 0
        if self._late and not was_late:
            far = duration_text(lag)
            line = f"  Still reading: {far} behind. Alerts of now come when it has caught up."
            self._console.print(Text(line, "yellow"))
        elif was_late and not self._late:
            self._console.print(Text("  Caught up: what is shown is of now.", "green"))
        return not self._late

    async def keep_fresh(self) -> None:
        """Ask how far behind it is until it has caught up; renew the status line for ever."""
        asking = asyncio.create_task(self._ask())
        try:
            while True:
                if self._live is not None:
                    self._live.update(self.status(), refresh=True)
                await asyncio.sleep(1)
        finally:
            asking.cancel()

    async def _ask(self) -> None:
        while True:
            if self.behind(await behind(self._stack)):
                return
            await asyncio.sleep(_ASKED)

    def failed(self, message: str) -> None:
        """A part failed."""
        self._console.print(Text(f"\n  ✗ {message}", "red"))

    def stopping(self, names: list[str]) -> None:
        """Everything is about to be ended."""
        if self._live is not None:
            self._live.update(Text(), refresh=True)
        if names:
            self._console.print(Text(f"\n  ending {', '.join(reversed(names))} …", "dim"))

    def stopped(self, killed: list[str]) -> None:
        """Everything has ended."""
        if killed:
            self._console.print(
                Text(f"  {', '.join(killed)} did not end when asked and had to be killed", "yellow")
            )
        self._console.print(
            Text(f"  done: {self._alerts} alerts, {self._webhooks} webhooks delivered", "dim")
        )

    def status(self) -> Text:
        """One line of how things are."""
        status = simulator_status(self._stack)
        line = Text("  ● ", "green")
        if status is not None:
            line.append(f"{clock(status.until)} live · {status.sent:,} plays sent · ")
        if self._late:
            line.append(f"{duration_text(self._late)} behind · ", "yellow")
        line.append(f"{self._alerts} alert versions · {self._webhooks} webhooks · ")
        line.append(self._stack.page, "cyan")
        return line
