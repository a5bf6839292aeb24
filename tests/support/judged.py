"""A replay that a real worker judges, beside what the folds alone make of it, and the API that serves it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.api_process import ApiProcess
from tests.support.pipeline import RESULT_TOPICS, Pipeline, Results, Schedule, shipped_steps
from tests.support.plays import DAY, Sent
from tests.support.same import assert_same
from tests.support.topics import produce, values_of
from tests.support.worker import Worker


def of_kind(found: Results, kind: str) -> Results:
    """The windows, findings and alerts of rules of one kind that have series of their own."""
    found.windows = {k: w for k, w in found.windows.items() if f"metric:{kind}:" in w.group}
    found.findings = {k: f for k, f in found.findings.items() if f.kind == kind}
    found.alerts = {k: a for k, a in found.alerts.items() if a.kind == kind}
    found.notifications = set()
    found.late = set()
    return found


def by_the_folds(config: Sequence[Path], topic: str, sent: Sequence[Sent], kind: str) -> Results:
    series, rules = (tomllib.loads(path.read_text(encoding="utf-8")) for path in config)
    pipeline = Pipeline(shipped_steps(series, rules, ("demo",)), max(s.at for s in sent) + 2 * DAY)
    pipeline.send(topic, sent)
    pipeline.run(Schedule(0, sizes=(1_000_000,), fair=0.0))
    return of_kind(pipeline.results(), kind)


@contextmanager
def judged(
    broker: Any,
    name: str,
    folder: Path,
    config: Sequence[Path],
    topic: str,
    sent: Sequence[Sent],
    kind: str,
) -> Iterator[tuple[dict[str, Any], ApiProcess]]:
    """The alert that the API serves, and the API, once a worker has published what the folds do.

    ``config``: the files of series and rules. What is ``sent`` to the topic is a replay that ends.
    """  # fmt: skip
    expected = by_the_folds(config, topic, sent, kind)
    assert expected.alerts
    prefix = f"{name}-"
    env = {
        "BACKBEAT_BROKER": broker.url,
        "BACKBEAT_APP_ID": name,
        "BACKBEAT_TOPIC_PREFIX": prefix,
        "BACKBEAT_ROLES": "ingest,windows,alerts,sqlite",
        "BACKBEAT_SERIES_CONFIG": str(config[0]),
        "BACKBEAT_RULES_CONFIG": str(config[1]),
        "BACKBEAT_SQLITE_PATH": str(folder / "backbeat.db"),
    }

    def read() -> Results:
        values = {each: values_of(broker.bootstrap, prefix + each) for each in RESULT_TOPICS}
        return of_kind(Results.of(values), kind)

    with Worker("faust_app", folder, **env) as worker:
        worker.wait_ready(120)
        produce(broker.bootstrap, f"{prefix}{topic}", sent)
        last = max(window.end for window in expected.windows.values())
        most = sum(w.end == last for w in expected.windows.values())

        def is_done() -> bool:
            made = read()
            return sum(w.end == last for w in made.windows.values()) == most and worker.is_settled()

        worker.wait(is_done, 120, "the last window of all")
        assert_same(read(), expected)
        with ApiProcess(folder, **env) as api:
            api.wait_live()
            worker.wait(lambda: served(api), 60, "the alert over HTTP")
            (alert,) = served(api)
            yield alert, api


def served(api: ApiProcess) -> list[dict[str, Any]]:
    """The incidents of the replay that are over."""
    found = api.get("/api/v1/alerts?stream=replay")["items"]
    return [alert for alert in found if alert["state"] == "resolved"]
