"""What producers send over HTTP, and what they are told."""

from __future__ import annotations

from pydantic import BaseModel, Field


class RejectedItem(BaseModel):
    """One item that was not published."""

    index: int = Field(description="Its place among the items, from 0.")
    reason: str = Field(
        description="From a closed set, such as `foreign_tenant` or `missing_field`."
    )
    detail: str


class Accepted(BaseModel):
    """The items that every replica of the broker has, and those that were refused."""

    accepted: int
    rejected: list[RejectedItem]
    idempotent: bool = Field(
        description="Whether sending the same request again changes nothing: true if every "
        "accepted item has an `event_id`. An item without one counts again each time it is sent."
    )


class PlayIn(BaseModel):
    """A play. `tenant_id` may be left out; `started_at` defaults to now."""

    event_id: str | None = Field(None, description="Makes sending it again harmless.")
    listener_id: str
    track_id: str
    artist_id: str
    started_at: str | int | None = Field(None, description="RFC 3339 or epoch milliseconds.")
    ms_played: int
    track_ms: int
    platform: str
    country: str = Field(description="ISO 3166-1 alpha-2.")
    source: str
    plan: str
    skipped: bool = False
    offline: bool = False
    error: str | None = None
    startup_ms: int | None = None
    ended_at: str | int | None = Field(
        None,
        description="When it was over; needed if it is sent then, or it counts as late. "
        "RFC 3339 or epoch milliseconds.",
    )
    released_at: str | int | None = Field(
        None,
        description="When the track came out, if its first week is to be compared with others'. "
        "RFC 3339 or epoch milliseconds.",
    )


class MetricIn(BaseModel):
    """A sample of a series. `tenant_id` may be left out; `at` defaults to now."""

    event_id: str | None = Field(None, description="Makes sending it again harmless.")
    name: str
    value: float
    tags: dict[str, str] = Field(default_factory=dict)
    at: str | int | None = Field(None, description="RFC 3339 or epoch milliseconds.")
