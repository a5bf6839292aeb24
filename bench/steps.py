"""Each step's own cost in one process, and the memory of its state: no broker, no engine.

    python -m bench.steps [--hours H] [--json OUT]
    python -m bench.steps --rate R [--plays N] [--batch B]

The demo's service (seed 7, one tenant, shipped configuration) for H hours of event time, its plays dealt to four
source partitions and folded 500 records a batch, as the worker's agents do: plays -> partials -> windows with
detectors and rules -> findings -> alerts, and what each flush would encode. CPU time of the process by step.
Baseline in the same run: decoding the same plays with msgspec alone. Memory is what the resident set grows by,
after a collection, of listeners (profiles, eligibility, dedupe) and of 2,000 series of metrics (panes, windows,
a detector each; a sample a minute for 20 minutes), each scaled to 10,000.

With ``--rate``: N plays of the simulator's firehose (seed 1, 100,000 listeners), R a second of event time, B records
a batch, the steps only, and each batch's cost at the lower quartile: what the machine does besides falls out. As in
a worker, records on a wrong partition would be forwarded.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from agents.judging import JUDGE_STORES, RuleBook, RuleJudge
from alerts.incidents import INCIDENT_STORES, IncidentConfig, fold_findings
from alerts.rules import load_rules
from bench.machine import about
from engine.app import GC_THRESHOLDS
from engine.flush import partition_of
from engine.store import PartitionState
from models.config import load_series_config
from models.flow import TIMERS, Batch, Output, Record, Records
from models.series import format_key
from simulate.config import demo, firehose
from simulate.generator import Simulation
from tables.ingest import METRIC_STORES, PLAY_STORES, IngestConfig, fold_metrics, fold_plays
from tables.windowing import WINDOW_STORES, WindowsConfig, fold_windows

ROOT = Path(__file__).parents[1]
PARTITIONS = 4
BATCH = 500
HOUR = 3_600_000


class Counters:
    """Counts nothing."""

    def count(self, name: str, reason: str, n: int = 1) -> None:
        """Take a count."""


class Pipeline:
    """The three steps over four partitions, timed."""

    def __init__(self) -> None:
        self.series = load_series_config(ROOT / "config" / "series.toml")
        rules, receivers = load_rules(ROOT / "config" / "rules.toml", self.series)
        counters = Counters()
        self.ingest = IngestConfig(
            series=self.series, tenants=frozenset({"demo"}), partials=PARTITIONS,
            sources=PARTITIONS, counters=counters, forwarding=True,
        )  # fmt: skip
        sources = {"plays": PARTITIONS, "metrics": PARTITIONS}
        self.windows = WindowsConfig(series=self.series, sources=sources, counters=counters)
        self.incidents = IncidentConfig(receivers=receivers, counters=counters)
        self.judge = RuleJudge(RuleBook(rules), (w.size for w in self.series.windows))
        self.states = {
            "plays": [PartitionState(PLAY_STORES) for _ in range(PARTITIONS)],
            "metrics": [PartitionState(METRIC_STORES) for _ in range(PARTITIONS)],
            "partials": [
                PartitionState((*WINDOW_STORES, *JUDGE_STORES)) for _ in range(PARTITIONS)
            ],
            "findings": [PartitionState(INCIDENT_STORES) for _ in range(PARTITIONS)],
        }
        self.queues: dict[tuple[str, int], list[Record]] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.made: Counter[str] = Counter()
        self.changelog_bytes = 0
        self.ingested: list[tuple[float, int]] = []

    def feed(self, source: str, number: int, records: Sequence[Record], now: int) -> None:
        """Fold one batch of a source, then what follows from it."""
        fold = fold_plays if source == "plays" else fold_metrics
        self._run(source, number, records, now, lambda b, s: fold(b, s, now, self.ingest))

    def follow(self, now: int) -> None:
        """Fold everything that waits between the steps."""
        for number in range(PARTITIONS):
            waiting = self.queues.pop(("partials", number), [])
            again = True
            while again:
                self._run("partials", number, waiting, now,
                          lambda b, s: fold_windows(b, s, now, self.windows, self.judge))  # fmt: skip
                waiting = []
                timers = self.states["partials"][number].stores[TIMERS]
                again = bool(timers)
                timers.clear()
        for number in range(PARTITIONS):
            waiting = self.queues.pop(("findings", number), [])
            self._run("findings", number, waiting, now,
                      lambda b, s: fold_findings(b, s, now, self.incidents))  # fmt: skip

    def _run(
        self, source: str, number: int, records: Sequence[Record], now: int,
        fold: Callable[[Batch, Any], list[Output]],
    ) -> None:  # fmt: skip
        state = self.states[source][number]
        began = time.process_time()
        outputs = fold(Batch(source, number, records, at_end=False), state.stores)
        folded = time.process_time()
        changes = state.freeze(0, now)
        self.seconds[source] += folded - began
        if source == "plays":
            self.ingested.append((folded - began, len(records)))
        self.seconds["encode changelog"] += time.process_time() - folded
        self.changelog_bytes += sum(len(v or b"") for _, v in changes)
        for out in outputs:
            self.made[out.topic] += 1
            target = out.partition
            if target is None:
                target = partition_of(out.key, PARTITIONS)
            if out.topic in {"partials", "findings"}:
                queue = self.queues.setdefault((out.topic, target), [])
                queue.append(Record(len(queue), now, out.key, out.value, out.headers))


def resident_mb() -> float:
    """Resident set of this process in MB, after a collection."""
    gc.collect()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def dealt(
    records: Sequence[tuple[bytes | None, bytes | None, Any]], now: int
) -> list[list[Record]]:
    """Records by the partition of their key."""
    parts: list[list[Record]] = [[] for _ in range(PARTITIONS)]
    for key, value, headers in records:
        part = parts[partition_of(key, PARTITIONS)]
        part.append(Record(len(part), now, key, value, tuple(headers)))
    return parts


def steps(hours: float) -> dict[str, Any]:
    """Seconds and µs by step over the demo's plays."""
    now = time.time_ns() // 1_000_000
    simulation = Simulation(7, demo(now))
    return folded(list(simulation.events(now - int(hours * HOUR), now)), now, BATCH)


