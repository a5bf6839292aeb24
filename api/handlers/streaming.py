"""The response that carries server-sent events to one client, and drops it when it stops reading."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from api.metrics import ApiMetrics

SEND_TIMEOUT_S = 10.0
"""How long one event may wait for the client's socket."""

CLOSING_S = 2.0
"""How long a stream may take to end when the server shuts down."""


class AlertEventResponse(EventSourceResponse):
    """Server-sent events with our own heartbeat, which renews the id to resume from."""

    def __init__(
        self, events: AsyncIterator[ServerSentEvent], closing: anyio.Event, metrics: ApiMetrics
    ) -> None:
        """``closing`` is set when the server shuts down; the events then have a moment to end."""
        super().__init__(
            events,
            ping=0,
            send_timeout=SEND_TIMEOUT_S,
            shutdown_event=closing,
            shutdown_grace_period=CLOSING_S,
        )
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            self._metrics.subscribers_dropped.labels("sse", "blocked").inc()
