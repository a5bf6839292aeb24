"""Tracks in their first week that leave the usual course: ``release(plays)`` beside two baselines.

    python -m bench.releases [--seeds 10] [--at 3] [--hours 2] [--spread]
    python -m bench.releases --cost [--tracks 500]

Made-up releases, on Fridays at midnight: plays of an hour decay over days, follow the time of day, and
differ from track to track in size (log-normal, 100 in the first hour give or take a factor of 4.5), in
how fast they fade (give or take a factor of 1.5), and hour by hour (14 %, one hour like the one before,
and the noise of counting). Forty
are over when twenty come out that are judged; each of those is once calm and once has one break of six
hours after its first day: it stops, has a third of its plays, or three times as many. Both run through
the step that judges releases, and a rule; found is a break in which an alert fires, false is every
alert on a calm track. ``--spread``: every track comes out at another hour of the week.

Beside it a detector of each track's own hours under the same rule, and at the score at which it is
wrong as often as ``release`` is, chosen afterwards on the same tracks.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from agents import verdicts
from agents.attributing import EVIDENCE_STORES, AttributionConfig, fold_evidence
from agents.judging import RuleBook
from agents.releases import CURVES, TRACKS, WEEKS, ReleasesConfig
from alerts.rules import Rule, parse_rule
from alerts.rulestate import RuleState
from bench.together import Uncounted
from engine.store import PartitionState
from ml import registry
from models.config import load_series_config
from models.evidence import Hour, Passed
from models.flow import Batch, Record
from models.records import Value, Window, decode_finding, to_msgpack
from models.releases import HOUR, HOURS, WEEK, release_name
from models.settings import Settings

BEGIN = 1_767_312_000_000
"""2026-01-02 00:00 UTC, a Friday."""

PAST, JUDGED, LONG = 40, 20, 6
KINDS = {"stops": 0.0, "throttled": 1 / 3, "botted": 3.0}
TENANT = "demo"


class Made(NamedTuple):
    """A track: when it comes out, its plays by hour, and when and how it breaks ("": it does not)."""

    name: str
    released: int
    counts: list[int]
    kind: str = ""
    start: int = 0

    def at(self, hour: int) -> int:
        """When an hour of its age begins."""
        return self.released + hour * HOUR


def counted(mean: float, draw: random.Random) -> int:
    """A number of plays, where so many are expected: Poisson's, by a normal one above 50."""
    if mean > 50:
        return max(0, round(draw.gauss(mean, math.sqrt(mean))))
    n, left = 0, math.exp(-mean)
    chance = draw.random()
    while chance > left:
        chance *= draw.random()
        n += 1
    return n


