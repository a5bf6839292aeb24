"""The same series through the whole system: replay, broker, windows, detector, rules, alerts.

    python -m bench.known_cause_live --corpus DIR [--groups realKnownCause]

Each file is replayed with ``backbeat replay`` as a stream of its own (original event times) into the embedded
broker, a worker runs the shipped configuration, and the alerts are read from the topic ``alerts``. Beside
them: the same rule run over the values directly (what the system should equal but for its own panes), and
a z-score and a metronome that give about as many alerts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from aiokafka.structs import TopicPartition

from bench.known_cause import compare, count_alerts, shipped_rule, show, spans
from bench.machine import about
from bench.nab.corpus import Series, read_corpus
from engine.changelog import read_to_end, reader
from models.records import Alert, decode_alert
from tests.support.tansu import TansuServer
from tests.support.worker import Worker, wait_until

PARTITIONS = 4
LABEL = "through the broker"


def stream_of(series: Series) -> str:
    """The name of the stream that a file is replayed as."""
    return "nab-" + Path(series.name).stem


def replay(corpus: Path, series: Series, env: dict[str, str]) -> None:
    """Send one file; returns when the broker has it all."""
    metric = Path(series.name).stem
    command = [sys.executable, "-m", "cli", "replay", str(corpus / "data" / series.name),
               "--metric", metric, "--stream", stream_of(series)]  # fmt: skip
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)


async def read_alerts(bootstrap: str) -> list[Alert]:
    """Every version of every alert."""
    found: list[Alert] = []
    async with reader(bootstrap) as consumer:
        tps = [TopicPartition("alerts", p) for p in range(PARTITIONS)]
        await read_to_end(
            consumer, tps, lambda _, records: found.extend(decode_alert(r.value) for r in records)
        )
    return found


def through_broker(corpus: Path, chosen: list[Series]) -> dict[str, list[int]]:
    """When each alert began, by stream."""
    folder = Path(tempfile.mkdtemp(prefix="backbeat-bench-"))
    with TansuServer(folder) as broker:
        env = {
            "BACKBEAT_BROKER": f"kafka://{broker.bootstrap}",
            "BACKBEAT_ROLES": "ingest,windows,alerts",
        }
        with Worker("faust_app", folder, **env) as worker:
            worker.wait_ready()
            for series in chosen:
                replay(corpus, series, worker.env)
            quiet = 0

            def settled() -> bool:
                nonlocal quiet
                quiet = quiet + 1 if worker.is_settled() else 0
                return quiet >= 40  # each step's outputs are the next one's lag

            wait_until(settled, 600, "everything replayed is judged")
        alerts = asyncio.run(read_alerts(broker.bootstrap))
    began: dict[str, dict[str, int]] = {}
    for alert in alerts:
        began.setdefault(alert.stream, {})[alert.id] = alert.started_at
    return {stream: sorted(times.values()) for stream, times in began.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--corpus", type=Path, required=True, help="a copy of NAB")
    parser.add_argument("--groups", nargs="*", default=["realKnownCause"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    chosen = read_corpus(args.corpus, args.groups)
    found = through_broker(args.corpus, chosen)
    ours = [
        count_alerts(found.get(stream_of(s), []), spans(s), (s.times[-1] - s.times[0]) / 86_400_000)
        for s in chosen
    ]
    table = {LABEL: ours, **compare(chosen, "novelty", shipped_rule())}
    print(json.dumps(about()))
    show(chosen, table)
    if args.json:
        rows = {label: [c._asdict() for c in counts] for label, counts in table.items()}
        result = {**about(), "files": [s.name for s in chosen], "rows": rows}
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
