"""What the page shows at a glance."""

from __future__ import annotations

from pydantic import BaseModel, Field

from api.schemas.alerts import Alert
from api.schemas.series import Series
from api.times import Timestamp


class Rate(BaseModel):
    """Plays a second in one window."""

    at: Timestamp = Field(description="End of the window.")
    per_second: float | None


class OpenAlerts(BaseModel):
    """The live incidents that are firing."""

    total: int
    by_severity: dict[str, int]
    truncated: bool = Field(description="Whether there are more than were counted.")
    items: list[Alert] = Field(description="The newest of them.")


class Overview(BaseModel):
    """One tenant at a glance."""

    tenant: str
    now: Timestamp
    newest_window_end: Timestamp | None = Field(
        description="Up to where windows are closed; null without any."
    )
    lag_ms: int | None = Field(
        description="How long ago that was. A healthy system shows its window, lateness and flush."
    )
    plays_per_second: float | None
    rates: list[Rate] = Field(description="Plays a second of the last windows, oldest first.")
    open_alerts: OpenAlerts
    series: list[Series] = Field(description="The busiest live series.")
