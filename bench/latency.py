"""Event to alert: how long after an event could be known is its alert readable? p50, p99, worst.

    python -m bench.latency [--to alert|agent] [--broker tansu|kafka] [--rate R] [--seconds S] [--json OUT]

Plays come at R a second in real time; every third slice fails, another third every 30 s, so that alerts keep firing
and resolving (the shipped rule ``playback-errors``). For every version of an alert two spans end when a reader of the topic
``alerts`` has it: from the acknowledgement of the first play whose event time lets the deciding window close (its
end + 10 s lateness), and, as the total, from the window's end itself. Baseline in the same run: an acknowledged
play read back from ``plays`` by a reader of its own. The worker's CPU over the run is given as a share of a core.

``--to agent`` ends where an agent has the play, in a worker that does nothing else: ms since the producer's timestamp, of
every play.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from bench.machine import about, cpu_seconds, tell
from models.records import Alert, decode_alert
from tests.support.kafka import KafkaServer
from tests.support.tansu import TansuServer
from tests.support.worker import Worker

PARTITIONS = 4
LATENESS = 10_000
COUNTRIES = tuple(f"{first}{second}" for first in "ABCD" for second in "EFGHI")
"""As many as give some hundred versions of alerts in five minutes."""

PLATFORMS = ("ios", "android", "web")
SLICES = [(platform, country) for country in COUNTRIES for platform in PLATFORMS]
TICK = 0.05


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


def play(n: int, at: int, began: int) -> tuple[bytes, bytes]:
    """One play of the slice that n falls to; every third slice fails, another third every 30 s."""
    platform, country = SLICES[n % len(SLICES)]
    turn = (at - began) // 30_000
    fails = (n % len(SLICES) + turn) % 3 == 0 and n // len(SLICES) % 2 == 0
    listener = f"l{n * 7919 % 5000}"
    value = {
        "event_id": f"e{n}", "tenant_id": "demo", "listener_id": listener, "track_id": f"t{n % 997}",
        "artist_id": "a", "started_at": at, "ms_played": 60_000, "track_ms": 180_000,
        "platform": platform, "country": country, "source": "radio", "plan": "free",
        "error": "E1" if fails else None, "startup_ms": 500,
    }  # fmt: skip
    return f"demo:{listener}".encode(), msgspec.json.encode(value)


async def produce(
    bootstrap: str, rate: float, seconds: float, known: dict[int, float], sent: dict[bytes, float]
) -> None:
    """Send plays at a steady pace; ``known[second]`` is when the first play of it was acknowledged."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=2)
    await producer.start()
    began, n = now_ms(), 0
    while (elapsed := (now_ms() - began) / 1000) < seconds:
        due = int(elapsed * rate)
        at = now_ms()
        futures = []
        while n < due:
            key, value = play(n, at, began)
            if n % 500 == 0:
                sent[value] = 0.0
            futures.append((value, await producer.send("plays", key=key, value=value)))
            n += 1
        for value, future in futures:
            await future
            if value in sent:
                sent[value] = time.time()
        if futures:
            known.setdefault(at // 1000, time.time())
        await asyncio.sleep(TICK)
    await producer.stop()


async def read(bootstrap: str, topic: str, take: Any) -> None:
    """Hand every record of a topic to ``take`` with the time it was readable, until cancelled."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=50,
        isolation_level="read_committed",
    )  # fmt: skip
    await consumer.start()
    consumer.assign([TopicPartition(topic, p) for p in range(PARTITIONS)])
    try:
        async for record in consumer:
            take(record, time.time())
    finally:
        await consumer.stop()


def echo(sent: dict[bytes, float], echoes: list[float], record: Any, at: float) -> None:
    """Note how many ms after its acknowledgement a play was read back."""
    if acked := sent.get(record.value):
        echoes.append((at - acked) * 1000)


async def ended(readers: list[asyncio.Task[None]]) -> None:
    """End the readers."""
    for task in readers:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def arrive(bootstrap: str, rate: float, seconds: float) -> dict[str, Any]:
    """Produce for a while, read back beside it; the spans in ms."""
    sent: dict[bytes, float] = {}
    echoes: list[float] = []

    reader = asyncio.create_task(read(bootstrap, "plays", partial(echo, sent, echoes)))
    await produce(bootstrap, rate, seconds, {}, sent)
    await asyncio.sleep(2)
    await ended([reader])
    return {"read back (baseline)": summary(echoes)}


def ages(path: Path) -> dict[str, float]:
    """Quantiles of what the worker left behind: [age in ms, plays]."""
    counts = json.loads(path.read_text())
    total = sum(n for _, n in counts)
    found = {"n": total, "worst_ms": counts[-1][0]}
    for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        seen = 0
        for age, n in counts:
            seen += n
            if seen >= share * total:
                found[name] = age
                break
    return found


async def run(bootstrap: str, rate: float, seconds: float) -> dict[str, Any]:
    """Produce and read for a while; the spans in ms."""
    known: dict[int, float] = {}
    sent: dict[bytes, float] = {}
    echoes: list[float] = []
    alerts: list[tuple[Alert, float]] = []

    def take(record: Any, at: float) -> None:
        alerts.append((decode_alert(record.value), at))

    readers = [
        asyncio.create_task(read(bootstrap, "plays", partial(echo, sent, echoes))),
        asyncio.create_task(read(bootstrap, "alerts", take)),
    ]
    await produce(bootstrap, rate, seconds, known, sent)
    await asyncio.sleep(15)
    await ended(readers)
    spans, totals = [], []
    for alert, at in alerts:
        closes = (alert.updated_at + LATENESS) // 1000
        first = next((known[s] for s in range(closes, closes + 5) if s in known), None)
        if first is not None:
            spans.append((at - first) * 1000)
            totals.append(at * 1000 - alert.updated_at)
    return {
        "read back (baseline)": summary(echoes),
        "window may close -> alert readable": summary(spans),
        "window's end -> alert readable": summary(totals),
    }


def summary(values: list[float]) -> dict[str, float]:
    """Quantiles of spans in ms."""
    if len(values) < 2:
        return {"n": len(values)}
    cuts = statistics.quantiles(values, n=100)
    return {"n": len(values), "p50_ms": round(cuts[49]), "p99_ms": round(cuts[98]),
            "worst_ms": round(max(values))}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--to", choices=("alert", "agent"), default="alert")
    parser.add_argument("--broker", choices=("tansu", "kafka"), default="tansu")
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    server = {"tansu": TansuServer, "kafka": KafkaServer}[args.broker]
    server.install()
    folder = Path(tempfile.mkdtemp(prefix="backbeat-bench-"))
    with server(folder) as broker:
        env = {"BACKBEAT_BROKER": broker.url, "BACKBEAT_ROLES": "ingest,windows,alerts"}
        if args.to == "agent":
            env = {"BACKBEAT_BROKER": broker.url, "BENCH_AGES": str(folder / "ages")}
        app = "faust_app" if args.to == "alert" else "bench.engine.workers.arrivals"
        with Worker(app, folder, **env) as worker:
            worker.wait_ready(90)
            assert worker.process is not None
            used, began = cpu_seconds(worker.process.pid), time.monotonic()
            made = run if args.to == "alert" else arrive
            spans = asyncio.run(made(broker.bootstrap, args.rate, args.seconds))
            used = cpu_seconds(worker.process.pid) - used
            share = round(100 * used / (time.monotonic() - began), 1)
            if args.to == "agent":
                worker.kill(signal.SIGTERM)
                spans["produced -> in an agent's hands"] = ages(folder / "ages")
    load = round(os.getloadavg()[0], 1)
    result = {**about(), "to": args.to, "broker": args.broker, "rate": args.rate, "load": load,
              "worker_percent_of_a_core": share, "spans": spans}  # fmt: skip
    tell(result, args.json)


if __name__ == "__main__":
    main()
