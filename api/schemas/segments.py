"""Segments of listeners, as clients see them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api.times import Timestamp


class Segment(BaseModel):
    """A kind of listeners."""

    model_config = ConfigDict(from_attributes=True)

    id: str = Field(description="Never given to another segment.")
    description: str = Field(description="What sets it apart, in words.")
    size: int = Field(description="Listeners in it, of the last 35 days.")
    share: float = Field(description="Of all that are in a segment.")
    centre: dict[str, float] = Field(description="By feature, in the feature's unit.")
    drift: float = Field(
        description="How far the centre is from where it was lately, in weighted deviations."
    )
    since: Timestamp = Field(description="When it was first found.")
    at: Timestamp = Field(description="When this was so.")


class SegmentPage(BaseModel):
    """Segments, the largest first."""

    items: list[Segment]