def dense(rate: float, plays: int, size: int) -> dict[str, Any]:
    """The same over plays that come so densely that few windows close among them."""
    now = time.time_ns() // 1_000_000
    begin = now - int(plays / rate * 1000) - 60_000
    simulation = Simulation(1, firehose(rate, begin))
    return folded(list(islice(simulation.events(begin, now), plays)), now, size)


def folded(simulated: Sequence[Any], now: int, size: int) -> dict[str, Any]:
    """What folding these events costs, by step."""
    events = [(e.key, e.value, e.headers) for e in simulated]
    began = time.process_time()
    decode = msgspec.json.Decoder().decode
    for _, value, _ in events:
        try:
            decode(value or b"")
        except (msgspec.DecodeError, ValueError):
            continue
    baseline = time.process_time() - began
    pipeline = Pipeline()
    parts = [Records.of(part) for part in dealt(events, now)]
    gc.collect()
    gc.freeze()  # as the worker does after a restore
    gc.set_threshold(*GC_THRESHOLDS)
    for at in range(0, max(map(len, parts)), size):
        for number, part in enumerate(parts):
            pipeline.feed("plays", number, part[at : at + size], now)
        pipeline.follow(now)
    names = {"plays": "ingest", "partials": "windows, detection, rules", "findings": "alerts"}
    cost = {names.get(k, k): round(v / len(events) * 1e6, 2) for k, v in pipeline.seconds.items()}
    whole = sum(pipeline.seconds.values())
    batches = sorted(s / n for s, n in pipeline.ingested if n >= size)
    return {
        "plays": len(events),
        "cpu_us_per_play": {"msgspec alone (baseline)": round(baseline / len(events) * 1e6, 2),
                            **cost, "together": round(whole / len(events) * 1e6, 2)},
        "ingest_us_lower_quartile": round(batches[len(batches) // 4] * 1e6, 2) if batches else None,
        "plays_per_cpu_second": round(len(events) / whole),
        "windows": pipeline.made["windows"],
        "cpu_us_per_window": round(pipeline.seconds["partials"] / max(1, pipeline.made["windows"]) * 1e6),
        "changelog_bytes_per_play": round(pipeline.changelog_bytes / len(events)),
    }  # fmt: skip


def listeners_memory(listeners: int = 10_000) -> dict[str, Any]:
    """MB that the ingest state grows by, per 10,000 listeners."""
    now = time.time_ns() // 1_000_000
    events = Simulation(7, firehose(100.0, now - HOUR)).events(now - HOUR, now)
    rows = [(e.key, e.value, e.headers) for e in events]
    parts = dealt(rows, now)
    pipeline = Pipeline()
    before = resident_mb()
    for at in range(0, max(map(len, parts)), BATCH):
        for number, part in enumerate(parts):
            pipeline.feed("plays", number, part[at : at + BATCH], now)
        pipeline.queues.clear()
    profiles = sum(len(s.stores["profiles"]) for s in pipeline.states["plays"])
    grown = resident_mb() - before
    return {"listeners": profiles, "plays": len(rows),
            "mb_per_10000_listeners": round(grown / profiles * listeners, 1)}  # fmt: skip


def series_memory(series: int = 2_000, samples: int = 20) -> dict[str, Any]:
    """MB that ingest and windows state grow by for metrics series, a sample a minute each."""
    now = time.time_ns() // 1_000_000
    start = now // 60_000 * 60_000 - samples * 60_000
    pipeline = Pipeline()
    before = resident_mb()
    for i in range(samples):
        rows: list[tuple[bytes | None, bytes | None, Any]] = []
        for n in range(series):
            key = format_key("demo", "cpu", {"host": f"h{n}"}).encode()
            value = {"tenant_id": "demo", "name": "cpu", "value": float((n * 7 + i * 13) % 100),
                     "at": start + i * 60_000, "tags": {"host": f"h{n}"}}  # fmt: skip
            rows.append((key, msgspec.json.encode(value), ()))
        for number, part in enumerate(dealt(rows, now)):
            pipeline.feed("metrics", number, part, now)
        pipeline.follow(now)
    kept = sum(len(s.stores["instances"]) for s in pipeline.states["partials"])
    grown = resident_mb() - before
    return {"series": kept, "samples_each": samples,
            "mb_per_10000_series": round(grown / max(1, kept) * 10_000, 1)}  # fmt: skip


def memory() -> dict[str, Any]:
    """Each in a process of its own: what one frees, another must not seem to use."""
    with ProcessPoolExecutor(
        1, multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        return {
            "listeners": pool.submit(listeners_memory).result(),
            "series": pool.submit(series_memory).result(),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--rate", type=float, help="of the firehose, plays/s; leaves memory out")
    parser.add_argument("--plays", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=5_000)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.rate:
        result = {**about(), "steps": dense(args.rate, args.plays, args.batch)}
    else:
        result = {**about(), "steps": steps(args.hours), "memory": memory()}
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
