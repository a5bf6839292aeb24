"""Forecasts of AutoETS for given origins: run by ``bench.forecast`` in an environment of its own.

Reads JSON on stdin, ``[{name, values, season, origins, horizon}]``, and writes ``{name: {mae, cpu,
fits}}``: at each origin a fit on the 500 values before it and the mean absolute error of what follows.
"""

import json
import sys
import time
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statsforecast.models import AutoETS  # type: ignore[import-not-found]  # only there

LAST = 500
PASSES = 3


def main() -> None:
    warnings.filterwarnings("ignore")
    out = {}
    for task in json.load(sys.stdin):
        values = np.array(task["values"], dtype=float)
        # What compiles on first use is not counted, and of three passes the quickest is.
        AutoETS(season_length=task["season"]).fit(values[:100])
        passes = [foretold(values, task) for _ in range(PASSES)]
        mae, cpu = passes[0][0], min(cpu for _, cpu in passes)
        out[task["name"]] = {"mae": mae, "cpu": cpu, "fits": len(task["origins"])}
        print(task["name"], out[task["name"]], file=sys.stderr, flush=True)
    json.dump(out, sys.stdout)


def foretold(values: NDArray[np.float64], task: dict[str, Any]) -> tuple[float, float]:
    """(mean absolute error, CPU seconds) of a fit at every origin."""
    off: list[float] = []
    began = time.process_time()
    for origin in task["origins"]:
        coming = values[origin : origin + task["horizon"]]
        model = AutoETS(season_length=task["season"]).fit(values[max(0, origin - LAST) : origin])
        off += np.abs(model.predict(len(coming))["mean"] - coming).tolist()
    return float(np.mean(off)), time.process_time() - began


main()
