"""Fixtures of the real servers, started once a session, each on a free loopback port.

A test that asks for one is skipped, with the reason, where its tool is missing; with
REQUIRE_SERVERS=1 it fails instead. Data of all tests of a session meet in one server: name topics,
keys and databases with `unique_name`. A test that kills or pauses a server makes its own from the
class, so that no other test is hit.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import find_chromium
from tests.support.influxdb import InfluxDBServer
from tests.support.kafka import KafkaServer
from tests.support.process import ServerProcess, ServerUnavailableError
from tests.support.tansu import TansuServer
from tests.support.valkey import ValkeyServer

SERVERS: dict[str, type[ServerProcess]] = {
    "kafka_server": KafkaServer,
    "tansu_server": TansuServer,
    "valkey_server": ValkeyServer,
    "influxdb_server": InfluxDBServer,
}


def unavailable(error: ServerUnavailableError) -> None:
    """End the test: skipped, or failed where REQUIRE_SERVERS=1 promises that all is there."""
    if os.environ.get("REQUIRE_SERVERS") == "1":
        pytest.fail(str(error), pytrace=False)
    pytest.skip(str(error))


def wanted_by(item: pytest.Item) -> set[str]:
    """Return the names of the server fixtures that a test will ask for."""
    names = set(getattr(item, "fixturenames", ()))
    if "any_broker" in names:
        names.add(f"{item.callspec.params['any_broker']}_server")
    return names & SERVERS.keys()


def install(names: set[str]) -> None:
    """Fill the cache of programs before any test's time runs; what fails is told by its fixture."""
    for name in sorted(names):
        try:
            SERVERS[name].install()
        except ServerUnavailableError:
            continue


def _serve(kind: type[ServerProcess], paths: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    try:
        kind.install()
    except ServerUnavailableError as error:
        unavailable(error)
    with kind(paths.mktemp(kind.name)) as server:
        yield server


@pytest.fixture(scope="session")
def kafka_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Apache Kafka: `.bootstrap` is host:port, `.url` is kafka://host:port."""
    yield from _serve(KafkaServer, tmp_path_factory)


@pytest.fixture(scope="session")
def tansu_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The embedded broker: `.bootstrap` and `.url` as Kafka's."""
    yield from _serve(TansuServer, tmp_path_factory)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Valkey: `.url` is redis://host:port/0."""
    yield from _serve(ValkeyServer, tmp_path_factory)


@pytest.fixture(scope="session")
def influxdb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """InfluxDB without authentication: `.url`, `.token`, `.org`, `.create_database(name)`."""
    yield from _serve(InfluxDBServer, tmp_path_factory)


@pytest.fixture(scope="session", params=["tansu", "kafka"])
def any_broker(request: pytest.FixtureRequest) -> ServerProcess:
    """Each broker in turn, for what must work on both."""
    return request.getfixturevalue(f"{request.param}_server")


@pytest.fixture(scope="session")
def chromium_path() -> Path:
    """The browser, for Playwright's `executable_path`, with `tests.support.browser.FLAGS`."""
    try:
        return find_chromium()
    except ServerUnavailableError as error:
        unavailable(error)
        raise


@pytest.fixture
def unique_name() -> str:
    """A name for this test's topic, key or database in a server that others use too."""
    return f"t{uuid.uuid4().hex[:12]}"
