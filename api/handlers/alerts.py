"""Incidents: the list, one of them, and the live stream."""

from __future__ import annotations

from typing import Annotated

import anyio
from fastapi import APIRouter, Header, Query
from sse_starlette import EventSourceResponse

from api.context import Context, Who
from api.handlers.streaming import AlertEventResponse
from api.schemas.alerts import AlertDetail, AlertPage
from api.schemas.attribution import Attribution
from api.schemas.params import AlertParams
from models.records import LIVE

router = APIRouter(prefix="/api/v1/alerts", tags=["alerts"])


@router.get("", summary="List incidents")
async def list_alerts(
    context: Context, who: Who, params: Annotated[AlertParams, Query()]
) -> AlertPage:
    """Incidents in their present state, newest first; also filtered by `tag.NAME=VALUE`."""
    return await context.alerts.page(who.tenant, params)


@router.get("/stream", summary="Follow incidents", response_class=EventSourceResponse)
async def stream_alerts(
    context: Context,
    who: Who,
    last_event_id: Annotated[str | None, Header(description="The last event's id.")] = None,
    resume: Annotated[
        str | None,
        Query(alias="last_event_id", description="The same, for clients without headers."),
    ] = None,
    stream: Annotated[str | None, Query(description="`live` by default; empty for all.")] = LIVE,
) -> EventSourceResponse:
    """Server-sent events: `snapshot` or `resumed` first, then an `alert` for every new version."""
    wanted = stream or None
    opening = await context.stream.open(who.tenant, last_event_id or resume, wanted)
    closing = anyio.Event()
    events = context.stream.events(opening, who.tenant, wanted, closing)
    return AlertEventResponse(events, closing, context.metrics)


@router.get("/{alert_id}", summary="One incident")
async def get_alert(context: Context, who: Who, alert_id: str) -> AlertDetail:
    """An incident with all its versions and deliveries."""
    return await context.alerts.detail(who.tenant, alert_id)


@router.get("/{alert_id}/attribution", summary="What explains an incident")
async def explain_alert(context: Context, who: Who, alert_id: str) -> Attribution:
    """Which slices explain the total's change from the incident's start until it fired.

    Computed from stored windows when it is asked for, against the half hour before.
    """
    return await context.attribution.of_alert(who.tenant, alert_id)
