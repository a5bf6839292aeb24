"""What the windows step tells of the slices of a tenant, so that they can be looked at together.

Records of the topic ``evidence``, msgpack. A source partition's records come in the order of the
edges of event time at which they were made; ``Passed`` closes each edge.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from models.records import Finding


class Row(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One measure of one slice's window, and the band it was expected in. ``tags`` are sorted pairs;
    none: the total. ``weight`` is what a ratio or a mean rests on.
    """

    tags: tuple[tuple[str, str], ...]
    measure: str
    kind: Literal["count", "ratio", "mean"]
    value: float
    low: float
    high: float
    weight: float


class Evidence(msgspec.Struct, array_like=True, tag="e"):
    """Measures of one slice's first published window ``[end - size, end)``, epoch ms: those outside
    their band, of the total all.
    """

    tenant: str
    stream: str
    partition: int
    size: int
    end: int
    rows: tuple[Row, ...]


class Told(msgspec.Struct, array_like=True, tag="f"):
    """A finding that waits for the other slices. ``row`` is its own window's, if that had a band."""

    tenant: str
    stream: str
    partition: int
    finding: Finding
    row: Row | None = None


class Passed(msgspec.Struct, array_like=True, tag="p"):
    """A source partition has published all of a tenant's stream up to ``at``, epoch ms."""

    tenant: str
    stream: str
    partition: int
    at: int


Testimony = Evidence | Told | Passed

decode_testimony = msgspec.msgpack.Decoder(Testimony).decode
