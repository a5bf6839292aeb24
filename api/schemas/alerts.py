"""Incidents, their findings and their deliveries, as clients see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from api.times import Timestamp
from models import records

_SHAPE = f"{', '.join(records.SHAPES)}; empty where the detector does not say."
_TAIL = "Share of the series' own past surprises that were as large as the worst."
_CONTRIBUTIONS = "Shares of the worst score by context, the largest three first."


class _Row(BaseModel):
    """Read from the attributes of a record."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, record: object) -> Self:
        """The record as a client sees it."""
        return cls.model_validate(record)


class Share(_Row):
    """A slice's share of the change of the total."""

    tags: dict[str, str]
    share: float = Field(description="0.83 is 83 %; negative: it moved against the total.")
    named: bool = Field(description="Whether it belongs to the cause; others took part.")


class Alert(_Row):
    """One version of one incident; the highest `revision` of an `id` is its present state."""

    id: str
    revision: int
    tenant: str
    rule: str
    rule_version: str
    kind: str
    state: str = Field(description="firing, resolved or retracted.")
    severity: str
    series: str
    measure: str
    tags: dict[str, str]
    stream: str
    started_at: Timestamp = Field(description="Start of the first breaching window.")
    fired_at: Timestamp = Field(description="Event time at which the rule was fulfilled.")
    updated_at: Timestamp
    resolved_at: Timestamp | None
    seen_at: Timestamp | None = Field(description="Wall-clock time of this version.")
    reason: str
    summary: str
    value: float | None
    threshold: float | None
    score: float | None
    low: float | None = Field(description="Lower end of the expected band.")
    high: float | None = Field(description="Upper end of the expected band.")
    peak: float | None
    shape: str = Field(description=_SHAPE)
    tail: float | None = Field(description=_TAIL)
    contributions: dict[str, float] = Field(description=_CONTRIBUTIONS)
    parent: str | None = Field(
        description="The alert that speaks for this one; nobody is notified."
    )
    cause: str = Field(description="Which slices explain it, in words; empty if not attributed.")
    shares: list[Share] = Field(description="Of the slices that explain it, and of some others.")

    @classmethod
    def of(cls, record: object) -> Self:
        """The record; a version that nobody stamped has no `seen_at`."""
        alert = cls.model_validate(record)
        alert.seen_at = alert.seen_at or None
        alert.parent = alert.parent or None
        return alert


class AlertPage(BaseModel):
    """Incidents, newest first. Send `next` as `cursor` to go on; null is the end."""

    items: list[Alert]
    next: str | None

    @classmethod
    def of(cls, alerts: Sequence[records.Alert], cursor: str | None) -> Self:
        """A page of incidents."""
        return cls(items=[Alert.of(a) for a in alerts], next=cursor)


class Delivery(_Row):
    """What became of one notification."""

    notification: str
    receiver: str
    transition: str
    outcome: str = Field(description="delivered, failed or skipped.")
    attempts: int
    at: Timestamp
    status: int | None = Field(description="The receiver's HTTP status.")
    reason: str


class AlertDetail(BaseModel):
    """An incident with every version of it, and what was sent about it; both oldest first."""

    alert: Alert
    history: list[Alert]
    deliveries: list[Delivery]


class Finding(_Row):
    """A change of one rule's state on a series."""

    incident: str = Field(description="The id of the alert it belongs to.")
    rule: str
    rule_version: str
    kind: str
    state: str = Field(description="pending, firing, resolved or retracted.")
    series: str
    stream: str
    measure: str
    severity: str
    since: Timestamp = Field(description="Start of the first breaching window.")
    at: Timestamp = Field(description="Event time of the change.")
    window_start: Timestamp
    window_end: Timestamp
    reason: str
    summary: str
    value: float | None
    threshold: float | None
    score: float | None
    low: float | None
    high: float | None
    peak: float | None
    shape: str = Field(description=_SHAPE)
    tail: float | None = Field(description=_TAIL)
    contributions: dict[str, float] = Field(description=_CONTRIBUTIONS)
    revision: int


class FindingPage(BaseModel):
    """Findings of a series, oldest first."""

    items: list[Finding]


class AlertSnapshot(BaseModel):
    """What is firing as a stream begins; it replaces everything the client knew."""

    because: str = Field(description="new, unknown_id, other_cluster or gap.")
    alerts: list[Alert]
    truncated: bool = Field(description="Whether there are more than one snapshot holds.")
