"""Events a second against keys, a line a system: ``python -m bench.engine.plot JSON SVG``.

Run by the bench in its own environment, which has matplotlib.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams["svg.hashsalt"] = "backbeat"  # the same rows give the same file
mpl.rcParams["svg.fonttype"] = "none"

from matplotlib import pyplot as plt  # noqa: E402 - after the backend is chosen


def lines(rows: list[dict[str, Any]]) -> dict[str, list[tuple[int, float, float]]]:
    """Keys, median and worst rate by system; the windowed job, plays only."""
    found: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for row in rows:
        if row["job"] == "windowed" and row["payload"] == "plays":
            where = ", embedded broker" if row["broker"] == "embedded" else ""
            label = f"{row['system']} {row['variant']}".strip() + where
            found[label].append((row["keys"], row["events_per_s"], row["events_per_s_worst"]))
    return {label: sorted(points) for label, points in sorted(found.items())}


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the SVG."""
    figure, axes = plt.subplots(figsize=(8, 4.5))
    for label, points in lines(rows).items():
        keys, median, worst = zip(*points, strict=True)
        ours = label.startswith("backbeat")
        (line,) = axes.plot(keys, median, marker="o", label=label, linewidth=2.2 if ours else 1.2)
        axes.vlines(keys, worst, median, colors=line.get_color(), linewidth=4, alpha=0.3)
    axes.set(
        xscale="log", yscale="log", xlabel="keys", ylabel="events/s (median; bar to the worst)"
    )
    axes.set_title(
        "Count and sum per key and 10 s window, 300-byte plays, 4 partitions, one worker"
    )
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["rows"], Path(sys.argv[2]))
