"""Same input, same result, through real workers: the shipped configuration on the embedded broker."""

from __future__ import annotations

import asyncio

import pytest

from engine.broker import ensure_topics
from models.settings import Settings
from models.topics import TOPICS
from tests.support.pipeline import RESULT_TOPICS, Results
from tests.support.plays import MINUTE, Plan, Sent, by_partition, closing_plays, make_plays
from tests.support.same import assert_same
from tests.support.topics import PARTITIONS, produce, read_topic, values_of
from tests.support.worker import Worker

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(600)]

PLAN = Plan(
    plays=4_000, listeners=150, span=10 * MINUTE, very_late=0, incident=(4 * MINUTE, 7 * MINUTE)
)
STEPS = {
    "plays": "plays", "windows": "partials", "attribution": "evidence", "alerts": "findings",
}  # fmt: skip


class Run:
    """One worker with topics of its own."""

    def __init__(self, broker, folder, name: str, **env: str) -> None:
        self.bootstrap = broker.bootstrap
        self.prefix = f"{name}-"
        settings = Settings(broker=broker.url, app_id=name, topic_prefix=self.prefix)
        asyncio.run(ensure_topics(settings, list(TOPICS.values()), []))
        shared = {
            "BACKBEAT_BROKER": broker.url,
            "BACKBEAT_APP_ID": name,
            "BACKBEAT_TOPIC_PREFIX": self.prefix,
            "BACKBEAT_TENANTS": "demo,acme",
            "BACKBEAT_ROLES": "ingest,windows,alerts",
        }
        self.worker = Worker("faust_app", folder, **shared, **env)

    def produce(self, records: list[Sent]) -> None:
        produce(self.bootstrap, f"{self.prefix}plays", records)

    def finish(self) -> Results:
        """Wait until each step has folded all there is, and gather what came out."""
        self.worker.wait(self._is_done, 240, "all steps at the end of their topics")
        return Results.of({t: values_of(self.bootstrap, self.prefix + t) for t in RESULT_TOPICS})

    def _is_done(self) -> bool:
        steps = self.worker.status().get("steps", {})
        for step, topic in STEPS.items():
            records = read_topic(self.bootstrap, self.prefix + topic)
            ends = [partition[-1].offset + 1 if partition else 0 for partition in records]
            if not any(ends) or [p["next_offset"] for p in steps.get(step, [])] != ends:
                return False
        return True


@pytest.fixture(scope="module")
def results(tansu_server, tmp_path_factory):
    """Two runs: small batches over what is there, large ones over partitions that come by turns."""
    folder = tmp_path_factory.mktemp("same")
    records = make_plays(PLAN) + closing_plays(PLAN, 3 * MINUTE)
    name = f"same{folder.name}"

    small = Run(
        tansu_server, folder, f"{name}a",
        BACKBEAT_FLUSH_INTERVAL="0.05", BACKBEAT_FLUSH_RECORDS="300",
    )  # fmt: skip
    small.produce(records)
    with small.worker:
        first = small.finish()

    large = Run(
        tansu_server, folder, f"{name}b",
        BACKBEAT_FLUSH_INTERVAL="1.0", BACKBEAT_FLUSH_RECORDS="20000",
    )  # fmt: skip
    begun, rest = records[:200], records[200:]
    assert {r.partition for r in begun} == set(range(PARTITIONS))
    large.produce(begun)
    with large.worker:
        for partition in reversed(by_partition(rest, PARTITIONS)):
            large.produce(partition)
        return first, large.finish()


def test_the_data_holds_an_incident_and_late_plays(results):
    """Else two runs that publish nothing would agree, too."""
    first, _ = results
    fired = [f for f in first.findings.values() if f.state == "firing"]
    assert {(f.rule, f.tags["country"], f.tags["platform"]) for f in fired} >= {
        ("playback-errors", "FR", "ios")
    }
    assert first.alerts
    assert first.notifications
    assert sum(w.late > 0 for w in first.last.values()) > 100


def test_two_workers_publish_the_same(results):
    assert_same(*results)
