"""Who runs what: one case is a row of the table, with its data set, its command and its settings.

Settings are each system's best for this job on two cores, found by trying. All commit about twice a
second, but for Quix and Bytewax (once), Faust (its 2.8 s) and us where a batch is full sooner.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.engine import check
from bench.engine.dataset import Dataset
from tests.support.cache import build, cached, tool

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VENV = ROOT / ".cache" / "bench-venv"
LOCK = HERE / "requirements.lock"

FAST, MANY, MIDDLE, SLOW, SLOWEST = 12_000_000, 3_000_000, 600_000, 120_000, 60_000
"""Events of a case: enough for about thirty steady seconds at its speed. MANY is for 200,000 keys."""

OURS = {"BACKBEAT_FLUSH_RECORDS": "20000", "BACKBEAT_FLUSH_INTERVAL": "0.5"}


@dataclass(frozen=True)
class Case:
    """``variant`` tells apart rows of the same system and job; empty for its only one."""

    system: str
    job: str
    variant: str = ""
    keys: int = 500
    payload: str = "plays"
    broker: str = "kafka"
    events: int = FAST
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What ``--only`` matches, and the row's identity."""
        parts = [self.system, self.job, self.variant, str(self.keys)]
        parts += [self.payload] if self.payload != "plays" else []
        parts += ["embedded"] if self.broker == "tansu" else []
        return "/".join(part for part in parts if part)

    def dataset(self, shrink: int) -> Dataset:
        """Its input; a quick run's is ``shrink`` times smaller."""
        return Dataset(self.payload, self.keys, self.events // shrink)

    @property
    def restores(self) -> bool:
        """Whether its restart with state is timed too; Bytewax has none left when its input ends."""
        return self.job == "windowed" and self.keys > 1_000 and self.system != "bytewax"


def _ours(job: str, variant: str, **more: object) -> Case:
    env = {**OURS, "BACKBEAT_FLUSH": variant} if variant else OURS
    return Case("backbeat", job, variant, env=env, **more)  # type: ignore[arg-type]


def cases() -> list[Case]:
    """Every row, in the order of a round."""
    many = {"keys": 200_000}
    found = [
        _ours("raw", ""),
        Case("aiokafka", "raw"),
        Case("kafka-streams", "raw"),
        Case("faust", "raw", events=SLOW // 2),
        Case("quix", "raw", events=MIDDLE),
        Case("bytewax", "raw", events=FAST),
    ]
    for size in ({}, many):
        fast = {**size, "events": MANY if size else FAST}
        # Its cache gathers changes of a key that comes again soon; of many keys it costs twice what it saves.
        theirs = {**fast, "env": {"BENCH_CACHE": "0"}} if size else fast
        found += [
            _ours("windowed", "transactions", **fast),
            Case("kafka-streams", "windowed", "exactly_once_v2", **theirs),
            _ours("windowed", "plain", **fast),
            Case("kafka-streams", "windowed", "at_least_once", **theirs),
            _ours("windowed", "plain", broker="tansu", **fast),
            Case("faust", "windowed", events=SLOWEST, **size),  # type: ignore[arg-type]
            Case("quix", "windowed", events=MIDDLE, **size),  # type: ignore[arg-type]
            Case("bytewax", "windowed", events=MIDDLE, **size),  # type: ignore[arg-type]
        ]
    found += [
        _ours("raw", "", broker="tansu"),
        _ours("windowed", "transactions", payload="metrics"),
        Case("kafka-streams", "windowed", "exactly_once_v2", payload="metrics"),
        Case("backbeat", "whole-job", "transactions", keys=0, events=MIDDLE),
        Case("backbeat", "whole-job", "plain", keys=0, events=MIDDLE, broker="tansu"),
    ]
    return found


DECODERS: dict[str, check.Decode] = {
    "backbeat": check.backbeat_cells,
    "kafka-streams": check.streams_cells,
    "faust": check.faust_cells,
    "quix": check.quix_cells,
}


def command(case: Case) -> list[str]:
    """What starts its worker."""
    rival, workers = str(VENV / "bin" / "python"), "bench.engine.workers"
    faust = [sys.executable, "-m", "faust", "-A"]
    match case.system:
        case "backbeat":
            return [*faust, f"{workers}.backbeat_app", "worker", "--without-web", "-l", "info"]
        case "faust":
            return [*faust, f"{workers}.plain_faust", "worker", "--without-web", "-l", "warn"]
        case "aiokafka":
            return [sys.executable, "-m", f"{workers}.bare_aiokafka"]
        case "quix":
            return [rival, "-m", f"{workers}.quix"]
        case "bytewax":
            return [rival, "-m", f"{workers}.bytewax_flow"]
        case _:
            quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
            heap = ["-Xms512m", "-Xmx2g", "-XX:+UseParallelGC"]
            guarantee = case.variant or "at_least_once"
            return [
                tool("java"),
                *heap,
                quiet,
                "-cp",
                f"{streams_jars()}/*",
                "bench.Windows",
                guarantee,
            ]


def environment(
    case: Case, dataset: Dataset, bootstrap: str, group: str, folder: Path
) -> dict[str, str]:
    """What its worker is told; of ours only what the case sets."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BACKBEAT_", "BENCH_"))}
    return {
        **kept,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "BENCH_BOOTSTRAP": bootstrap,
        "BENCH_TOPIC": dataset.topic,
        "BENCH_GROUP": group,
        "BENCH_JOB": case.job,
        "BENCH_PAYLOAD": case.payload,
        "BENCH_FOLDER": str(folder / "state"),
        "BENCH_STATUS": str(folder / "status"),
        "BENCH_RESULTS": str(folder / "results"),
        "BACKBEAT_BROKER": f"kafka://{bootstrap}",
        "BACKBEAT_APP_ID": group,
        "BACKBEAT_TOPIC_PREFIX": dataset.prefix,
        "BACKBEAT_DATA_DIR": str(folder / "data"),
        "BACKBEAT_SESSION_TIMEOUT": "6",
        **case.env,
    }


def install(systems: set[str]) -> None:
    """Bring what the systems need: their own environment from its lock, the Java program by Maven."""
    if systems & {"quix", "bytewax"}:
        bench_python()
    if "kafka-streams" in systems:
        streams_jars()


def bench_python() -> Path:
    """Python of the environment of what only the bench needs, made anew when its lock has changed."""
    stamp, lock = VENV / "lock.sha256", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    python = VENV / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != lock:
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--clear", "-q", "-p", sys.executable, str(VENV)], check=True)
        install = [uv, "pip", "sync", "-q", "-p", str(python), "--require-hashes", str(LOCK)]
        subprocess.run(install, check=True)
        stamp.write_text(lock)
    return python


def streams_jars() -> Path:
    """Folder with the Java program and what it needs, built if need be."""
    project = HERE / "kafka_streams"
    sources = sorted([project / "pom.xml", *project.rglob("*.java")])
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]
    folder: Path = cached(f"bench-kafka-streams-{code}", _build_streams)
    return folder


def _build_streams(folder: Path) -> None:
    pom = str(HERE / "kafka_streams" / "pom.xml")
    target = folder / "target"
    goals = ["package", "dependency:copy-dependencies", "-DincludeScope=runtime"]
    places = [f"-Dbench.target={target}", f"-DoutputDirectory={folder}"]
    build([tool("mvn"), "-q", "-B", "-f", pom, *places, *goals])
    (target / "bench-kafka-streams.jar").rename(folder / "bench-kafka-streams.jar")
