"""The API over its twins in memory, and a client that speaks to it without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_api
from api.services.lag import Lag, MemoryLag
from api.services.producer import MemoryProducer
from models.learning import decode_label, decode_learning
from models.segments import decode_segment
from models.settings import Settings
from storage.compacted import MemoryTable
from storage.feeds import MemoryFeed
from storage.memory import MemoryStore
from tests.api.seed import NOW, seeded_store, series_config

TOKENS = {"token-of-demo-tenant": "demo", "token-of-other-tenant": "other"}


@dataclass
class World:
    """One API and everything behind it."""

    app: FastAPI
    store: MemoryStore
    feed: MemoryFeed
    producer: MemoryProducer
    lag: MemoryLag

    def client(self, token: str | None = None, **options: Any) -> httpx.AsyncClient:
        """A client, with a token if there is one."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8080", headers=headers, **options
        )

    async def started(self) -> None:
        """Wait until the feed has been reached."""
        async with asyncio.timeout(20):
            await self.app.state.context.stream.connection.started.wait()


async def make_world(settings: Settings, store: MemoryStore | None = None, **options: Any) -> World:
    store = store or await seeded_store()
    tables = {
        "models": MemoryTable("models", decode_learning),
        "labels": MemoryTable("labels", decode_label),
        "segment-descriptions": MemoryTable("segment-descriptions", decode_segment),
    }
    feed, producer = MemoryFeed("c1"), MemoryProducer(tables)
    lag = MemoryLag([Lag("worker", "plays", 12), Lag("sqlite", "windows", 0)])
    app = create_api(
        settings,
        queries=options.pop("queries", store),
        positions=store,
        feed=options.pop("feed", feed),
        producer=producer,
        lag=lag,
        tables=tables,
        series=series_config(),
        clock=lambda: NOW,
        **options,
    )
    return World(app, store, feed, producer, lag)


@pytest.fixture
def settings() -> Settings:
    return Settings(tenants=("demo", "other"))


@pytest.fixture
def guarded() -> Settings:
    """Settings with a token for each of two tenants."""
    import json

    return Settings(tenants=("demo", "other"), api_tokens=json.dumps(TOKENS))


@pytest.fixture
async def world(settings: Settings) -> AsyncIterator[World]:
    """An open API on loopback, started."""
    found = await make_world(settings)
    async with found.app.router.lifespan_context(found.app):
        await found.started()
        yield found


@pytest.fixture
async def guarded_world(guarded: Settings) -> AsyncIterator[World]:
    """An API that asks for tokens, started."""
    found = await make_world(guarded)
    async with found.app.router.lifespan_context(found.app):
        await found.started()
        yield found


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with world.client() as found:
        yield found
