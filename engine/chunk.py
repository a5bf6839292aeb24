"""A chunk: the records of one source partition that one fetch brought.

It travels through Faust's stream as one message, so that Faust's cost is paid once a chunk and not
once an event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from faust import Schema
from faust.types import AppT, EventT, Message

from models.flow import Records


@dataclass(frozen=True, slots=True)
class Chunk:
    """Records ``[start, next)`` of one partition; offsets may have gaps, records may be empty.

    ``start`` is the position the fetch was made at and ``next`` the position after it, both from the
    batch headers, so that compacted, aborted and control records move the position too.
    ``highwater`` is the partition's end as the broker told it with this fetch.
    """

    topic: str
    partition: int
    start: int
    next: int
    highwater: int
    records: Records


class ChunkSchema(Schema):
    """Hands a chunk to the agent as it is: bytes are decoded in pure code, never by Faust."""

    def compile(self, app: AppT, **_: Any) -> Callable[..., Awaitable[EventT]]:
        """The function that Faust calls for every message."""
        create_event = app.create_event

        async def pass_through(message: Message, **_: Any) -> EventT:
            return create_event(None, message.value, message.headers, message)

        return pass_through
