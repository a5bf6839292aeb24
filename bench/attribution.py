"""Is the slice that broke the one that is named, and how many alerts does one incident make?

    python -m bench.attribution [--seeds 20] [--workers 2] [--json OUT]

For each seed the simulated service (10 plays a second) runs two quiet hours, then has four incidents, 30 minutes
apart and 6 long, in an order and on slices that the seed draws (in proportion to their plays): a release breaks
playback on a platform × country, a platform falls silent, it does so in one country, and one track breaks out
in all places (which the simulator draws from three sources of plays: one or more of them are to be named, and
nothing else). Its plays go through the product's folds as the worker has them, with
the shipped detector in windows of a minute and two rules, `anomaly(plays) >= 1 for 60s` and
`anomaly(error_rate) >= 1 up for 60s`, on each of the six dimension groups.

Counted per incident: alerts that begin in it (what people were told of without attribution), those without a
parent (what they are told of with it), and whether the first of these names exactly the slice that broke.
Beside that, on the same incidents: the answer on read (`GET /alerts/{id}/attribution` of the same alert), the
largest slice, the own slice of the first alert, and a random one of the alerting slices (its expected rate).
An incident without an alert is missed: it counts for nobody.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from api.services.attribution import AttributionReader
from bench.machine import about
from engine.flush import partition_of
from models.config import parse_series_config
from models.records import Alert, decode_alert, decode_window
from simulate.config import SimulationConfig
from simulate.generator import Simulation
from simulate.incidents import HOUR, MINUTE, Incident, release
from simulate.markets import COUNTRIES, PLATFORMS
from storage.memory import MemoryStore
from storage.protocols import Rows
from tests.support.pipeline import PARTITIONS, Pipeline, Schedule, shipped_steps
from tests.support.plays import Sent

ROOT = Path(__file__).parents[1]
START = 1_790_164_800_000
"""A Wednesday, noon UTC."""

QUIET = 120 * MINUTE
EVERY, LASTS = 30 * MINUTE, 6 * MINUTE
RATE = 10.0
KINDS = ("release", "silence", "silence in a country", "breakout")

Slice = tuple[tuple[str, str], ...]


class Outcome(NamedTuple):
    """One incident: what broke, how many alerts there were, how many without a parent, who was right."""

    seed: int
    kind: str
    truth: str
    alerts: int
    told: int
    said: str
    right: dict[str, float]


def series() -> dict[str, Any]:
    """The shipped groups and detector; panes and minutes, plays and their errors alone."""
    raw = tomllib.loads((ROOT / "config" / "series.toml").read_text())
    raw["windows"] = [w for w in raw["windows"] if w["size"] in {"10s", "1m"}]
    wanted = {"plays", "error_rate"}
    raw["plays"]["measures"] = [m for m in raw["plays"]["measures"] if m["name"] in wanted]
    return raw


def rules(groups: Iterable[list[str]]) -> dict[str, Any]:
    """Both rules on every group."""
    whens = {
        "plays": "anomaly(plays) >= 1 for 60s",
        "errors": "anomaly(error_rate) >= 1 up for 60s",
    }
    return {
        "rules": [
            {"id": f"{name}-{'-'.join(group) or 'all'}", "when": when, "window": "1m",
             "group": group, "severity": "ticket", "min_weight": 20 if name == "errors" else 0}
            for group in groups
            for name, when in whens.items()
        ]
    }  # fmt: skip


def incidents(seed: int) -> list[Incident]:
    """Four incidents, one of each kind."""
    rng = random.Random(seed)
    order = rng.sample(KINDS, len(KINDS))
    made = []
    for n, kind in enumerate(order):
        at = START + QUIET + n * EVERY
        platform = rng.choices(PLATFORMS, [p.share for p in PLATFORMS])[0].name
        country = rng.choices(COUNTRIES, [c.share for c in COUNTRIES])[0].name
        if kind == "release":
            made.append(release(kind, at, LASTS, platform, country))
        elif kind == "breakout":
            made.append(Incident(kind, "breakout", at, at + LASTS, track=7_001, times=1.5))
        else:
            where = country if kind != "silence" else None
            made.append(Incident(kind, "silence", at, at + LASTS, platform, where))
    return made


SOURCES: frozenset[Slice] = frozenset(
    (("source", name),) for name in ("playlist", "search", "autoplay")
)
"""Where the plays of a breakout come from (``simulate.draw``)."""


def is_right(found: set[Slice], incident: Incident) -> bool:
    """Whether exactly the slice that broke is named; of a breakout, some of its sources and no other."""
    if incident.kind == "breakout":
        return bool(found) and found <= SOURCES
    return found == {truth(incident)}


def truth(incident: Incident) -> Slice:
    """The slice that broke; ``()`` of a breakout."""
    pairs = {"country": incident.country, "platform": incident.platform}
    return tuple((name, value) for name, value in pairs.items() if value)


def sent(config: SimulationConfig, seed: int, end: int) -> Iterator[Sent]:
    """The plays, in the partitions of their keys."""
    for e in Simulation(seed, config).events(START, end):
        partition = partition_of(e.key, PARTITIONS)
        yield Sent("", partition, e.arrival, e.key, e.value, tuple(e.headers))


def run(seed: int) -> list[Outcome]:
    """All incidents of one seed."""
    raw = series()
    config = parse_series_config(raw)
    groups = [sorted(g, reverse=True) for g in config.groups]
    broken = incidents(seed)
    end = broken[-1].end + 5 * MINUTE
    simulated = SimulationConfig(rate=RATE, incidents=tuple(broken))
    steps = [s for s in shipped_steps(raw, rules(groups), ["demo"]) if s.name != "metrics"]
    pipeline = Pipeline(steps, end)
    pipeline.send("plays", sent(simulated, seed, end))
    pipeline.run(Schedule(seed, sizes=(50_000,)))
    alerts = [decode_alert(v) for v in pipeline.values("alerts")]
    firing = sorted((a for a in alerts if a.revision == 0), key=lambda a: (a.fired_at, a.parent))
    store = MemoryStore(config)
    since = b'"start":%d' % (START + QUIET - HOUR)
    values = [v for v in pipeline.values("windows") if v[v.index(b'"start":') :] >= since]
    windows = [decode_window(v) for v in values]
    asyncio.run(store.write(Rows(windows=windows, alerts=firing)))
    reader = AttributionReader(store, config)
    rng = random.Random(seed)
    return [outcome(seed, i, firing, reader, rng) for i in broken]


def outcome(
    seed: int,
    incident: Incident,
    firing: list[Alert],
    reader: AttributionReader,
    rng: random.Random,
) -> Outcome:
    """What one incident came to. An alert belongs to it that fired from its start to its end + 2 min."""
    mine = [a for a in firing if incident.start <= a.fired_at <= incident.end + 2 * MINUTE]
    wanted = truth(incident)
    told = [a for a in mine if not a.parent]
    right: dict[str, float] = {}
    said = told[0].cause or f"{told[0].measure} of {told[0].tags}" if told else ""
    if told:
        first = told[0]
        found = asyncio.run(reader.of_alert("demo", first.id))
        on_read = found.explanations[0].slices if found.explanations else []
        together = [a for a in mine if a.fired_at == mine[0].fired_at]
        right = {
            "attribution": is_right(named(first), incident),
            "on read": is_right({tuple(sorted(s.tags.items())) for s in on_read}, incident),
            "largest slice": is_right({(("country", "FR"),)}, incident),
            "first alert's own slice": is_right({slice_of(rng.choice(together))}, incident),
            "random alerting slice": fmean(is_right({slice_of(a)}, incident) for a in mine),
        }
    shown = " × ".join(v for _, v in reversed(wanted)) or "one track"
    return Outcome(
        seed,
        incident.id,
        shown,
        len(mine),
        len(told),
        said,
        {k: float(v) for k, v in right.items()},
    )


def named(alert: Alert) -> set[Slice]:
    """The slices that an alert names: its cause's, or its own."""
    return {tuple(sorted(s.tags.items())) for s in alert.shares if s.named} or {slice_of(alert)}


