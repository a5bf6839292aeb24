"""Findings about the pipeline itself: what a tenant's windows wait for."""

from __future__ import annotations

from typing import Literal

from agents import verdicts
from alerts.rulestate import incident_digest
from alerts.wording import clock, duration_text
from models.flow import Output
from models.records import Finding
from models.series import format_key
from tables.watermarks import Held

HELD = "windows-held"


def held_output(held: Held) -> Output:
    """The finding that a source partition holds a tenant's windows back, or does so no more.

    Every partition of the windows step brings it, under one incident: of repeats the alerts step
    takes the first.
    """
    name = f"partition {held.source} of plays"
    state: Literal["firing", "resolved"] = "resolved" if held.over else "firing"
    reason = f"{name} goes on, or need not be waited for any more"
    if not held.over:
        since = f" at {clock(held.at)}" if held.at > 0 else ""
        reason = (
            f"windows wait for {name}{since}: nothing was heard of it for "
            f"{duration_text(held.silent)}, while others came to {clock(held.furthest)}; "
            "has it an owner?"
        )
    at = max(held.at, held.furthest)
    tags = {"partition": str(held.source)}
    return verdicts.output(
        Finding(
            incident=incident_digest(
                held.tenant, HELD, held.stream, str(held.source), str(held.at)
            ),
            tenant=held.tenant,
            rule=HELD,
            rule_version="",
            kind="health",
            state=state,
            series=format_key(held.tenant, "watermark", tags),
            stream=held.stream,
            measure="watermark",
            tags=tags,
            severity="page",
            since=held.at,
            at=at,
            window_start=held.at,
            window_end=at,
            reason=reason,
            value=float(held.silent) / 1000,
            summary=f"Windows stand still: {name} is silent",
        )
    )
