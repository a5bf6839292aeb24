"""The live page in a real browser: what it shows, that it stays live, and how it looks."""

from __future__ import annotations

import time

import pytest
from playwright.async_api import expect

from models.records import Share
from storage.protocols import Rows
from tests.web.conftest import TOKEN, make_site
from tests.web.world import MINUTE, PANE

FAILING = '.incident[data-id="3f9c1a7e52d04b18"]'
ROW = "#incidents .incident"

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


async def drawn(page, least: int) -> None:
    await page.wait_for_function(
        f"() => document.querySelectorAll('.chart[data-drawn]').length >= {least}"
    )


async def test_an_alert_appears_without_a_reload(site, look):
    async with look(site) as page:
        await page.wait_for_selector(ROW)
        await page.evaluate("window.stillHere = true")
        assert await page.text_content("#open") == "1"
        await site.fire(site.service.failing())
        row = await page.wait_for_selector(FAILING)
        text = await row.inner_text()
        assert "Playback is failing on ios in FR" in text
        assert "Error rate of ios × FR is 7.2 %, above 5 %, for 20 s." in text
        assert await page.text_content("#open") == "2"
        assert await page.title() == "(2) Backbeat"
        said = await page.text_content("#announcer")
        assert said.startswith("Firing, page: Playback is failing")
        await site.fire(site.service.failing(1, state="resolved", resolved_at=site.service.last))
        await page.wait_for_selector(f"{FAILING}.resolved")
        assert await page.text_content("#open") == "1"
        assert await page.evaluate("window.stillHere") is True


async def test_one_alert_speaks_for_those_that_it_explains(site, look):
    shares = [Share({"country": "FR", "platform": "ios"}, 0.83, named=True)]
    cause = site.service.failing(shares=shares)
    child = site.service.failing(id="c41d", tags={"country": "FR"}, parent=cause.id)
    async with look(site) as page:
        await page.wait_for_selector(ROW)
        await site.fire(cause)
        await page.wait_for_selector(FAILING)
        await site.fire(child)
        await page.wait_for_selector(f"{FAILING} >> text=speaks for 1 more")
        assert await page.query_selector('[data-id="c41d"]') is None
        assert await page.text_content("#open") == "2"
    async with look(site, path=f"#alert/{cause.id}", wait=False) as page:
        await page.wait_for_selector("#detail .facts >> text=83 %")
    async with look(site, path="#alert/c41d", wait=False) as page:
        await page.click("#detail .facts >> text=the alert that explains it")
        await page.wait_for_selector("#detail .facts >> text=83 %")


async def test_the_series_of_an_alert_is_brought_forward(site, look):
    async with look(site) as page:
        await drawn(page, 4)
        await site.fire(site.service.failing())
        first = "#cards .card.page:first-child"
        card = await page.wait_for_selector(first)
        assert "error_rate{country=FR,platform=ios}" in await card.get_attribute("data-key")
        await page.wait_for_selector(f"{first} .chart[data-drawn]")
        found = await page.evaluate(
            f"""() => {{
              const chart = document.querySelector("{first} .chart");
              return {{
                names: chart.data.map((t) => t.name),
                points: chart.data.find((t) => t.name === "value").y.length,
                spans: chart.layout.shapes.length,
              }};
            }}"""
        )
        assert {"low", "expected", "value", "findings"} <= set(found["names"])
        assert found["points"] > 150
        assert found["spans"] >= 2


async def test_charts_go_on_as_windows_close(site, look):
    async with look(site) as page:
        key = "demo|plays{}"
        chart = f'.card[data-key="{key}"] .chart'
        await page.wait_for_selector(f"{chart}[data-drawn]")
        last = "(c) => document.querySelector(c).data.find((t) => t.name === 'value').x.at(-1).getTime()"
        before = await page.evaluate(last, chart)
        start = site.service.last + PANE
        await site.store.write(Rows(windows=site.service.windows(start, start)))
        await page.wait_for_function(f"([c, b]) => ({last})(c) === b + {PANE}", arg=[chart, before])


async def test_an_alert_in_full(site, look):
    async with look(site) as page:
        await site.fire(site.service.failing())
        await page.click(f"{FAILING} a")
        await page.wait_for_selector("#detail .chart[data-drawn]")
        text = await page.inner_text("#detail")
        for words in ("History", "Deliveries", "webhook · firing", "delivered · HTTP 200 · 1 try",
                      "Limit", "5 %", "playback-errors (1)", "is 7.2 %, above 5 %"):  # fmt: skip
            assert words in text
        lines = await page.evaluate(
            "document.querySelector('#detail .chart').layout.shapes.map((s) => s.type)"
        )
        assert "line" in lines  # the limit
        await page.keyboard.press("Escape")
        await page.wait_for_selector("#detail", state="hidden")
        assert await page.is_visible("#cards")


async def test_an_alert_can_be_linked_to_and_goes_on_there(site, look):
    await site.fire(site.service.failing())
    async with look(site, path="#alert/3f9c1a7e52d04b18", wait=False) as page:
        await page.wait_for_selector("#detail .chart[data-drawn]")
        await site.fire(site.service.failing(1, peak=0.2, reason="error_rate 0.2 > 0.05 for 20s"))
        await page.wait_for_selector("#detail .log >> text=revision 1")


