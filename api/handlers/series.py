"""Series: the list, their windows, their findings.

A key in the address is percent-encoded as a whole: ``demo%7Cplays%7Bcountry%3DFR%7D``.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.context import Context, Who
from api.schemas.alerts import FindingPage
from api.schemas.params import FindingParams, SeriesParams, WindowParams
from api.schemas.series import SeriesPage, SeriesWindows

router = APIRouter(prefix="/api/v1/series", tags=["series"])

Key = Annotated[
    str,
    Path(
        description="A series key, percent-encoded as a whole.",
        examples=["demo|plays{country=FR}"],
    ),
]


@router.get("", summary="List series")
async def list_series(
    context: Context, who: Who, params: Annotated[SeriesParams, Query()]
) -> SeriesPage:
    """Series that have been seen, busiest first; also filtered by `tag.NAME=VALUE`."""
    return await context.series.page(who.tenant, params)


@router.get("/{key:path}/windows", summary="A series' windows")
async def list_windows(
    context: Context, who: Who, key: Key, params: Annotated[WindowParams, Query()]
) -> SeriesWindows:
    """Closed windows with their expected band and score, oldest first."""
    return await context.series.windows(who.tenant, key, params, context.clock())


@router.get("/{key:path}/findings", summary="A series' findings")
async def list_findings(
    context: Context, who: Who, key: Key, params: Annotated[FindingParams, Query()]
) -> FindingPage:
    """Changes of rules' states on the series, oldest first."""
    return await context.series.findings(who.tenant, key, params, context.clock())
