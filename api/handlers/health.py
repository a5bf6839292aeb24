"""Probes, for whatever starts and watches the process. They need no token and show no tenant."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from api.context import Context
from api.schemas.health import Health, Live

router = APIRouter(tags=["health"])


@router.get("/health/live", summary="Is the process alive?")
async def get_live() -> Live:
    """Always the same answer, for as long as the process can give one."""
    return Live()


@router.get(
    "/health/ready",
    summary="Can it do its work, and who is behind?",
    responses={503: {"model": Health, "description": "Something it needs is down."}},
)
async def get_ready(context: Context, response: Response) -> Health:
    """Every part's state, and how many records each reader has not handled yet."""
    health = await context.health.check()
    response.status_code = 503 if health.status == "not_ready" else 200
    return health


@router.get("/metrics", summary="Metrics for Prometheus", response_class=Response)
async def get_metrics(context: Context) -> Response:
    """The API's own metrics; workers serve theirs themselves."""
    body = generate_latest(context.metrics.registry)
    return Response(body, media_type=CONTENT_TYPE_LATEST)
