"""Segments: which kinds of listeners there are."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.context import Context, Who
from api.schemas import segments as schemas
from api.schemas.params import NoParams

router = APIRouter(prefix="/api/v1/segments", tags=["segments"])


@router.get("", summary="List segments of listeners")
async def list_segments(
    context: Context, who: Who, _params: Annotated[NoParams, Query()]
) -> schemas.SegmentPage:
    """The kinds of listeners as they were told in the last hour, the largest first."""
    found = context.segments.all(who.tenant)
    return schemas.SegmentPage(items=[schemas.Segment.model_validate(s) for s in found])