async def test_a_surprise_says_what_it_looks_like(site, look):
    await site.fire(site.service.slow())
    async with look(site, path="#alert/77aa20c4e1", wait=False) as page:
        await page.wait_for_selector("#detail .facts")
        text = await page.inner_text("#detail .facts")
        for words in ("level shift", "one in 910 of its surprises", "level 56 % · jump 21 %"):
            assert words in text


async def test_a_series_in_full(site, look):
    async with look(site) as page:
        await page.click('.card[data-key="demo|plays{}"] h2 a')
        await page.wait_for_selector("#detail .chart[data-drawn]")
        assert "all together" in await page.inner_text("#detail")
        await page.click(".back")
        await page.wait_for_selector("#detail", state="hidden")


async def test_series_can_be_searched(site, look):
    async with look(site) as page:
        await drawn(page, 4)
        await page.fill("#search", "queue")
        await page.wait_for_function("() => document.querySelectorAll('.card').length === 1")
        assert "Queue depth" in await page.inner_text("#cards")
        await page.fill("#search", "nothing like this")
        await page.wait_for_selector("#cards .nothing")
        await page.fill("#search", "")
        await page.wait_for_function("() => document.querySelectorAll('.card').length === 8")


async def test_a_longer_span_still_shows_what_was_expected(site, look):
    async with look(site) as page:
        chart = '.card[data-key="demo|plays{}"] .chart'
        await page.wait_for_selector(f"{chart}[data-drawn]")
        span = f"document.querySelector('{chart}').layout.xaxis.range.map((t) => new Date(t).getTime())"
        async with page.expect_response(lambda r: "step=20000" in r.url and "plays%7B%7D" in r.url):
            await page.click('[data-span="21600"]')
        await page.wait_for_function(f"() => {{ const [a, b] = {span}; return b - a > 2e7; }}")
        names = await page.evaluate(f"document.querySelector('{chart}').data.map((t) => t.name)")
        assert "expected" in names


async def test_times_are_local_with_utc_on_hover(site, look):
    async with look(site) as page:
        found = await page.wait_for_selector(f"{ROW} time")
        assert (await found.get_attribute("title")).endswith(" UTC")
        assert (await found.get_attribute("datetime")).endswith("Z")


async def test_the_theme_can_be_switched_and_is_kept(site, look):
    async with look(site, scheme="dark") as page:
        theme = "document.documentElement.dataset.theme"
        line = "document.querySelector('.chart').data.find((t) => t.name === 'value').line.color"
        assert await page.evaluate(theme) == "dark"
        dark = await page.evaluate(line)
        await page.click("#theme")
        assert await page.evaluate(theme) == "light"
        await page.wait_for_function(f"() => {line} !== '{dark}'")
        await page.reload()
        assert await page.evaluate(theme) == "light"


async def test_everything_can_be_reached_by_keyboard(site, look):
    async with look(site) as page:
        await page.wait_for_selector(f"{ROW} a")
        reached = set()
        for _ in range(40):
            await page.keyboard.press("Tab")
            reached.add(
                await page.evaluate(
                    """() => {
                      const e = document.activeElement;
                      return e.id || e.closest("[data-show],[data-span],.incident,.card")?.className
                        || e.dataset.show || e.dataset.span || e.className || e.tagName;
                    }"""
                )
            )
        assert {"theme", "parts-more", "search", "skip"} <= reached
        assert any(name.startswith("incident") for name in reached)
        assert any(name.startswith("card") for name in reached)


async def test_the_parts_can_be_shown(site, look):
    async with look(site) as page:
        assert await page.text_content("#parts-figure") == "All well"
        await page.click("#parts-more")
        text = await page.inner_text("#parts")
        assert "214 to do" in text
        assert await page.get_attribute("#parts-more", "aria-expanded") == "true"


async def test_hostile_names_are_shown_as_text(site, look):
    nasty = "<img src=x onerror=alert(1)>"
    async with look(site) as page:
        await site.fire(site.service.failing(summary=nasty, reason=nasty, tags={"a": nasty}))
        row = await page.wait_for_selector(FAILING)
        assert nasty in await row.inner_text()
        assert await page.query_selector("#incidents img") is None


async def test_a_lost_connection_is_said_and_comes_back(site, look, shots):
    async with look(site, allow=("ERR_", "WebSocket", "Failed to load")) as page:
        await drawn(page, 4)
        await page.wait_for_selector('#link[data-state="live"]')
        port = site.port
        await site.stop()
        await page.wait_for_selector('#link[data-state="lost"]')
        assert "connection is lost" in await page.text_content("#banner")
        await page.screenshot(path=shots("laptop-lost"))
        site.port = port
        await site.start()
        await site.fire(site.service.failing())
        await page.wait_for_selector('#link[data-state="live"]', timeout=30_000)
        await page.wait_for_selector(FAILING)
        await page.wait_for_selector("#banner", state="hidden")


