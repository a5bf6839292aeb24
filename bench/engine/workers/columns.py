"""What the Python systems read of a record; typed, so that msgspec builds nothing that is not used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Any

import msgspec


class Play(msgspec.Struct, gc=False):
    """What the jobs read of a play."""

    at: int = msgspec.field(name="started_at")
    value: int = msgspec.field(name="ms_played")


class Metric(msgspec.Struct, gc=False):
    """What the jobs read of a metric."""

    at: int
    value: int


KIND: Any = Play if os.environ.get("BENCH_PAYLOAD", "plays") == "plays" else Metric
FIELDS: Any = attrgetter("at", "value")
VALUE: Any = attrgetter("value")
ONE: Any = msgspec.json.Decoder(KIND).decode
MANY: Any = msgspec.json.Decoder(list[KIND]).decode
"""Of several records, joined into one array."""

PIECE = 256
"""Records that are decoded together: of 300 bytes each, joined, they fit the CPU's cache."""


def decoded(values: Sequence[Any]) -> Iterator[list[Any]]:
    """What all values hold, a piece at a time."""
    for start in range(0, len(values), PIECE):
        yield MANY(b"[" + b",".join(values[start : start + PIECE]) + b"]")
