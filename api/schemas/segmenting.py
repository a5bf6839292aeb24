"""Segments of posted listeners, as clients ask for and see them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from api.schemas.params import Strict, Text
from ml.segmenting.features import Listening

Count = Annotated[int, Field(ge=0, le=10**9)]
Names = Annotated[dict[Text, Count], Field(max_length=64)]
_HOURS, _GAPS = 24, 64


class ListenerIn(Strict):
    """How a listener listens."""

    listener: str = Field(min_length=1, max_length=256)
    plays: int = Field(ge=1, le=10**9)
    skips: Count = 0
    completes: Count = 0
    days: FiniteFloat = Field(ge=0, le=1e5, description="From the first play to the last.")
    recent: FiniteFloat = Field(ge=0, le=1e9, description="Plays a day, lately.")
    tracks: int = Field(0, ge=0, le=10**9, description="Distinct tracks a day, lately.")
    hours: list[Count] = Field(
        min_length=_HOURS, max_length=_HOURS, description="Plays by hour of the day, UTC."
    )
    gaps: list[Count] = Field(
        min_length=1,
        max_length=_GAPS,
        description="Gaps between plays by length; the last are pauses of 1,024 s and more.",
    )
    sources: Names = Field(default_factory=dict, description="Plays by source.")
    platforms: Names = Field(default_factory=dict, description="Plays by platform.")

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if max(self.skips, self.completes) > self.plays:
            msg = "skips or completes are more than plays; each of them is a play"
            raise ValueError(msg)
        return self

    def habits(self) -> Listening:
        """As the segmenter takes them."""
        return Listening(**self.model_dump(exclude={"listener"}))


class SegmentOut(BaseModel):
    """A kind of listeners."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    description: str
    centre: dict[str, float] = Field(description="By feature, in its unit.")
    size: int = Field(description="Of the posted listeners.")


class AssignmentOut(BaseModel):
    """A listener's segment."""

    listener: str
    segment: str
    distance: float = Field(description="From its centre, in weighted standard deviations.")


class Segmented(BaseModel):
    """Segments of the posted listeners."""

    learning: bool = Field(description="Whether they are too few to be told apart.")
    segments: list[SegmentOut] = Field(description="The largest first.")
    listeners: list[AssignmentOut]