def expected(begin: int, draw: random.Random) -> list[float]:
    """What is expected of a track that comes out then, hour by hour."""
    size = math.exp(draw.gauss(math.log(100), 1.5))
    fades = 40 * math.exp(draw.gauss(0, 0.4))
    floor = 0.15 * math.exp(draw.gauss(0, 0.5))
    noise, hours = 0.0, []
    for hour in range(HOURS):
        noise = 0.7 * noise + draw.gauss(0, 0.1)
        day = (begin // HOUR + hour) % 24
        shape = (floor + math.exp(-hour / fades)) * (
            1 + 0.5 * math.sin(2 * math.pi * (day - 9) / 24)
        )
        hours.append(size * shape * math.exp(noise))
    return hours


def make(seed: int, *, spread: bool) -> tuple[list[Made], list[Made], list[Made]]:
    """(releases that are over, calm ones, the same with a break each)."""
    draw = random.Random(seed)
    past, calm, broken = [], [], []
    for i in range(PAST + JUDGED):
        week = i * 4 // PAST if i < PAST else 5
        released = BEGIN + week * WEEK + (draw.randrange(HOURS) * HOUR if spread else 0)
        means = expected(released, draw)
        counts = [counted(mean, draw) for mean in means]
        made = Made(f"t{i}", released, counts)
        if i < PAST:
            past.append(made)
            continue
        kind, start = list(KINDS)[i % len(KINDS)], draw.randrange(24, HOURS - LONG)
        changed = counts.copy()
        for hour in range(start, start + LONG):
            changed[hour] = counted(KINDS[kind] * means[hour], draw)
        calm.append(made)
        broken.append(
            made._replace(name=f"{made.name}-broken", counts=changed, kind=kind, start=start)
        )
    return past, calm, broken


Alerts = dict[str, list[int]]
"""By track: the ends of the hours at which an alert fired."""


def configured(at: float, held: int) -> tuple[Rule, Rule]:
    """The rule on releases, and the same on a detector's score."""
    plain = load_series_config(Settings().series_config)
    hours = tuple(replace(w, detect=w.size == HOUR) for w in plain.windows)
    series = replace(plain, groups=(("release",),), windows=hours)
    tail = f">= {at:g} for {held}h"
    return (
        parse_rule({"id": "r", "when": f"release(plays) {tail}", "severity": "page"}, series),
        parse_rule(
            {"id": "o", "when": f"anomaly(plays) {tail}", "severity": "page", "window": "1h",
             "group": ["release"]}, series),
    )  # fmt: skip


class Step:
    """The step that judges releases, timed."""

    def __init__(self, rule: Rule, limit: int = 1000) -> None:
        releases = ReleasesConfig(limit, RuleBook([rule]), Uncounted())
        self.config = AttributionConfig(1, Uncounted(), None, releases)
        self.state = PartitionState(EVIDENCE_STORES)
        self.judged = 0
        self.seconds = self.encoding = 0.0

    def take(self, made: Sequence[Made], last: int = HOURS) -> Alerts:
        """Go through the hours of these tracks before the ``last``, an edge a batch; what fired."""
        alerts: Alerts = {release_name(track.name, track.released): [] for track in made}
        hours = sorted(
            (track.at(hour) + HOUR, track, hour) for track in made for hour in range(last)
        )
        edges: dict[int, list[Hour]] = {}
        for end, track, hour in hours:
            name = release_name(track.name, track.released)
            counts = {"plays": float(track.counts[hour])}
            told = Hour(TENANT, "live", 0, name, hour, end - HOUR, counts)
            edges.setdefault(end, []).append(told)
        for end, its in edges.items():
            testimony = [*its, Passed(TENANT, "live", 0, end)]
            records = [Record(i, end, b"", to_msgpack(it)) for i, it in enumerate(testimony)]
            began = time.process_time()
            outputs = fold_evidence(
                Batch("evidence", 0, records, at_end=False), self.state.stores, end, self.config
            )
            between = time.process_time()
            self.state.freeze(0, end)
            self.seconds += between - began
            self.encoding += time.process_time() - between
            self.judged += len(its)
            for output in outputs:
                if output.topic == "findings":
                    finding = decode_finding(output.value or b"")
                    if finding.state == "firing":
                        alerts[finding.tags["release"]].append(finding.at)
        return alerts


def scored(detector: str, track: Made) -> list[Value]:
    """What a detector of the track's own hours thinks of each."""
    own, values = registry.create(detector), []
    for hour, count in enumerate(track.counts):
        verdict = own.score(float(count), track.at(hour))
        values.append(verdicts.judged(Value(float(count), float(count)), verdict))
        own.learn(float(count), track.at(hour))
    return values


def alone(rule: Rule, track: Made, values: Sequence[Value]) -> list[int]:
    """Where an alert of a track's own scores fires."""
    states: dict[str, RuleState] = {}
    group = f"{TENANT}|release{{release={release_name(track.name, track.released)}}}"
    fired = []
    for hour, value in enumerate(values):
        start = track.at(hour)
        window = Window(TENANT, group, "live", start, start + HOUR, HOUR, HOUR, 0, {})
        states, outputs = verdicts.looked_at([rule], states, window, value, group)
        findings = [decode_finding(output.value or b"") for output in outputs]
        fired += [f.at for f in findings if f.state == "firing"]
    return fired


class Score(NamedTuple):
    """Of one seed: breaks found by kind, and false alarms."""

    found: Counter[str]
    false: int


def count(calm: Sequence[list[int]], broken: Sequence[tuple[Made, list[int]]]) -> Score:
    """What alerts on calm tracks and on broken ones come to."""
    found: Counter[str] = Counter()
    for track, fired in broken:
        begin, end = track.at(track.start), track.at(track.start + LONG)
        found[track.kind] += any(begin < at <= end for at in fired)
    return Score(found, sum(map(len, calm)))


def released(seed: int, rule: Rule, *, spread: bool) -> Score:
    """The rule on releases, calm and broken apart so that neither teaches the other."""
    past, calm, broken = make(seed, spread=spread)
    runs = []
    for judged in (calm, broken):
        step = Step(rule)
        step.take(past)
        alerts = step.take(judged)
        runs.append([alerts[release_name(t.name, t.released)] for t in judged])
    return count(runs[0], list(zip(broken, runs[1], strict=True)))


def own(detector: str, seeds: int, *, spread: bool) -> Callable[[Rule], list[Score]]:
    """What a rule finds, seed by seed, with a detector of each track's own hours."""
    known = []
    for seed in range(seeds):
        _, calm, broken = make(seed, spread=spread)
        known.append([[(t, scored(detector, t)) for t in tracks] for tracks in (calm, broken)])

    def found(rule: Rule) -> list[Score]:
        return [
            count(
                [alone(rule, *it) for it in calm],
                [(it[0], alone(rule, *it)) for it in broken],
            )
            for calm, broken in known
        ]

    return found


def as_often(
    found: Callable[[Rule], list[Score]], rule: Rule, false: int
) -> tuple[float, list[Score]]:
    """The least score at which a rule is wrong no more often, and what it finds there."""
    low, high = 0.1, 200.0
    while high / low > 1.03:
        middle = math.sqrt(low * high)
        wrong = sum(score.false for score in found(replace(rule, threshold=middle)))
        low, high = (low, middle) if wrong <= false else (middle, high)
    return high, found(replace(rule, threshold=high))


def row(name: str, scores: Sequence[Score], at: float) -> str:
    """A line of the table."""
    per_kind = Counter(list(KINDS)[i % len(KINDS)] for i in range(PAST, PAST + JUDGED))
    total = sum((score.found for score in scores), Counter[str]())
    kinds = " | ".join(f"{100 * total[k] / per_kind[k] / len(scores):.0f} %" for k in KINDS)
    worst = 100 * min(sum(score.found.values()) for score in scores) / JUDGED
    false = sum(score.false for score in scores) / len(scores) / JUDGED
    most = max(score.false for score in scores) / JUDGED
    mean = 100 * sum(total.values()) / len(scores) / JUDGED
    return (
        f"| {name} ≥ {at:.3g} | {mean:.0f} % | {worst:.0f} % | {kinds} | {false:.2f} | {most:.2f} |"
    )


def table(seeds: int, at: float, held: int, *, spread: bool) -> Iterator[str]:
    """The lines of the table."""
    rule, plain = configured(at, held)
    yield f"| | found | worst seed | {' | '.join(KINDS)} | false alarms a track-week | worst seed |"
    yield "|---" * (5 + len(KINDS)) + "|"
    ours = [released(seed, rule, spread=spread) for seed in range(seeds)]
    yield row("`release`", ours, at)
    for detector in ("novelty", "zscore"):
        found = own(detector, seeds, spread=spread)
        yield row(f"`{detector}` of its own hours", found(plain), at)
        level, same = as_often(found, plain, sum(score.false for score in ours))
        yield row(f"`{detector}`, wrong as often", same, level)


def cost(tracks: int) -> str:
    """What an hour costs, and how large the state is."""
    rule, _ = configured(3, 2)
    step, draw, begin = Step(rule, tracks), random.Random(0), BEGIN + 6 * WEEK
    step.take(make(0, spread=False)[0])
    judging, encoding, before = step.seconds, step.encoding, step.judged
    counts = [[counted(n, draw) for n in expected(begin, draw)] for _ in range(tracks)]
    step.take([Made(f"t{i}", begin, own) for i, own in enumerate(counts)], HOURS - 1)
    hours = step.judged - before
    sizes = [len(TRACKS.encode(track)) for track in step.state.stores[TRACKS.name].values()]
    curve = sum(len(CURVES.encode(curve)) for curve in step.state.stores[CURVES.name].values())
    weeks = sum(len(WEEKS.encode(weeks)) for weeks in step.state.stores[WEEKS.name].values())
    return (
        f"{tracks} tracks, {hours} judged hours\n"
        f"an hour: {(step.seconds - judging) / hours * 1e6:.0f} µs to judge, "
        f"{(step.encoding - encoding) / hours * 1e6:.0f} µs to encode what it changed\n"
        f"state: {sum(sizes) / tracks:,.0f} bytes a track in its last hour, {max(sizes):,} at most; "
        f"{weeks / tracks:.0f} a track in the list of weeks; a curve {curve:,}"
    )


def main(argv: list[str] | None = None) -> int:
    """Print the table, or the cost."""
    parser = argparse.ArgumentParser(prog="python -m bench.releases")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--at", type=float, default=3.0, help="the rule's score")
    parser.add_argument("--hours", type=int, default=2, help="how long it must last")
    parser.add_argument("--spread", action="store_true", help="at any hour of the week")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--tracks", type=int, default=500)
    args = parser.parse_args(argv)
    if args.cost:
        print(cost(args.tracks))
        return 0
    for line in table(args.seeds, args.at, args.hours, spread=args.spread):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
