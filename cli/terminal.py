"""How alerts and times look in a terminal; shared by ``tail`` and ``up``."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from models.records import Alert

_SEVERITY = {"page": "bold white on red", "ticket": "bold black on yellow"}
_STATE = {"firing": "bold red", "resolved": "green", "retracted": "dim strike"}


def clock(ms: int) -> str:
    """Local time of day of an epoch ms; with the date where that is not today's."""
    at = datetime.fromtimestamp(ms / 1000).astimezone()
    today = at.date() == datetime.now().astimezone().date()
    return at.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def alert_text(alert: Alert) -> Text:
    """One alert in one line: when, how bad, what state, what, and why."""
    colour = "green" if alert.state == "resolved" else _SEVERITY.get(alert.severity, "bold cyan")
    text = Text()
    text.append(clock(alert.updated_at), "dim")
    text.append("  ")
    text.append(f" {alert.severity} ", colour)
    text.append(f" {alert.state:<9} ", _STATE.get(alert.state, ""))
    text.append(alert.summary or alert.series, "bold" if alert.state == "firing" else "")
    text.append(f"  {alert.reason}")
    extras = [f"since {clock(alert.started_at)}"]
    if alert.stream != "live":
        extras.append(f"stream {alert.stream}")
    if alert.revision:
        extras.append(f"revision {alert.revision}")
    text.append(f"  ({', '.join(extras)})", "dim")
    return text
