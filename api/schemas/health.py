"""Health, as probes and the page read it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class Live(BaseModel):
    """The process answers."""

    status: Literal["live"] = "live"


class Part(BaseModel):
    """One part of Backbeat, as the API sees it."""

    name: str = Field(description="store, feed, producer, or a reader of a topic: worker/plays.")
    status: Literal["ok", "behind", "down", "unknown"]
    required: bool = Field(description="Whether the API is not ready without it.")
    lag: int | None = Field(None, description="Records it has not handled yet.")
    detail: str = ""


class Health(BaseModel):
    """Whether the API can do its work, and which part is behind, by how much."""

    status: Literal["ready", "behind", "not_ready"]
    parts: list[Part]
