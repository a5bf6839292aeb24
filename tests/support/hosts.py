"""Two hosts whose metrics follow their load, of which one breaks: what is judged together, for tests."""

from __future__ import annotations

import json
import math
import random

from models.records import LIVE
from models.topics import END_HEADER, STREAM_HEADER
from tests.support.plays import MINUTE, Sent, partition_of

PARTITIONS = 4
BEGIN = 1_767_225_600_000
"""2026-01-01 00:00 UTC."""

HOSTS = ("db-1", "db-2")
METRICS = ("cpu", "memory", "requests")
MINUTES = 180
BROKEN = range(150, 160)
"""The minutes in which db-1 is busy without requests; each of its values is where it often was."""


def values(minute: int, host: str, draw: random.Random) -> dict[str, float]:
    load = 100 + 50 * math.sin(minute / 9) + draw.gauss(0, 10)
    found = {
        "cpu": 10 + 0.4 * load + draw.gauss(0, 1.5),
        "memory": 30 + 0.2 * load + draw.gauss(0, 1.0),
        "requests": 20 * load + draw.gauss(0, 40),
    }
    if host == "db-1" and minute in BROKEN:
        found["requests"] = 1_050 if load > 100 else 2_900
    return found


def sample(stream: str, host: str, metric: str, at: int, value: float, arrives: int) -> Sent:
    key = f"demo|{metric}{{host={host}}}"
    tags = {"host": host, "core": "0"} if metric == "cpu" else {"host": host}
    body = {"tenant_id": "demo", "name": metric, "value": value, "at": at, "tags": tags,
            "event_id": f"{stream}/{key}/{at}"}  # fmt: skip
    if metric == "cpu":
        key = f"demo|cpu{{core=0,host={host}}}"
    headers = () if stream == LIVE else ((STREAM_HEADER, stream.encode()),)
    return Sent(
        "sample", partition_of(key.encode(), PARTITIONS), arrives, key.encode(),
        json.dumps(body).encode(), headers,
    )  # fmt: skip


def records(stream: str = LIVE, minutes: int = MINUTES, seed: int = 1) -> list[Sent]:
    """Two samples a minute; db-2 has no memory from minute 60 on; some samples come too late."""
    draw, sent = random.Random(seed), []
    for half in range(2 * minutes):
        minute, at = half // 2, BEGIN + half * MINUTE // 2
        for host in HOSTS:
            for metric, value in values(minute, host, draw).items():
                if host == "db-2" and metric == "memory" and minute >= 60:
                    continue
                delay = draw.randrange(8_000)
                if draw.random() < 0.02:
                    delay += draw.choice((MINUTE, 5 * MINUTE))
                own = at + draw.randrange(20_000)
                sent.append(sample(stream, host, metric, own, value, own + delay))
    return sorted(sent, key=lambda s: s.at)


def closing() -> list[Sent]:
    """A sample of another metric on every partition, later than all else: the live stream goes on."""
    at, found = BEGIN + (MINUTES + 10) * MINUTE, {}
    for i in range(100):
        made = sample(LIVE, f"other-{i}", "disk", at, 1.0, at)
        found.setdefault(made.partition, made)
    return list(found.values())


def end_markers() -> list[Sent]:
    headers = ((STREAM_HEADER, b"replay"), (END_HEADER, b"1"))
    at = BEGIN + (MINUTES + 10) * MINUTE
    return [Sent("end", p, at, b"", None, headers) for p in range(PARTITIONS)]
