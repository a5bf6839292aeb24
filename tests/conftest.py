"""What every test gets: servers, golden files, a clean environment, and steady property tests."""

import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

from tests.support import servers
from tests.support.servers import (  # noqa: F401  fixtures
    any_broker,
    chromium_path,
    influxdb_server,
    kafka_server,
    tansu_server,
    unique_name,
    valkey_server,
)

# No deadlines: a shared machine pauses. CI tries the same examples every time.
hypothesis.settings.register_profile("backbeat", deadline=None, print_blob=True)
hypothesis.settings.register_profile(
    "ci", parent=hypothesis.settings.get_profile("backbeat"), derandomize=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "backbeat")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files instead of comparing"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a server or a browser, so that `-m 'not server'` leaves it out."""
    for item in items:
        if servers.wanted_by(item):
            item.add_marker("server")
        if "chromium_path" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


def pytest_runtestloop(session: pytest.Session) -> None:
    """Bring the servers' programs first, for a build takes longer than a test may."""
    if not session.config.option.collectonly:
        servers.install(set().union(*map(servers.wanted_by, session.items)))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BACKBEAT_")]:
        if name != "BACKBEAT_SERVER_CACHE":
            monkeypatch.delenv(name)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str | bytes], None]:
    """Compare with `golden/<name>` beside the test; `--update-golden` writes it instead."""
    folder = request.path.parent / "golden"

    def check(name: str, actual: str | bytes) -> None:
        path: Path = folder / name
        content = actual.encode() if isinstance(actual, str) else actual
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        assert path.exists(), f"no golden file {path}; write it with --update-golden"
        assert content.decode() == path.read_bytes().decode()

    return check
