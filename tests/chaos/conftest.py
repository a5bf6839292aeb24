"""How a chaos scenario is sized, run once, and remembered.

``@pytest.mark.chaos(long=3_000_000, quick=60_000)`` gives the number of events in ``make chaos`` and in
``make test``; without ``quick`` the scenario is in ``make chaos`` only, and with ``quick_of="[x]"`` all
of its variants but one are. The environment chooses:
``CHAOS_SIZE=long``, ``SCENARIO=name``, ``SEED=``, ``EVENTS=``, ``AGAIN=1`` (run what has passed before).
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench import machine
from tests.support import chaos_results, servers
from tests.support.chaos_broker import QUICK_CLEANER, Cluster
from tests.support.chaos_events import Plan
from tests.support.chaos_ledger import Verdict
from tests.support.chaos_trial import Trial
from tests.support.kafka import KafkaServer
from tests.support.process import ServerUnavailableError

SCENARIO = os.environ.get("SCENARIO")
IS_LONG = os.environ.get("CHAOS_SIZE") == "long"
SEED = int(os.environ.get("SEED") or 1)
EVENTS = int(os.environ.get("EVENTS") or 0)
QUICK_SECONDS, LONG_SECONDS = 300, 3600

_code = pytest.StashKey[str]()
_failed = pytest.StashKey[bool]()


@dataclass
class Scenario:
    """The test that runs: its name, its input, and the figures it leaves."""

    name: str
    seed: int
    events: int
    is_long: bool
    figures: dict[str, Any] = field(default_factory=dict)

    def plan(self, poison: frozenset[int] = frozenset()) -> Plan:
        """The input."""
        return Plan(self.seed, self.events, poison)

    def note(self, verdict: Verdict | None = None, **figures: Any) -> None:
        """Remember figures for the results' file and say them."""
        self.figures |= {name.replace("_", " "): value for name, value in figures.items()}
        if verdict is not None:
            self.figures |= verdict.figures()

    def must_be_exact(self, verdict: Verdict, **figures: Any) -> None:
        """Nothing lost, nothing doubled, no line out of place."""
        self.note(verdict, **figures)
        print(f"\n{self.name}: {self.figures}")
        assert verdict.faults == []
        assert (verdict.lost, verdict.doubled) == (0, 0)


def _size(item: pytest.Item) -> int | None:
    mark = item.get_closest_marker("chaos")
    assert mark is not None
    if IS_LONG:
        return EVENTS or mark.kwargs["long"]
    of_all = mark.kwargs.get("quick_of", item.name)
    return mark.kwargs.get("quick") if item.name.endswith(of_all) else None


def _name(item: pytest.Item) -> str:
    return item.name.removeprefix("test_")


def _has_passed(item: pytest.Item) -> bool:
    result = chaos_results.kept(_name(item))
    wanted = {"code": item.stash[_code], "seed": SEED, "events": _size(item), "outcome": "passed"}
    return result is not None and wanted.items() <= result.items()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose scenarios by name and size; leave out what has passed with the same code, seed and size."""
    left_out = []
    for item in [i for i in items if i.get_closest_marker("chaos")]:
        item.stash[_code] = chaos_results.fingerprint(item.path)
        unwanted = SCENARIO and SCENARIO not in {
            _name(item),
            item.originalname.removeprefix("test_"),
        }
        done = IS_LONG and not os.environ.get("AGAIN") and _has_passed(item)
        if _size(item) is None or unwanted or done:
            left_out.append(item)
            continue
        item.add_marker("server")
        item.add_marker("slow")
        item.add_marker(pytest.mark.timeout(LONG_SECONDS if IS_LONG else QUICK_SECONDS))
    if left_out:
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture
def scenario(request: pytest.FixtureRequest) -> Iterator[Scenario]:
    """The size of this run; what the test notes is kept when it ends, in a long run."""
    size = _size(request.node)
    assert size is not None
    run = Scenario(_name(request.node), SEED, size, IS_LONG)
    began = time.monotonic()
    yield run
    if IS_LONG:
        outcome = "failed" if request.node.stash.get(_failed, True) else "passed"
        chaos_results.keep(run.name, {
            "outcome": outcome, "seconds": time.monotonic() - began, "seed": SEED, "events": size,
            "figures": run.figures, "code": request.node.stash[_code], "about": machine.about(),
        })  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Let fixtures know whether their test has failed."""
    report = yield
    if report.when == "call":
        item.stash[_failed] = report.failed
    return report


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """One broker for all scenarios that leave it alone; its log cleaner is quick."""
    with _installed(
        KafkaServer(tmp_path_factory.mktemp("kafka"), settings=QUICK_CLEANER)
    ) as server:
        yield server


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker that the scenario may kill."""
    with _installed(KafkaServer(tmp_path / "kafka")) as server:
        yield server


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three brokers."""
    _install()
    made = Cluster(tmp_path)
    try:
        with ThreadPoolExecutor() as threads:  # none answers before two are up
            list(threads.map(lambda node: node.start(), made.nodes))
        yield made
    finally:
        for node in made.nodes:
            if node.process is not None:
                node.kill()


def _install() -> None:
    try:
        KafkaServer.install()
    except ServerUnavailableError as error:
        servers.unavailable(error)


def _installed(server: KafkaServer) -> KafkaServer:
    _install()
    return server


@pytest.fixture
def trial_on(scenario: Scenario, tmp_path: Path) -> Iterator[Callable[..., Trial]]:
    """``trial_on(broker, plan=…, **env)``: a run under a name of its own."""
    with ExitStack() as open_trials:

        def begin(broker: Any, plan: Plan | None = None, **env: str) -> Trial:
            name = f"c{uuid.uuid4().hex[:10]}"
            folder = tmp_path / name
            folder.mkdir()
            trial = Trial(
                broker.bootstrap, broker.url, name, folder, plan or scenario.plan(), **env
            )
            return open_trials.enter_context(trial)

        yield begin
