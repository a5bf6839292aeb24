"""What the ingest fold costs per event, stage by stage, on seeded plays.

Run it with ``python -m bench.ingest [events [batch]]``. Pure code: no broker, no engine; what a
flush costs is another benchmark's question. Best of several runs, for the machine is shared.
"""

from __future__ import annotations

import gc
import random
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from models.config import load_series_config
from models.flow import Batch, Record, State
from tables import dedupe, eligibility, groups, plays, profiles
from tables.ingest import INGEST_STORES, IngestConfig, fold_metrics, fold_plays

START = 1_760_000_000_000
LISTENERS = 200_000
SERIES = Path(__file__).parents[1] / "config" / "series.toml"


def synthetic_plays(count: int, seed: int = 7, per_second: int = 5_000) -> list[bytes]:
    """JSON plays of about 350 bytes: skewed tracks and countries, 2 % out of order, ISO times."""
    rng = random.Random(seed)
    countries = ["US"] * 8 + ["DE", "BR", "GB", "FR"] * 3 + ["IN", "JP", "MX", "SE", "NG", "ID"]
    platforms = ["ios", "android", "web", "desktop", "tv"]
    sources = ["playlist", "search", "radio", "album", "autoplay"]
    encode = msgspec.json.encode
    out = []
    for i in range(count):
        at = START + i * 1000 // per_second
        if rng.random() < 0.02:
            at -= rng.randrange(60_000)
        track_ms = rng.randrange(120_000, 300_000)
        skipped = rng.random() < 0.25
        out.append(
            encode(
                {
                    "event_id": f"{rng.getrandbits(96):024x}",
                    "tenant_id": "demo",
                    "listener_id": f"u{rng.randrange(LISTENERS)}",
                    "track_id": f"t{int(rng.paretovariate(1.1)) % 50_000}",
                    "artist_id": f"a{rng.randrange(5_000)}",
                    "started_at": datetime.fromtimestamp(at / 1000, UTC).isoformat(),
                    "ms_played": rng.randrange(30_000) if skipped else track_ms,
                    "track_ms": track_ms,
                    "platform": rng.choice(platforms),
                    "country": rng.choice(countries),
                    "source": rng.choice(sources),
                    "plan": rng.choice(["free", "premium", "family"]),
                    "skipped": skipped,
                    "offline": False,
                    "error": "drm" if rng.random() < 0.01 else None,
                    "startup_ms": int(rng.lognormvariate(5.5, 0.5)),
                }
            )
        )
    return out


def synthetic_metrics(count: int, series: int, seed: int = 7) -> list[bytes]:
    """JSON samples of about 130 bytes, of ``series`` series every 10 s."""
    rng = random.Random(seed)
    return [
        msgspec.json.encode(
            {
                "tenant_id": "demo",
                "name": "cpu",
                "value": rng.gauss(50, 10),
                "at": START + i // series * 10_000,
                "tags": {"host": f"h{i % series}", "zone": "a"},
            }
        )
        for i in range(count)
    ]


def batches(values: Sequence[bytes], size: int, source: str) -> list[Batch]:
    """Batches of ``size`` records, a millisecond of Kafka time for every five records."""
    records = [Record(i, START + 1_000 + i // 5, None, v) for i, v in enumerate(values)]
    return [
        Batch(source, 0, records[i : i + size], at_end=False) for i in range(0, len(records), size)
    ]


def new_state() -> State:
    """Empty stores."""
    return {spec.name: {} for spec in INGEST_STORES}


def timed(runs: int, make: Callable[[], Any], run: Callable[[Any], Any]) -> float:
    """Seconds of the best of some runs, each on its own fresh input."""
    best = float("inf")
    for _ in range(runs):
        given = make()
        gc.collect()
        begin = time.process_time()
        run(given)
        best = min(best, time.process_time() - begin)
    return best


class Stages:
    """A fold taken apart: seconds per stage, summed over batches."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def wrap(self, module: Any, function: str, stage: str) -> None:
        """Time every call of a module's function under a stage's name."""
        original = getattr(module, function)

        def timing(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            result = original(*args, **kwargs)
            if not isinstance(result, list | tuple | dict | type(None)):
                result = list(result)
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.process_time() - begin
            return result

        setattr(module, function, timing)


def flush_bytes(state: State) -> dict[str, int]:
    """Bytes of each store's values as the changelog holds them, keys included."""
    return {
        spec.name: sum(len(k.encode()) + len(spec.encode(v)) for k, v in state[spec.name].items())
        for spec in INGEST_STORES
    }


def report_plays(config: IngestConfig, values: Sequence[bytes], size: int) -> None:
    """Print the whole fold, then its stages."""
    cut = batches(values, size, "plays")
    now = START + 10_000_000

    def run(state: State) -> int:
        return sum(len(fold_plays(batch, state, now, config)) for batch in cut)

    whole = timed(3, new_state, run)
    state = new_state()
    outputs = run(state)
    n = len(values)
    print(f"plays, batches of {size}: {whole / n * 1e6:.2f} µs/event, {outputs} outputs")

    stages = Stages()
    import tables.ingest as step

    stages.wrap(step, "decode_plays", "decode")
    stages.wrap(dedupe, "find_fresh", "dedupe: find")
    stages.wrap(step, "take", "intake (hash, dedupe, checks)")
    stages.wrap(plays, "_advance", "clock")
    stages.wrap(eligibility, "judge", "eligibility")
    stages.wrap(plays, "_remember", "profiles")
    stages.wrap(plays, "_place", "panes")
    stages.wrap(groups, "fold", "group parts")
    stages.wrap(plays, "_partials", "keys, limit, msgpack")
    state = new_state()
    begin = time.process_time()
    run(state)
    total = time.process_time() - begin
    for stage, seconds in stages.seconds.items():
        print(f"  {stage:32s} {seconds / n * 1e6:6.2f} µs/event")
    print(f"  {'(all, with timers)':32s} {total / n * 1e6:6.2f}")
    print("  stores:", {k: f"{b / n:.1f} B/event" for k, b in flush_bytes(state).items() if b})
    print(f"  profile: {profiles.SIZE} B/listener; {len(state['profiles'])} listeners")


def report_metrics(config: IngestConfig, count: int, size: int) -> None:
    """Print the whole fold of metric samples."""
    cut = batches(synthetic_metrics(count, 500), size, "metrics")

    def run(state: State) -> int:
        return sum(len(fold_metrics(batch, state, START, config)) for batch in cut)

    whole = timed(3, new_state, run)
    print(f"metrics, 500 series, batches of {size}: {whole / count * 1e6:.2f} µs/event")


def main(events: int = 100_000, size: int = 10_000) -> None:
    """Measure and print."""
    gc.set_threshold(50_000, 20, 100)  # as in a worker: objects that die young are all there are
    config = IngestConfig(load_series_config(SERIES), frozenset({"demo"}), partials=4, sources=4)
    values = synthetic_plays(events)
    print(f"{events} plays of {len(values[0])} bytes, {LISTENERS} listeners")
    report_metrics(config, events, size)
    report_plays(config, values, size)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