def slice_of(alert: Alert) -> Slice:
    return tuple(sorted(alert.tags.items()))


def summary(outcomes: list[Outcome]) -> dict[str, Any]:
    """Rates over the incidents that were seen, means and the worst."""
    seen = [o for o in outcomes if o.alerts]
    rows = {}
    for kind in ("all", *KINDS):
        those = [o for o in seen if kind in {"all", o.kind}]
        if not those:
            continue
        rows[kind] = {
            "incidents": sum(kind in {"all", o.kind} for o in outcomes),
            "seen": len(those),
            "named_first": {k: round(fmean(o.right[k] for o in those), 3) for k in those[0].right},
            "alerts_mean": round(fmean(o.alerts for o in those), 2),
            "alerts_worst": max(o.alerts for o in those),
            "told_mean": round(fmean(o.told for o in those), 2),
            "told_worst": max(o.told for o in those),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    outcomes: list[Outcome] = []
    seeds = range(1, args.seeds + 1)
    with ProcessPoolExecutor(args.workers, multiprocessing.get_context("spawn")) as pool:
        for done, found in enumerate(pool.map(run, seeds), 1):
            outcomes += found
            for o in found:
                right = " ".join(f"{k}={v:.2f}" for k, v in o.right.items()) or "missed"
                print(f"{o.seed:>3} {o.kind:<20} {o.truth:<20} {o.alerts:>3} alerts, told {o.told:>2}",
                      right, o.said, sep="  ", flush=True)  # fmt: skip
            result = {**about(), "seeds": done, "summary": summary(outcomes),
                      "incidents": [o._asdict() for o in outcomes]}  # fmt: skip
            if args.json:
                args.json.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(summary(outcomes), indent=2))


if __name__ == "__main__":
    main()
