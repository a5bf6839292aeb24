"""The page's first call."""

from __future__ import annotations

from fastapi import APIRouter

from api.context import Context, Who
from api.schemas.overview import Overview

router = APIRouter(prefix="/api/v1", tags=["overview"])


@router.get("/overview", summary="The tenant at a glance")
async def get_overview(context: Context, who: Who) -> Overview:
    """Rates, open alerts, the busiest series, and how far behind they are."""
    return await context.overview.read(who.tenant, context.clock())