async def test_with_nothing_there_it_says_what_to_do(look, shots):
    site = await make_site(empty=True)
    await site.start()
    async with look(site, wait=False) as page:
        await page.wait_for_selector("#cards .nothing")
        await page.wait_for_selector("#incidents .nothing")
        assert "curl" in await page.inner_text("#cards")
        assert "Nothing is firing." in await page.inner_text("#incidents")
        await page.screenshot(path=shots("laptop-empty"))
    await site.stop()


async def test_what_is_far_behind_is_not_called_quiet(look):
    behind = 231 * MINUTE
    site = await make_site(quiet=True, now=time.time_ns() // 1_000_000 - behind)
    await site.start()
    async with look(site, wait=False) as page:
        await page.wait_for_selector("#incidents .nothing")
        await page.wait_for_selector('#vital-lag[data-state="bad"]')
        await page.wait_for_function("document.querySelector('#open-note').textContent !== ''")
        note = "none yet: still reading, 3 h 51 min behind"
        await expect(page.locator("#open-note")).to_have_text(note)
        assert await page.get_attribute("#vital-alerts", "data-state") == "none"
        said = page.locator("#incidents .nothing")
        await expect(said).to_contain_text("No alerts yet: still reading.")
        await expect(said).to_contain_text("3 h 51 min behind real time")
        await page.click('[data-show="all"]')
        assert "Nothing is firing" not in await page.inner_text("#incidents")
    await site.stop()


async def test_a_token_is_asked_for_and_kept_in_a_cookie(look, shots):
    site = await make_site(guarded=True)
    await site.start()
    async with look(site, wait=False, allow=("401",)) as page:
        await page.wait_for_selector("#sign-in[open]")
        await page.fill("#token", "not-the-right-one")
        await page.click("#sign-in button")
        await page.wait_for_selector("#sign-in-wrong:not([hidden])")
        await page.screenshot(path=shots("laptop-sign-in"))
        await page.fill("#token", TOKEN)
        await page.click("#sign-in button")
        await page.wait_for_selector(".chart[data-drawn]")
        await page.wait_for_selector('#link[data-state="live"]')
        assert TOKEN not in await page.evaluate("document.cookie + JSON.stringify(localStorage)")
        await site.fire(site.service.failing())
        await page.wait_for_selector(FAILING)
        await page.reload()
        await page.wait_for_selector(FAILING)
        await page.click("#sign-out")
        await page.wait_for_selector("#sign-in[open]")
    await site.stop()


async def contrasts(page) -> list[str]:
    """Visible texts whose contrast with what lies behind them is under 4.5 (WCAG AA)."""
    return await page.evaluate(
        """() => {
          const channels = (colour) => {
            const context = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
            context.fillStyle = colour;
            context.fillRect(0, 0, 1, 1);
            return [...context.getImageData(0, 0, 1, 1).data];
          };
          const over = ([r, g, b, a], [R, G, B]) => [r, g, b].map((c, i) => (c * a + [R, G, B][i] * (255 - a)) / 255);
          const light = (rgb) => {
            const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const behind = (element) => {
            const layers = [];
            for (let e = element; e; e = e.parentElement) layers.unshift(channels(getComputedStyle(e).backgroundColor));
            return layers.reduce((under, layer) => over(layer, under), [255, 255, 255]);
          };
          const wrong = [];
          const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
          while (walker.nextNode()) {
            const element = walker.currentNode.parentElement;
            if (!walker.currentNode.textContent.trim() || element.closest("svg, script, [hidden], .unseen, dialog:not([open]), .skip, noscript")) continue;
            const back = behind(element);
            const front = over(channels(getComputedStyle(element).color), back);
            const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
            const ratio = (high + 0.05) / (low + 0.05);
            if (ratio < 4.5) wrong.push(`${walker.currentNode.textContent.trim()}: ${ratio.toFixed(2)}`);
          }
          return wrong;
        }"""
    )


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("device", ["laptop", "phone"])
async def test_how_it_looks(site, look, shots, scheme, device):
    """Screenshots to look at; what a machine can judge is judged: contrast, and nothing cut off."""
    await site.fire(site.service.failing())
    phone = device == "phone"
    async with look(site, scheme=scheme, phone=phone) as page:
        await page.wait_for_selector(FAILING)
        if phone:
            for chart in await page.query_selector_all(".card"):
                await chart.scroll_into_view_if_needed()
            await page.evaluate("scrollTo(0, 0)")
        await drawn(page, 8)
        assert await contrasts(page) == []
        wide = await page.evaluate("document.documentElement.scrollWidth > innerWidth")
        assert wide is False
        await page.screenshot(path=shots(f"{device}-{scheme}"))
        await page.screenshot(path=shots(f"{device}-{scheme}-full"), full_page=True)
        await page.click(f"{FAILING} a")
        await page.wait_for_selector("#detail .chart[data-drawn]")
        assert await contrasts(page) == []
        await page.screenshot(path=shots(f"{device}-{scheme}-alert"), full_page=phone)
