"""What the Python rivals read of a record; typed, so that msgspec builds nothing that is not used."""

from __future__ import annotations

import os
from operator import attrgetter
from typing import Any

import msgspec


class Play(msgspec.Struct, gc=False):
    """What the jobs read of a play."""

    started_at: int
    ms_played: int


class Metric(msgspec.Struct, gc=False):
    """What the jobs read of a metric."""

    at: int
    value: int


PLAYS = os.environ.get("BENCH_PAYLOAD", "plays") == "plays"
KIND: Any = Play if PLAYS else Metric
FIELDS: Any = attrgetter("started_at", "ms_played") if PLAYS else attrgetter("at", "value")
VALUE: Any = attrgetter("ms_played" if PLAYS else "value")
ONE: Any = msgspec.json.Decoder(KIND).decode
MANY: Any = msgspec.json.Decoder(list[KIND]).decode
"""Of several records, joined into one array."""
