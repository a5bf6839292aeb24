"""The whole job, in one worker or more, through a real broker: events/s, CPU µs/event, peak memory.

``python -m bench.whole_job [--broker tansu|kafka] [--plays N] [--rate R] [--workers 1|2] [--json OUT]``

N simulated plays (seed 1, R a second of event time, no incidents) lie in ``plays`` before the worker starts.
The clock runs from the moment every worker has its share of the partitions until every step has flushed all it
got. CPU is user + system of the worker processes, all threads, over that span. Baseline in the same run: the counting
worker (the same engine, one count per key and a changelog) on the same records.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.machine import about, cpu_seconds, peak_mb, tell
from simulate.config import firehose
from simulate.generator import Simulation
from tests.support.kafka import KafkaServer
from tests.support.tansu import TansuServer
from tests.support.worker import Worker, wait_until

PARTITIONS = 4


async def produce(bootstrap: str, topic: str, plays: int, rate: float) -> None:
    """Fill the topic with simulated plays; all acknowledged on return."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, PARTITIONS, 1)])
    await admin.close()
    end = time.time_ns() // 1_000_000
    begin = end - int(plays / rate * 1000) - 60_000
    events = Simulation(1, firehose(rate, begin)).events(begin, end)
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=20, max_batch_size=512_000
    )
    await producer.start()
    for event in islice(events, plays):
        await producer.send(topic, key=event.key, value=event.value, headers=list(event.headers))
    await producer.stop()


def measure(app: str, bootstrap: str, plays: int, count: int, **env: str) -> dict[str, Any]:
    """Run some workers over what lies in ``plays``, from the moment each has its share."""
    with ExitStack() as stack:
        workers = []
        for _ in range(count):
            folder = Path(tempfile.mkdtemp(prefix="backbeat-bench-"))
            worker = Worker(app, folder, BACKBEAT_BROKER=f"kafka://{bootstrap}", **env)
            workers.append(stack.enter_context(worker))
        wait_until(lambda: all(is_at_work(w, PARTITIONS // count) for w in workers), 120, "shared")
        pids = [worker.process.pid for worker in workers if worker.process is not None]
        cpu, began = sum(map(cpu_seconds, pids)), time.monotonic()
        already = sum(map(folded, workers))
        wait_until(
            lambda: sum(map(folded, workers)) >= plays and not any(w.lag() for w in workers),
            1800, "all folded",
        )  # fmt: skip
        seconds = time.monotonic() - began
        used = sum(map(cpu_seconds, pids)) - cpu
        peak = max(map(peak_mb, pids))
    done = plays - already
    return {
        "workers": count,
        "events": done,
        "seconds": round(seconds, 2),
        "events_per_s": round(done / seconds),
        "cpu_us_per_event": round(used / done * 1e6, 2),
        "peak_mb": round(peak),
    }


def is_at_work(worker: Worker, share: int) -> bool:
    """Whether a worker has its share of every step's partitions, restored."""
    steps = worker.status().get("steps", {})
    return bool(steps) and all(
        len(parts) == share and all(p["ready"] for p in parts) for parts in steps.values()
    )


def folded(worker: Worker) -> int:
    """Source records whose effects are flushed."""
    steps = worker.status().get("steps", {})
    step = steps.get("plays") or steps.get("count") or []
    return sum(p["next_offset"] for p in step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--broker", choices=("tansu", "kafka"), default="tansu")
    parser.add_argument("--plays", type=int, default=200_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--workers", type=int, default=1, choices=(1, 2, 4))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    server = {"tansu": TansuServer, "kafka": KafkaServer}[args.broker]
    server.install()
    with server(Path(tempfile.mkdtemp(prefix="backbeat-broker-"))) as broker:
        asyncio.run(produce(broker.bootstrap, "plays", args.plays, args.rate))
        rows = {
            "counting (baseline)": measure(
                "tests.support.counting_app", broker.bootstrap, args.plays, args.workers,
                BACKBEAT_APP_ID="count",
            ),
            "whole job, no store": measure(
                "faust_app", broker.bootstrap, args.plays, args.workers,
                BACKBEAT_ROLES="ingest,windows,alerts", BACKBEAT_APP_ID="whole",
            ),
        }  # fmt: skip
    result = {**about(), "broker": args.broker, "rate": args.rate, "rows": rows}
    tell(result, args.json)


if __name__ == "__main__":
    main()
