"""One run of one case: brokers and data sets are there once, every run has a group and a folder of its own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from bench import whole_job
from bench.engine import check
from bench.engine.cases import DECODERS, Case, command, environment
from bench.engine.dataset import Dataset
from bench.engine.preload import preload
from bench.engine.process import Process, figures
from bench.engine.rows import rounded
from bench.engine.workers.progress import read
from bench.machine import about
from tests.support.kafka import KafkaServer
from tests.support.process import ServerProcess, free_port
from tests.support.tansu import TansuServer

BROKER_SETTINGS = {
    # Event times lie in the past: no log is cut or compacted while it is measured or checked.
    "log.retention.ms": "-1",
    "log.retention.check.interval.ms": "86400000",
    "log.cleaner.enable": "false",
    "transaction.max.timeout.ms": "900000",
}

Progress = Callable[[], tuple[int, int]]


DENSITY = 20_000.0
"""Plays a second of event time in the whole job: windows are published by event time, plays amortise them."""


class Bench:
    """Holds the brokers; each is started when a case first wants it."""

    def __init__(self, folder: Path, shrink: int) -> None:
        self._folder = folder
        self._shrink = shrink
        self._brokers: dict[str, Any] = {}
        self._loaded: set[tuple[str, Dataset]] = set()
        self._expected: dict[Dataset, Dataset] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for broker in self._brokers.values():
            broker.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, case: Case) -> dict[str, Any]:
        """Run a case once and return its figures.

        Raises RunError if the worker fails, or its windows are not what the events come to.
        """
        broker = self._broker(case.broker)
        where = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            if case.job == "whole-job":
                run = self._whole_job(case, broker)
            else:
                run = _run(case, self._dataset(case, broker), broker, where)
        finally:
            shutil.rmtree(where, ignore_errors=True)
        run["load"] = rounded(os.getloadavg()[0])
        machine = about()
        return {**run, "seed": 1, "commit": machine["commit"], "date": machine["date"]}

    def _broker(self, kind: str) -> Any:
        if kind not in self._brokers:
            folder = self._folder / kind
            server: ServerProcess = (
                TansuServer(folder)
                if kind == "tansu"
                else KafkaServer(folder, None, BROKER_SETTINGS)
            )
            self._brokers[kind] = server.start()
        return self._brokers[kind]

    def _dataset(self, case: Case, broker: Any) -> Dataset:
        wanted = case.dataset(self._shrink)
        dataset = self._expected.setdefault(wanted, wanted)  # what is expected is computed once
        if (case.broker, dataset) not in self._loaded:
            asyncio.run(preload(broker.bootstrap, dataset))
            self._loaded.add((case.broker, dataset))
        return dataset

    def _whole_job(self, case: Case, broker: Any) -> dict[str, Any]:
        """The shipped agents on simulated plays; their results are proven by the crash tests."""
        prefix, plays = f"whole-{uuid.uuid4().hex[:6]}-", case.events // self._shrink
        asyncio.run(whole_job.produce(broker.bootstrap, f"{prefix}plays", plays, DENSITY))
        env = {"BACKBEAT_FLUSH": case.variant, "BACKBEAT_ROLES": "ingest,windows,alerts"}
        names = {"BACKBEAT_APP_ID": prefix.rstrip("-"), "BACKBEAT_TOPIC_PREFIX": prefix}
        run = whole_job.measure("faust_app", broker.bootstrap, plays, 1, **env, **names)
        return {**run, "broker_us_per_event": None}


def _progress(case: Case, port: int, folder: Path) -> Progress:
    """How to ask a worker how far it is: ours by its readiness page, others by their file."""
    if case.system != "backbeat":
        return lambda: read(folder / "status")
    return lambda: _flushed(port)


def _flushed(port: int) -> tuple[int, int]:
    """Whether every partition is restored (as a time), and how many records are flushed."""
    url = f"http://127.0.0.1:{port}/health/ready"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            ready, document = True, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        ready, document = False, json.loads(error.read() or b"{}")
    except (OSError, urllib.error.URLError):
        return 0, 0
    partitions = document.get("steps", {}).get("count", [])
    now = time.time_ns() // 1_000_000
    return now if ready else 0, sum(p["next_offset"] for p in partitions)


def _run(case: Case, dataset: Dataset, broker: Any, folder: Path) -> dict[str, Any]:
    group, port = f"b{uuid.uuid4().hex[:8]}", free_port()
    env = environment(case, dataset, broker.bootstrap, group, folder)
    env["BACKBEAT_METRICS_PORT"] = str(port)
    progress = _progress(case, port, folder)
    every = 0.2 if case.system == "backbeat" else 0.1
    with Process(command(case), env, folder / "worker.log") as worker:
        start = worker.wait_ready(progress)
        samples, peak = worker.watch(progress, dataset.events, broker.pid, every)
        worker.stop(ask=case.system != "bytewax")  # which ends with its input
    speed = figures(samples, dataset.events)
    run: dict[str, Any] = {
        "events": dataset.events, "events_per_s": rounded(speed.events_per_s),
        "cpu_us_per_event": rounded(speed.cpu_us_per_event),
        "broker_us_per_event": rounded(speed.broker_us_per_event),
        "seconds": rounded(speed.seconds), "peak_mb": rounded(peak), "start_s": rounded(start),
    }  # fmt: skip
    if case.job == "windowed":
        records = _check(case, dataset, broker.bootstrap, group, folder)
        if case.restores:
            run |= _restore(case, env, progress, folder, start, records)
    return run


def _check(case: Case, dataset: Dataset, bootstrap: str, group: str, folder: Path) -> int:
    if case.system == "bytewax":
        check.check_file(dataset, folder / "results")
        return 0
    decode = DECODERS[case.system]
    return asyncio.run(check.check_changelog(bootstrap, dataset, group, decode))


def _restore(
    case: Case, env: dict[str, str], progress: Progress, folder: Path, start: float, records: int
) -> dict[str, Any]:
    """Start once more, nothing kept on disk; what it takes longer than with no state is restoring."""
    for name in ("state", "data"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "status").unlink(missing_ok=True)
    with Process(command(case), env, folder / "again.log") as worker:
        again = worker.wait_ready(progress)
    rate = rounded(records / (again - start)) if again - start > 0.2 else None
    return {
        "restore_s": rounded(again), "restore_records": records, "restore_records_per_s": rate,
    }  # fmt: skip
