"""The system's Chromium, for Playwright, which is told to bring no browser of its own."""

import os
import shutil
from pathlib import Path

from tests.support.process import ServerUnavailableError

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Headless as root, with nothing that would look for hosts outside the machine.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> Path:
    """Return the browser's path: CHROMIUM, or the first usual name on the PATH."""
    for candidate in (os.environ.get("CHROMIUM"), *_NAMES):
        if candidate and (path := shutil.which(candidate)):
            return Path(path)
    msg = f"no browser: set CHROMIUM, or install one of {', '.join(_NAMES)}"
    raise ServerUnavailableError(msg)
