"""The same job with one worker and with two, in turns, on one Apache Kafka: who takes which part of the machine.

    python -m bench.scaling [--job windowed|whole] [--events N] [--workers 1 2 1 2] [--flush-records N]
                            [--flush-interval S] [--json OUT]

``windowed`` counts and sums 300-byte plays of 500 keys per 10 s window (the engine alone), ``whole`` is the shipped
agents on simulated plays, 20,000 a second of event time. Input lies in 4 partitions before a worker starts. The clock
runs from the moment every worker has its share of the partitions until the first of them has folded all of its share:
while all are at work. CPU µs an event are user + system, all threads, of all workers and of the broker, in that span;
``others`` is what every other process took of the machine, in cores: where it is not near 0, events/s tell little and
µs an event a little more than on a quiet machine. A broker's first run is slower (its JIT compiler), so begin with one
that you throw away. ``settled_s`` is until every step had flushed all it got. Baseline: the row with one worker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from bench import whole_job
from bench.engine.dataset import PARTITIONS, Dataset
from bench.engine.preload import preload
from bench.machine import CLOCK, about, cpu_seconds, peak_mb
from tests.support.kafka import KafkaServer
from tests.support.worker import Worker, wait_until

DENSITY = 20_000.0
"""Plays a second of event time in the whole job."""

KEEP = {"log.retention.ms": "-1"}
"""Event times lie in the past."""


class Look(NamedTuple):
    """One look: seconds, plays folded, CPU seconds of the workers, the broker and the whole machine."""

    at: float
    folded: int
    workers: float
    broker: float
    machine: float


def machine_seconds() -> float:
    """CPU seconds that the machine has worked so far, for whoever."""
    user, nice, system, _idle, _wait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / CLOCK


def look(workers: list[Worker], broker: int) -> Look:
    """How far they are, and what it took."""
    used = sum(cpu_seconds(w.process.pid) for w in workers if w.process is not None)
    done = sum(map(whole_job.folded, workers))
    return Look(time.monotonic(), done, used, cpu_seconds(broker), machine_seconds())


def has_folded_its_share(worker: Worker) -> bool:
    """Whether nothing of the source is left to a worker; before a first fetch no end is known."""
    steps = worker.status().get("steps", {})
    source = steps.get("plays") or steps.get("count") or []
    return bool(source) and all(p["highwater"] >= 0 and p["lag"] == 0 for p in source)


def measure(app: str, broker: Any, count: int, env: dict[str, str]) -> dict[str, Any]:
    """One run with so many workers."""
    with ExitStack() as stack:
        workers = [
            stack.enter_context(
                Worker(
                    app,
                    Path(tempfile.mkdtemp(prefix="backbeat-bench-")),
                    BACKBEAT_BROKER=f"kafka://{broker.bootstrap}",
                    **env,
                )
            )
            for _ in range(count)
        ]
        share = PARTITIONS // count
        wait_until(lambda: all(whole_job.is_at_work(w, share) for w in workers), 120, "shared")
        first = look(workers, broker.pid)
        wait_until(lambda: any(map(has_folded_its_share, workers)), 900, "one share folded")
        last = look(workers, broker.pid)
        wait_until(lambda: not any(w.lag() for w in workers), 900, "all flushed")
        settled = time.monotonic() - first.at
        peak = max(peak_mb(w.process.pid) for w in workers if w.process is not None)
    return {"workers": count, **figures(first, last), "settled_s": round(settled, 1),
            "peak_mb": round(peak)}  # fmt: skip


def figures(first: Look, last: Look) -> dict[str, float]:
    """What happened between two looks."""
    events, seconds = last.folded - first.folded, last.at - first.at
    workers, broker = last.workers - first.workers, last.broker - first.broker
    others = last.machine - first.machine - workers - broker
    return {
        "events": events,
        "seconds": round(seconds, 1),
        "events_per_s": round(events / seconds),
        "worker_us_per_event": round(workers / events * 1e6, 2),
        "broker_us_per_event": round(broker / events * 1e6, 2),
        "worker_cores": round(workers / seconds, 2),
        "broker_cores": round(broker / seconds, 2),
        "others_cores": round(others / seconds, 2),
    }


def whole(events: int, broker: Any, name: str) -> tuple[str, dict[str, str]]:
    """Topics of their own, filled: a run would read what the one before it has put out."""
    asyncio.run(whole_job.produce(broker.bootstrap, f"{name}-plays", events, DENSITY))
    return "faust_app", {
        "BACKBEAT_TOPIC_PREFIX": f"{name}-", "BACKBEAT_ROLES": "ingest,windows,alerts",
    }  # fmt: skip


def windowed(events: int, broker: Any, name: str) -> tuple[str, dict[str, str]]:
    """One topic for all runs: the job puts nothing out but its changelog."""
    dataset = Dataset("plays", 500, events)
    if name == "run0":
        asyncio.run(preload(broker.bootstrap, dataset))
    return "bench.engine.workers.backbeat_app", {
        "BACKBEAT_TOPIC_PREFIX": dataset.prefix, "BENCH_JOB": "windowed", "BENCH_PAYLOAD": "plays",
    }  # fmt: skip


JOBS = {"windowed": windowed, "whole": whole}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--job", choices=list(JOBS), default="windowed")
    parser.add_argument("--events", type=int, default=3_000_000)
    parser.add_argument("--workers", type=int, nargs="+", choices=(1, 2, 4), default=[1, 2, 1, 2])
    parser.add_argument("--flush-records", default="20000")
    parser.add_argument("--flush-interval", default="0.5")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    KafkaServer.install()
    folder = Path(tempfile.mkdtemp(prefix="backbeat-broker-"))
    with KafkaServer(folder, None, KEEP) as broker:
        flush = {
            "BACKBEAT_FLUSH_RECORDS": args.flush_records,
            "BACKBEAT_FLUSH_INTERVAL": args.flush_interval,
        }
        rows = []
        for number, count in enumerate(args.workers):
            name = f"run{number}"
            app, env = JOBS[args.job](args.events, broker, name)
            rows.append(measure(app, broker, count, {**env, **flush, "BACKBEAT_APP_ID": name}))
            print(json.dumps(rows[-1]), flush=True)
    result = {**about(), "seed": 1, "job": args.job, "flush": flush, "rows": rows}
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
