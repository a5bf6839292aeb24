"""The pictures of the live page in the docs, taken of a running demo while a release breaks playback.

    python -m bench.page [--out docs/images] [--port 8137]

Starts `backbeat up` with two hours of history and waits for a playback alert that fires within a
minute of its beginning: one that the demo sees live, not while it catches up. Then it looks at the page
with the system's Chromium, on a laptop in light colours and on a phone in dark ones, and ends the demo.
Times and figures in the pictures are those of the moment.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from playwright.sync_api import Browser, sync_playwright

from tests.support.browser import FLAGS, find_chromium

ROOT = Path(__file__).parents[1]
RULE = "playback-errors"
PATIENCE_S = 2000.0
"""A machine that reads the history too slowly misses the first incident; they come every quarter of an hour."""

FRESH_MS = 60_000
"""An alert that began longer ago is one of the past that is being read."""

SETTLE_S = 20.0
"""From the alert to the picture: two windows more, so that the break is a line and not a dot."""

LAPTOP = ("live-page", 1440, 900, "light")
PHONE = ("live-page-phone", 390, 844, "dark")


@contextmanager
def demo(port: int) -> Iterator[str]:
    """A demo of this checkout, ended as Ctrl-C would; its address."""
    command = [sys.executable, "-m", "cli", "up", "--port", str(port), "--history", "2h"]
    running = subprocess.Popen(command, cwd=ROOT)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        running.send_signal(signal.SIGINT)
        running.wait(timeout=60)


def wait_for_alert(address: str, rule: str, patience: float = PATIENCE_S) -> None:
    """Return when an alert of the rule is firing that has just begun.

    Raises:
        TimeoutError: none is.
    """
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        since = time.time_ns() // 1_000_000 - FRESH_MS
        where = {"state": "firing", "rule": rule, "since": str(since)}
        try:
            answer = httpx.get(f"{address}/api/v1/alerts", params=where)
            if answer.status_code == httpx.codes.OK and answer.json()["items"]:
                return
        except httpx.TransportError:
            pass  # not up yet
        time.sleep(1)
    msg = f"no alert of {rule} is firing after {patience:g} s"
    raise TimeoutError(msg)


def picture(browser: Browser, address: str, shot: tuple[str, int, int, str], out: Path) -> Path:
    """One picture of the page, once its first charts are drawn."""
    name, width, height, colours = shot
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="light" if colours == "light" else "dark",
        reduced_motion="reduce",
        timezone_id="UTC",
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#incidents .incident")
    page.wait_for_selector(".card:first-child .chart[data-drawn]")
    page.wait_for_timeout(2_000)  # the charts beside the first
    path = out / f"{name}.png"
    page.screenshot(path=path)
    context.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--port", type=int, default=8137)
    asked = parser.parse_args()
    with demo(asked.port) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(find_chromium()), args=list(FLAGS))
        wait_for_alert(address, RULE)
        time.sleep(SETTLE_S)
        for shot in (LAPTOP, PHONE):
            print(picture(browser, address, shot, asked.out))
        browser.close()


if __name__ == "__main__":
    main()
