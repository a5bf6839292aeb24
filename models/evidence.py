"""What is told of slices, or of metrics, of one tenant, so that they can be looked at together.

Records of the topic ``evidence``, msgpack. A source partition's records come in the order of the
edges of event time at which they were made. Of slices (from ``windows``) ``Passed`` closes each edge,
of metrics (from ``metrics``) a ``Watermark``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from models.records import Finding, Watermark
from models.releases import HOURS

LARGEST_COUNT = 1e15


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


class Reading(msgspec.Struct, array_like=True, gc=False):
    """Samples of one metric of one thing in the window that ends at ``end``, epoch ms.

    ``group`` is the group key of what is judged together (``tenant|metric:joint:<name>{tags}``),
    ``moments`` the samples' exact ones (``tables.sketches``).
    """

    group: str
    metric: str
    end: int
    moments: list[Any]


class Sampled(msgspec.Struct, array_like=True, tag="s"):
    """Readings of one source partition of ``metrics``. They stand between its watermarks (records
    of the same topic) exactly where the samples stood in offset order.
    """

    tenant: str
    stream: str
    partition: int
    readings: tuple[Reading, ...]


class Hour(msgspec.Struct, array_like=True, tag="h", gc=False):
    """What came together for a release in one hour of its age, of the first published window.

    ``release`` is its name (``models.releases``), ``hour`` which one from the first (0) on, ``start``
    when that began (epoch ms). ``counts``: by measure.
    """

    tenant: str
    stream: str
    partition: int
    release: str
    hour: Annotated[int, Meta(ge=0, lt=HOURS)]
    start: int
    counts: dict[str, Annotated[float, Meta(ge=0, le=LARGEST_COUNT)]]


Testimony = Evidence | Told | Hour | Passed | Sampled | Watermark

decode_testimony = msgspec.msgpack.Decoder(Testimony).decode
