"""The messages on ``/ws/metrics``, both ways."""

from __future__ import annotations

from typing import Literal

import msgspec
from pydantic import BaseModel

from api.schemas.series import Reading


class Ping(msgspec.Struct, tag="ping"):
    """Asks for a ``pong``."""


class Subscribe(msgspec.Struct, tag="subscribe"):
    """Watch these series, and every series of these groups, as well."""

    series: list[str] = []
    groups: list[str] = []


class Unsubscribe(msgspec.Struct, tag="unsubscribe"):
    """Watch these series no longer."""

    series: list[str]


Request = Ping | Subscribe | Unsubscribe
decode_request = msgspec.json.Decoder(Request).decode


class Pong(BaseModel):
    """The answer to a ``ping``."""

    type: Literal["pong"] = "pong"


class Subscribed(BaseModel):
    """Everything that is watched now; ``unknown`` is what this request named and nobody has seen."""

    type: Literal["subscribed"] = "subscribed"
    series: list[str]
    unknown: list[str]


class MetricUpdate(BaseModel):
    """A new window of a watched series, or a new revision of it."""

    type: Literal["metric_update"] = "metric_update"
    data: Reading


class SocketError(BaseModel):
    """A message that could not be used; the socket stays open."""

    type: Literal["error"] = "error"
    reason: Literal["invalid_message", "unavailable"]
    detail: str


Answer = Pong | Subscribed | MetricUpdate | SocketError
