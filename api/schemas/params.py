"""The query parameters of the list endpoints.

A name that is not known is refused, not ignored: a misspelt filter would otherwise show everything.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.times import SizeParam, SpanParam, TimeParam
from models.events import MAX_TEXT
from models.learning import Kind, State
from models.records import LIVE

_TAG = "tag."

Text = Annotated[str, Field(max_length=MAX_TEXT)]
"""A name or an id. A bound also keeps half characters (lone surrogates) out, which JSON can spell."""

SeriesText = Annotated[str, Field(max_length=32_768)]
"""A series key: twice as long as events' longest texts are where every character is escaped."""


class Strict(BaseModel):
    """Parameters of which no others are taken."""

    model_config = ConfigDict(extra="forbid")


class NoParams(Strict):
    """None at all: the list is always whole."""


class ModelParams(Strict):
    """Which models."""

    family: Text | None = None
    state: State | None = None
    kind: Kind | None = None


class Tagged(BaseModel):
    """Parameters with any number of ``tag.NAME=VALUE`` among them."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _only_tags(self) -> Tagged:
        for name, value in (self.model_extra or {}).items():
            if not name.startswith(_TAG) or name == _TAG:
                msg = f"parameter {name!r} is not known here; tags are written tag.NAME=VALUE"
                raise ValueError(msg)
            if not isinstance(value, str):
                msg = f"parameter {name!r} is given twice; a series has one value per tag"
                raise ValueError(msg)  # noqa: TRY004 - what pydantic turns into an answer
        return self

    @property
    def tags(self) -> dict[str, str]:
        """The tags asked for."""
        return {k.removeprefix(_TAG): v for k, v in (self.model_extra or {}).items()}


class AlertParams(Tagged):
    """Which incidents."""

    state: Literal["firing", "resolved", "retracted"] | None = None
    rule: str | None = None
    severity: str | None = None
    series: str | None = Field(None, description="A series key.")
    stream: str | None = Field(None, description="`live`, or a replay's name; any by default.")
    since: TimeParam | None = Field(None, description="Started at this time or later.")
    until: TimeParam | None = Field(None, description="Started before this time.")
    limit: int = Field(100, ge=1, le=500)
    cursor: str | None = Field(None, description="The `next` of the page before.")


class SeriesParams(Tagged):
    """Which series."""

    q: str = Field("", description="Text that the key contains.", max_length=500)
    stream: str | None = Field(None, description="`live`, or a replay's name; any by default.")
    limit: int = Field(100, ge=1, le=500)
    cursor: str | None = Field(None, description="The `next` of the page before.")


class WindowParams(Strict):
    """Which windows of a series."""

    since: TimeParam | None = Field(
        None, alias="from", description="Start at this time or later; an hour before `to`."
    )
    until: TimeParam | None = Field(None, alias="to", description="Start before this time; now.")
    step: SpanParam | None = Field(None, description="Merge windows to one point per step.")
    size: SizeParam | None = Field(
        None,
        description="Window size. `detect`: the windows that detectors judge, which have a band. "
        "By default the finest that fits `step` and `limit`.",
    )
    stream: str = LIVE
    limit: int = Field(2000, ge=1, le=10_000)


class FindingParams(Strict):
    """Which findings of a series."""

    since: TimeParam | None = Field(None, alias="from", description="A day before `to`.")
    until: TimeParam | None = Field(None, alias="to", description="Now.")
    stream: str = LIVE
    limit: int = Field(500, ge=1, le=1000)
