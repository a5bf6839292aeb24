"""The whole job in one worker, through a real broker: events/s, CPU µs/event, peak memory.

``python -m bench.whole_job --broker tansu|kafka [--plays N] [--json OUT]``

N simulated plays (seed 1, no incidents) lie in ``plays`` before the worker starts. Clock: from the moment
every partition is restored until every step has flushed everything. CPU is user + system of the worker
process, all threads, over the same span; peak memory is its resident high-water mark. The baseline in the
same run is the counting worker (the engine with one count per key) on the same records.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from bench.machine import about
from simulate.config import firehose
from simulate.generator import Simulation
from tests.support.kafka import KafkaServer
from tests.support.tansu import TansuServer
from tests.support.worker import Worker

CLOCK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User + system seconds of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK


def peak_mb(pid: int) -> float:
    """Resident high-water mark in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


async def produce(bootstrap: str, topic: str, plays: int, rate: float) -> int:
    """Send simulated plays at full speed; how many."""
    now = time.time_ns() // 1_000_000
    begin = now - int(plays / rate * 1000)
    simulation = Simulation(1, firehose(rate, begin))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=20,
                                max_batch_size=512_000)  # fmt: skip
    await producer.start()
    sent = 0
    for event in simulation.events(begin, now):
        await producer.send(topic, key=event.key, value=event.value, headers=list(event.headers))
        sent += 1
        if sent >= plays:
            break
    await producer.stop()
    return sent
