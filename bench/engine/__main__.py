"""The engine against the field: events/s, CPU µs/event, memory, restore (``--help`` tells more).

``python -m bench.engine [--quick] [--only PATTERN …] [--fresh] [--runs N] [--list]``

Systems take turns, one run of each a round, through one Apache Kafka (and one embedded broker for the
rows that say so). A run's windows are compared with the expected ones before it counts. Runs are kept
in ``bench/results/engine.json`` as they come: started again, the bench does only what is missing.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from fnmatch import fnmatch
from pathlib import Path

from bench.engine.cases import ROOT, Case, bench_python, cases, install
from bench.engine.preload import CACHE, batch_file
from bench.engine.rows import Rows, table, write_between
from bench.engine.runs import Bench
from bench.machine import about

RESULTS = ROOT / "bench" / "results" / "engine.json"
QUICK_RESULTS = CACHE / "engine-quick.json"
DOCS = ROOT / "docs" / "benchmarks.md"
PLOT = ROOT / "docs" / "images" / "engine.svg"
QUICK = 20
"""How many times smaller a quick run's input is."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser("python -m bench.engine", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", default=["*"], help="cases, as --list names them; * fits"
    )
    parser.add_argument("--runs", type=int, help="of each case (3; quick: 1)")
    parser.add_argument("--fresh", action="store_true", help="forget the chosen cases' runs first")
    parser.add_argument("--quick", action="store_true", help="small; written to .cache/bench alone")
    parser.add_argument("--report", action="store_true", help="only table and plot, from the JSON")
    parser.add_argument("--list", action="store_true", help="only say which cases there are")
    return parser.parse_args()


def chosen(patterns: list[str]) -> list[Case]:
    """Cases that one of the patterns fits, whole or as a beginning."""
    fitting = [
        case
        for case in cases()
        if any(fnmatch(case.name, p) or fnmatch(case.name, f"{p}/*") for p in patterns)
    ]
    if not fitting:
        sys.exit(f"no case fits {' '.join(patterns)}; --list names them")
    return fitting


def measure(todo: list[Case], rows: Rows, runs: int, shrink: int) -> int:
    """Round after round until each case has its runs; how many failed."""
    failures: dict[str, int] = {}
    with Bench(Path(tempfile.mkdtemp(prefix="backbeat-engine-")), shrink) as bench:
        for number in range(1, runs + 1):
            for case in todo:
                if rows.runs(case) >= number or case.name in failures:
                    continue
                print(f"{time.strftime('%H:%M:%S')} {number}/{runs} {case.name} …", flush=True)
                try:
                    run = bench.run(case)
                except Exception as error:  # noqa: BLE001 - the others go on
                    failures[case.name] = 1
                    print(f"    FAILED: {error}", flush=True)
                    if not str(error):
                        traceback.print_exc()
                    continue
                rows.add(case, run)
                shown = {k: run[k] for k in ("events_per_s", "cpu_us_per_event", "peak_mb", "load")}
                print(f"    {shown} restored {run.get('restore_records_per_s')}/s", flush=True)
    return len(failures)


def report(rows: Rows) -> None:
    """The table and the plot, from the rows there are."""
    write_between(DOCS, table(rows.rows()))
    plot = [str(bench_python()), "-m", "bench.engine.plot", str(rows.path), str(PLOT)]
    subprocess.run(plot, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # brokers and workers go with it
    args = arguments()
    todo = chosen(args.only)
    if args.list:
        print("\n".join(case.name for case in todo))
        return
    rows = Rows(QUICK_RESULTS if args.quick else RESULTS, about())
    shrink, runs = (QUICK, args.runs or 1) if args.quick else (1, args.runs or 3)
    failed = 0
    if not args.report:
        began = time.monotonic()
        if args.fresh:
            rows.forget(todo)
        install({case.system for case in todo if rows.runs(case) < runs})
        for case in todo:
            if case.job != "whole-job":
                batch_file(case.dataset(shrink))
        failed = measure(todo, rows, runs, shrink)
        print(f"{(time.monotonic() - began) / 60:.1f} minutes; {failed} cases failed")
    if args.quick:
        print(table(rows.rows()))
    else:
        report(rows)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
