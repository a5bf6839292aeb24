"""Forecasts of AutoETS for given origins: run by ``bench.forecast`` in an environment of its own.

Reads JSON on stdin, ``[{name, values, season, origins, horizon}]``, and writes ``{name: {mae, cpu,
fits}}``: at each origin a fit on the 500 values before it and the mean absolute error of what follows.
"""

import json
import sys
import time
import warnings

import numpy as np
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
        cpu = float("inf")
        for _ in range(PASSES):
            off: list[float] = []
            began = time.process_time()
            for origin in task["origins"]:
                coming = values[origin : origin + task["horizon"]]
                model = AutoETS(season_length=task["season"]).fit(
                    values[max(0, origin - LAST) : origin]
                )
                off += np.abs(model.predict(len(coming))["mean"] - coming).tolist()
            cpu = min(cpu, time.process_time() - began)
        out[task["name"]] = {"mae": float(np.mean(off)), "cpu": cpu, "fits": len(task["origins"])}
        print(task["name"], out[task["name"]], file=sys.stderr, flush=True)
    json.dump(out, sys.stdout)


main()
