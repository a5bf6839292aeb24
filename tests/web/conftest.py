"""A real server with the page, over twins in memory, and a browser that looks at it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, Page, async_playwright

from api.app import create_api
from api.services.lag import Lag, MemoryLag
from api.services.producer import MemoryProducer
from models.records import Alert
from models.settings import Settings
from storage.feeds import MemoryFeed
from storage.memory import MemoryStore
from storage.protocols import Position, Rows
from tests.support.browser import FLAGS
from tests.web.world import Service, seeded

TOKEN = "token-of-demo-tenant"
LAPTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}


@dataclass
class Site:
    """A running API, and what it shows."""

    service: Service
    store: MemoryStore
    feed: MemoryFeed
    lag: MemoryLag
    port: int = 0
    server: uvicorn.Server | None = None
    task: asyncio.Task[None] | None = None
    settings: Settings = field(default_factory=Settings)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def start(self) -> None:
        app = create_api(
            self.settings,
            queries=self.store,
            positions=self.store,
            feed=self.feed,
            producer=MemoryProducer(),
            lag=self.lag,
            series=self.service.series,
        )
        config = uvicorn.Config(
            app,
            port=self.port,
            log_config=None,
            timeout_graceful_shutdown=1,
            ws="websockets-sansio",
        )
        self.server = uvicorn.Server(config)
        self.task = asyncio.create_task(self.server.serve())
        while not self.server.started:
            await asyncio.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        assert self.task is not None
        self.server.should_exit = True
        await self.task

    async def fire(self, alert: Alert) -> None:
        """Store an alert and publish it, as the sink and the worker would."""
        finding = self.service.finding(alert, alert.state, alert.updated_at, alert.value or 0.0)
        offset = self.feed.publish(alert)
        rows = Rows(
            alerts=[alert],
            findings=[finding],
            deliveries=[self.service.delivery(alert)],
            positions=[Position("alerts", 0, offset + 1)],
        )
        await self.store.write(rows)


async def make_site(
    *, quiet: bool = False, empty: bool = False, guarded: bool = False, now: int | None = None
) -> Site:
    service = Service(now)
    store = MemoryStore(service.series) if empty else await seeded(service, quiet=quiet)
    readers = ("plays", "metrics", "partials", "findings")
    lags = [Lag("worker", topic, n) for topic, n in zip(readers, (214, 0, 37, 0), strict=True)]
    tokens = json.dumps({TOKEN: "demo"}) if guarded else None
    lag = MemoryLag([*lags, Lag("notify", "notifications", 0), Lag("sqlite", "windows", 0)])
    return Site(service, store, MemoryFeed("c1"), lag, settings=Settings(api_tokens=tokens))


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[Site]:
    """The page's server, seeded, with one ticket firing."""
    found = await make_site()
    await found.start()
    yield found
    await found.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(chromium_path: Path) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(
            executable_path=str(chromium_path), args=list(FLAGS)
        )
        yield found
        await found.close()


@pytest.fixture
def shots(tmp_path: Path) -> Callable[[str], str]:
    """Where screenshots go: SCREENSHOTS if that is set, else the test's own folder."""
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return lambda name: str(folder / f"{name}.png")


@pytest.fixture
def look(browser: Browser) -> Callable[..., Any]:
    """Open the page; nothing may go wrong in it, and nothing may be fetched from elsewhere."""

    @asynccontextmanager
    async def opened(
        site: Site, *, scheme: str = "dark", phone: bool = False, path: str = "", wait: bool = True,
        allow: tuple[str, ...] = (),
    ) -> AsyncIterator[Page]:  # fmt: skip
        context = await browser.new_context(
            viewport=PHONE if phone else LAPTOP,
            color_scheme=scheme,
            device_scale_factor=2 if phone else 1,
            is_mobile=phone,
            has_touch=phone,
            reduced_motion="reduce",
        )
        page = await context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console", lambda m: wrong.append(m.text) if m.type in {"error", "warning"} else None
        )
        page.on(
            "request",
            lambda r: (
                None if r.url.startswith((site.url, "data:", "blob:")) else wrong.append(r.url)
            ),
        )
        await page.goto(site.url + path)
        if wait:
            await page.wait_for_selector(".chart[data-drawn]")
        yield page
        await context.close()
        assert [w for w in wrong if not any(a in w for a in allow)] == []

    return opened
