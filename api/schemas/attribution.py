"""What explains an alert, as clients see it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from api.times import Timestamp


class SliceShare(BaseModel):
    """One slice's part in a change of the total."""

    tags: dict[str, str]
    share: float = Field(description="Of the total's change; negative: it moved against it.")
    surprise: float = Field(description="Its term of the Jensen-Shannon divergence.")
    size: float = Field(description="Its part of what was expected of the total.")


class SliceExplanation(BaseModel):
    """Slices of one dimension group that explain the change together."""

    dimension: list[str]
    share: float
    surprise: float
    slices: list[SliceShare] = Field(description="The cause, greatest share first.")
    others: list[SliceShare] = Field(description="The largest of the rest, greatest share first.")


class UnusualSlice(BaseModel):
    """A slice outside its expected band, of a measure whose changes do not add up."""

    tags: dict[str, str]
    value: float
    low: float
    high: float
    weight: float


class Attribution(BaseModel):
    """Which slices explain the total's change while an alert came about."""

    alert: str
    measure: str
    kind: str
    stream: str
    method: Literal["shares", "outside_band", "none"] = Field(
        description="shares: they add up to 1; outside_band: quantiles and distinct counts; none."
    )
    start: Timestamp = Field(description="Start of the span that is explained.")
    end: Timestamp
    reference: Timestamp = Field(description="What is expected is the mean from here to `start`.")
    actual: float | None = Field(description="The total over the span.")
    expected: float | None
    change: float | None
    text: str = Field(description="The best explanation in words, or why there is none.")
    explanations: list[SliceExplanation] = Field(description="Best first; empty if none explains.")
    unusual: list[UnusualSlice] = Field(description="Of `outside_band`: heaviest first.")
    truncated: bool = Field(description="Whether there are more slices than were looked at.")
