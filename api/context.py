"""The singletons of an API process, and how a route gets at them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from api.metrics import ApiMetrics
from api.security import (
    COOKIE,
    Authenticator,
    Principal,
    bearer_token,
    check_loopback,
    check_origin,
)
from api.services.alerts import AlertReader
from api.services.attribution import AttributionReader
from api.services.health import HealthChecker
from api.services.history import HistoryReader
from api.services.ingest import Ingest
from api.services.labels import LabelKeeper
from api.services.models import ModelKeeper
from api.services.overview import OverviewReader
from api.services.prediction import Predictor
from api.services.readings import ReadingsHub
from api.services.segments import SegmentReader
from api.services.series import SeriesReader
from api.services.stream import AlertStream
from api.services.training import Trainer

_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class ApiContext:
    """What the routes share; made once, in ``create_api``."""

    authenticator: Authenticator
    clock: Callable[[], int]
    """Now, in epoch milliseconds."""
    metrics: ApiMetrics
    alerts: AlertReader
    attribution: AttributionReader
    series: SeriesReader
    overview: OverviewReader
    ingest: Ingest
    stream: AlertStream
    readings: ReadingsHub
    health: HealthChecker
    history: HistoryReader
    models: ModelKeeper
    trainer: Trainer
    predictor: Predictor
    labels: LabelKeeper
    segments: SegmentReader


def context(connection: HTTPConnection) -> ApiContext:
    """The context of the application that serves this connection."""
    found: ApiContext = connection.app.state.context
    return found


Context = Annotated[ApiContext, Depends(context)]


def principal(connection: HTTPConnection, context: Context) -> Principal:
    """Who asks. Its tenant is the only one the request can see or write.

    A cookie counts for reading only, so that no page elsewhere can write with it.
    """
    headers = connection.headers
    reads = connection.scope["type"] == "http" and connection.scope["method"] in _READING
    if not context.authenticator.required:
        check_loopback(connection)
    if not reads:
        check_origin(headers)
    token = bearer_token(headers)
    if token is None and (reads or connection.scope["type"] == "websocket"):
        token = connection.cookies.get(COOKIE)
    return context.authenticator.principal(token)


Who = Annotated[Principal, Depends(principal)]
