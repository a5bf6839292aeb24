"""The truth about a simulated span: who behaves how, what happened when, how much was dirty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from simulate.config import SimulationConfig
from simulate.draw import DUPLICATE, GARBAGE, GARBAGE_KINDS, LATE, PLAY, SUPPRESSED, Rows
from simulate.incidents import expected
from simulate.world import World

FORMAT = 1


@dataclass
class Tally:
    """What was delivered, counted as it was made.

    ``plays`` counts valid first deliveries on time, ``late`` valid plays that were made offline.
    ``touched`` and ``failed`` are by incident number: plays it touched, and those of them with an
    error.
    """

    records: int = 0
    plays: int = 0
    late: int = 0
    duplicates: int = 0
    garbage: int = 0
    suppressed: int = 0
    errors: int = 0
    garbage_kinds: dict[str, int] = field(default_factory=dict)
    touched: dict[int, int] = field(default_factory=dict)
    failed: dict[int, int] = field(default_factory=dict)

    def count(self, rows: Rows) -> None:
        """Add the rows of a slice."""
        kinds = np.bincount(rows["kind"], minlength=5).tolist()
        self.plays += kinds[PLAY]
        self.late += kinds[LATE]
        self.duplicates += kinds[DUPLICATE]
        self.garbage += kinds[GARBAGE]
        self.suppressed += kinds[SUPPRESSED]
        self.records += len(rows) - kinds[SUPPRESSED]
        wrong = rows["error"] >= 0
        self.errors += int((wrong & (rows["kind"] == PLAY)).sum())
        if kinds[GARBAGE]:
            for n in rows["garbage"][rows["kind"] == GARBAGE].tolist():
                name = GARBAGE_KINDS[n]
                self.garbage_kinds[name] = self.garbage_kinds.get(name, 0) + 1
        real = ~np.isin(rows["kind"], (GARBAGE, DUPLICATE)) & (rows["incident"] >= 0)
        _add(self.touched, rows["incident"][real].tolist())
        _add(self.failed, rows["incident"][real & wrong & (rows["kind"] == PLAY)].tolist())


def _add(counts: dict[int, int], numbers: Sequence[int]) -> None:
    for n in numbers:
        counts[n] = counts.get(n, 0) + 1


def labels(
    seed: int, config: SimulationConfig, world: World, start: int, end: int, tally: Tally
) -> dict[str, Any]:
    """The labels of a span of arrivals ``[start, end)``, as plain data.

    ``incidents`` are those that overlap the span; ``plays`` says how many plays each touched
    (delivered ones; of a silence, those held back) and ``failed`` how many of them failed.
    """
    settings = {
        k: v
        for k in config.__dataclass_fields__
        if k != "incidents" and (v := getattr(config, k)) is not None
    }
    counts = {k: v for k, v in asdict(tally).items() if k not in {"touched", "failed"}}
    return {
        "format": FORMAT,
        "seed": seed,
        "config": settings,
        "span": {"start": start, "end": end},
        "counts": counts,
        "incidents": [
            {
                "id": i.id,
                "kind": i.kind,
                "about": i.about(),
                "start": i.start,
                "end": i.end,
                "slice": {k: v for k, v in (("platform", i.platform), ("country", i.country)) if v}
                | ({"track": f"t-{i.track % config.tracks:06d}"} if i.kind == "breakout" else {}),
                "expect": [e._asdict() for e in expected(i)],
                "plays": tally.touched.get(n, 0),
                "failed": tally.failed.get(n, 0),
            }
            for n, i in enumerate(config.incidents)
            if i.start < end and i.end > start
        ],
        "personas": world.personas(),
    }


def write_labels(path: Path, content: dict[str, Any]) -> None:
    """Replace the file as a whole, so that a reader never sees half of it."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    part.replace(path)
