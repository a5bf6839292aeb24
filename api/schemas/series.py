"""Series and their windows, as clients see them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api.times import Timestamp


class Series(BaseModel):
    """A series that has been seen."""

    key: str
    group: str = Field(description="The key of the group whose windows carry it.")
    measure: str
    kind: str = Field(description="count, ratio, mean, quantile, distinct, or gauge.")
    unit: str
    tags: dict[str, str]
    stream: str
    size_ms: int = Field(description="Size of its finest window.")
    last_start: Timestamp
    last_value: float | None
    weight: float = Field(description="What its last value rests on: how busy it is.")


class SeriesPage(BaseModel):
    """Series, busiest first. Send `next` as `cursor` to go on; null is the end."""

    items: list[Series]
    next: str | None


class Point(BaseModel):
    """One window of a series, or several merged by `step`."""

    model_config = ConfigDict(from_attributes=True)

    start: Timestamp
    end: Timestamp
    value: float | None
    minimum: float | None
    maximum: float | None
    weight: float
    low: float | None = Field(description="Lower end of the expected band.")
    high: float | None = Field(description="Upper end of the expected band.")
    score: float | None = Field(description="Surprise; null while learning.")
    learning: bool
    revision: int = Field(description="0, or how often late events changed the window.")


class SeriesWindows(BaseModel):
    """The windows of one series, oldest first."""

    series: str
    measure: str
    kind: str
    unit: str
    stream: str
    points: list[Point]
    truncated: bool = Field(description="Whether `limit` cut the newest off; ask for a `step`.")


class Reading(Point):
    """The newest window of a series, as pushed to subscribers."""

    series: str
    stream: str
