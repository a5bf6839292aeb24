"""Taking plays and metrics over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from api.context import Context, Who
from api.schemas.ingest import Accepted, MetricIn, PlayIn
from api.services.ingest import METRICS, PLAYS, read_body

router = APIRouter(prefix="/api/v1", tags=["events"])

_ABOUT = (
    "One object, an array, or JSON lines; at most 10,000 items and 8 MiB. The answer comes when "
    "every in-sync replica has the accepted items. Invalid items are listed and do not hold up "
    "the others. Without an `event_id`, an item that is sent again counts again."
)


def _body(schema: str) -> dict[str, Any]:
    """The request body in the OpenAPI document; the handler reads the bytes itself."""
    ref = {"$ref": f"#/components/schemas/{schema}"}
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [ref, {"type": "array", "items": ref, "minItems": 1}]}
                },
                "application/x-ndjson": {"schema": ref},
            },
        }
    }


async def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


MediaType = Annotated[str, Depends(_media_type)]


@router.post(
    "/plays",
    status_code=202,
    summary="Publish plays",
    description=_ABOUT,
    openapi_extra=_body(PlayIn.__name__),
)
async def post_plays(
    request: Request, context: Context, who: Who, media_type: MediaType
) -> Accepted:
    """Publish plays."""
    body = await read_body(request.stream())
    return await context.ingest.take(PLAYS, who.tenant, body, media_type, context.clock())


@router.post(
    "/metrics",
    status_code=202,
    summary="Publish metric samples",
    description=_ABOUT,
    openapi_extra=_body(MetricIn.__name__),
)
async def post_metrics(
    request: Request, context: Context, who: Who, media_type: MediaType
) -> Accepted:
    """Publish metric samples."""
    body = await read_body(request.stream())
    return await context.ingest.take(METRICS, who.tenant, body, media_type, context.clock())
