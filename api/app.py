"""The composition root of the API: the only place where its parts are made and joined.

``create_api`` takes every collaborator as an argument, so that tests bring twins from memory;
``create_default_api`` makes the real ones from the environment, for
``uvicorn --factory api.app:create_default_api``.
"""

from __future__ import annotations

import logging.config
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType

from fastapi import FastAPI

from api import openapi, problems
from api.context import ApiContext
from api.handlers import (
    alerts,
    health,
    ingest,
    labels,
    ml,
    overview,
    page,
    readings,
    segments,
    series,
    session,
)
from api.metrics import ApiMetrics
from api.middleware import Envelope
from api.security import create_authenticator
from api.services.alerts import AlertReader
from api.services.attribution import AttributionReader
from api.services.health import HealthChecker
from api.services.history import HistoryReader
from api.services.ingest import Ingest
from api.services.labels import LabelKeeper
from api.services.lag import KafkaLag, LagProbe
from api.services.models import ModelKeeper
from api.services.overview import OverviewReader
from api.services.prediction import Predictor
from api.services.producer import EventProducer, KafkaProducer
from api.services.readings import ReadingsHub
from api.services.segments import SegmentReader
from api.services.series import SeriesReader
from api.services.starter import Startable, Starter
from api.services.stream import HEARTBEAT_S, AlertStream
from api.services.training import Trainer
from models.config import SeriesConfig, load_series_config
from models.learning import decode_label, decode_learning
from models.logs import logging_config
from models.segments import decode_segment
from models.settings import Settings, read_settings
from storage.compacted import CompactedTopic, MemoryTable
from storage.factory import create_feed, create_latest, create_queries
from storage.feeds import AlertFeed
from storage.protocols import LatestValues, Positioned, Queries

VERSION = "1"

Release = Callable[[], Awaitable[None]]
"""Closes a collaborator that has no start."""


def now_ms() -> int:
    """The wall clock, in epoch milliseconds."""
    return time.time_ns() // 1_000_000


def create_api(  # noqa: PLR0913 - the collaborators are the point
    settings: Settings,
    *,
    queries: Queries,
    feed: AlertFeed,
    positions: Positioned | None = None,
    latest: LatestValues | None = None,
    producer: EventProducer | None = None,
    lag: LagProbe | None = None,
    tables: Mapping[str, MemoryTable] = MappingProxyType({}),
    series: SeriesConfig | None = None,
    clock: Callable[[], int] = now_ms,
    heartbeat: float = HEARTBEAT_S,
    releases: Sequence[Release] = (),
) -> FastAPI:
    """The API over its collaborators, which it starts and stops with itself.

    ``positions`` says how far the store has come in the topics, for snapshots that miss nothing.
    What needs a ``producer`` or one of the ``tables`` (by topic) is refused (503) without; without
    ``lag`` readiness knows no readers. ``releases`` are called at the end.

    Raises:
        ConfigurationError: settings that would open the API to everybody, or cannot be used.
    """
    metrics, config = ApiMetrics(), series or load_series_config(settings.series_config)
    reader = SeriesReader(queries, config)
    topic = settings.topic("alerts")
    stream = AlertStream(feed, queries, positions, metrics, topic=topic, heartbeat=heartbeat)
    starters = [stream.connection, *_starters({"producer": producer, "lag": lag, **tables})]
    history, models = HistoryReader(queries, reader), ModelKeeper(tables.get("models"), producer)
    context = ApiContext(
        authenticator=create_authenticator(settings),
        clock=clock,
        metrics=metrics,
        alerts=AlertReader(queries),
        attribution=AttributionReader(queries, config),
        series=reader,
        overview=OverviewReader(queries, reader),
        ingest=Ingest(producer, config, metrics),
        stream=stream,
        readings=ReadingsHub(queries, latest, metrics, clock),
        health=HealthChecker(queries, settings.tenants[0], starters, lag),
        history=history,
        models=models,
        trainer=Trainer(history, models, clock),
        predictor=Predictor(history, models),
        labels=LabelKeeper(tables.get("labels"), producer, queries, history, models),
        segments=SegmentReader(tables.get("segment-descriptions")),
    )
    return _assemble(context, starters, releases)


def _starters(parts: Mapping[str, Startable | None]) -> list[Starter]:
    """What the API can do without for a while."""
    return [Starter(n, part, required=False) for n, part in parts.items() if part is not None]


def _assemble(
    context: ApiContext, starters: Sequence[Starter], releases: Sequence[Release]
) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for starter in starters:
            starter.begin()
        yield
        await context.readings.stop()
        await context.trainer.stop()
        for starter in starters:
            await starter.end()
        for release in releases:
            await release()

    app = FastAPI(
        title="Backbeat",
        version=VERSION,
        description="Series, windows and alerts of a music-streaming service, as they happen.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.context = context
    app.add_middleware(Envelope, metrics=context.metrics)
    problems.install(app)
    openapi.install(app)
    routes = (
        overview,
        alerts,
        series,
        ml,
        labels,
        segments,
        ingest,
        session,
        health,
        readings,
        page,
    )
    for handlers in routes:
        app.include_router(handlers.router)
    app.mount("/web", page.PageFiles(directory=page.WEB), name="web")
    return app


def create_default_api() -> FastAPI:
    """The API as the environment (``BACKBEAT_*``) asks for it.

    Nothing is connected yet: connections are made, and kept being tried, once it runs.
    """
    settings = read_settings()
    logging.config.dictConfig(logging_config(settings))
    series = load_series_config(settings.series_config)
    queries, latest = create_queries(settings, series), create_latest(settings)
    releases: list[Release] = [queries.close]
    if latest is not None:
        releases.append(latest.close)
    return create_api(
        settings,
        queries=queries,
        positions=queries,
        feed=create_feed(settings),
        latest=latest,
        producer=KafkaProducer(settings),
        lag=KafkaLag(settings),
        tables=create_tables(settings),
        series=series,
        releases=releases,
    )


def create_tables(settings: Settings) -> dict[str, MemoryTable]:
    """What the API reads of models, labels and segments, by topic."""
    decoders = {
        "models": decode_learning, "labels": decode_label, "segment-descriptions": decode_segment,
    }  # fmt: skip
    cluster = settings.topic("cluster")
    return {
        name: CompactedTopic(settings.bootstrap, settings.topic(name), decode, cluster)
        for name, decode in decoders.items()
    }
