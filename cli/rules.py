"""``backbeat rules``: what a rules file says, without a worker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from alerts.describing import rule_text
from alerts.rules import Rule, examine
from cli.run import load_settings, read_series
from models.toml import load_toml

app = typer.Typer(name="rules", help="Rules, read without a worker.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Rules, read without a worker."""


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The rules; as configured.")] = None,
    *,
    series: Annotated[
        Path | None, typer.Option("--series", help="The series they look at; as configured.")
    ] = None,
) -> None:
    """Read rules as the worker does: one line for each that is right, and all that is wrong."""
    settings, _ = load_settings()
    looked_at, path = series or settings.series_config, file or settings.rules_config
    configured = read_series(looked_at)
    found = load_toml(path, "rules", lambda raw: examine(raw, configured))
    console = Console(highlight=False, soft_wrap=True)
    width = max((len(rule.id) for rule in found.rules), default=0)
    for rule in found.rules:
        console.print(_line(rule, width))
    for error in found.errors:
        console.print(Text("✗ ", "red").append(str(error), "default"))
    for receiver in found.receivers:
        takes = ", ".join(receiver.severities)
        console.print(Text(f"→ {receiver.name}", "cyan").append(f"  {takes}", "default"))
    counts = f"{len(found.rules)} right, {len(found.errors)} wrong"
    console.print(f"{counts}: {path}, over the series of {looked_at}")
    if found.errors:
        raise typer.Exit(1)


def _line(rule: Rule, width: int) -> Text:
    text = Text("✓ ", "green").append(f"{rule.id:<{width}}  ", "bold default")
    return text.append(f"{rule.kind:<9}  {rule.severity:<6}  {rule_text(rule)}", "default")
