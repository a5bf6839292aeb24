"""How fast the simulator makes records: a benchmark must not measure its own source.

``python -m bench.simulator [--rate 50000] [--seconds 10] [--runs 3]``

Prints plays a second of one process, by CPU time (other programs on the machine do not count) and by
the clock, for drawing alone, and for finished records (key, value and headers as bytes). The seed
and the span are fixed, so every run makes the same bytes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

from simulate.config import SimulationConfig, demo, firehose
from simulate.generator import Simulation

SEED = 1
NOW = 1_790_000_000_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.simulator", description=__doc__)
    parser.add_argument("--rate", type=float, default=50_000.0, help="plays a second of event time")
    parser.add_argument("--seconds", type=float, default=10.0, help="event time a run covers")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()

    span = int(options.seconds * 1000)
    wide = firehose(options.rate, NOW)
    small = demo(NOW, rate=20.0, history=6 * 3_600_000)
    print(f"{'what':<44}{'plays':>10}{'per CPU second':>16}{'per second':>12}")
    measure("rows, 100,000 listeners", wide, drawn, span, options.runs)
    measure("records, 100,000 listeners", wide, recorded, span, options.runs)
    measure(
        "records, the demo's sessions and incidents", small, recorded, 2 * 3_600_000, options.runs
    )


def measure(
    name: str,
    config: SimulationConfig,
    work: Callable[[Simulation, int], int],
    span: int,
    runs: int,
) -> None:
    """Print the medians of some runs over the span that ends at ``NOW``."""
    simulation = Simulation(SEED, config)
    count, cpu, wall = 0, [], []
    for _ in range(runs):
        began = time.process_time(), time.perf_counter()
        count = work(simulation, span)
        cpu.append(time.process_time() - began[0])
        wall.append(time.perf_counter() - began[1])
    print(f"{name:<44}{count:>10,}{count / median(cpu):>16,.0f}{count / median(wall):>12,.0f}")


def drawn(simulation: Simulation, span: int) -> int:
    """Draw the span's rows; how many."""
    return sum(len(rows) for rows in simulation.rows(NOW - span, NOW))


def recorded(simulation: Simulation, span: int) -> int:
    """Make the span's records; how many."""
    return sum(1 for _ in simulation.events(NOW - span, NOW))


if __name__ == "__main__":
    main()
