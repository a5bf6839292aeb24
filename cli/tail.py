"""``backbeat tail``: alerts in the terminal as they happen."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Annotated

import typer
from rich.console import Console

from cli.alerts import follow_alerts
from cli.run import load_settings
from cli.terminal import alert_text
from models.settings import Settings
from simulate.pacing import wall_clock


def command(
    *,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="Begin with the oldest alert still kept.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, as it is on the topic.")
    ] = False,
) -> None:
    """Show alerts as they happen (Ctrl-C ends it). Finds a running demo by itself."""
    settings, _ = load_settings()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_tail(settings, from_start, as_json))


async def _tail(settings: Settings, from_start: bool, as_json: bool) -> None:
    console = Console(highlight=False, soft_wrap=True)
    since = None if from_start else wall_clock()
    async for seen in follow_alerts(settings, since):
        if as_json:
            sys.stdout.write(seen.raw.decode() + "\n")
            sys.stdout.flush()
        else:
            console.print(alert_text(seen.alert))
