"""Samples of metrics by series: each has a clock of its own, and panes that follow its spacing.

The pane of a series is chosen once, from its first six samples, and kept for ever: the largest usual
length that is not above the median of their five gaps. Until then its samples are kept back. If they
do not come, silence releases what is there (three times the largest gap so far, or ``patience`` for
a lone sample, whose pane is then the smallest), and so does the end of the stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from statistics import median_low
from struct import Struct, error
from typing import Any, NamedTuple

from models.config import METRIC_PREFIX, SeriesConfig
from models.errors import StateError
from models.events import Metric
from models.flow import Output, StoreSpec
from models.records import Partial, to_msgpack
from models.series import format_key
from tables import clocks, parts

PANES = tuple(s * 1000 for s in (10, 30, 60, 300, 600, 900, 1800, 3600, 86_400))
"""The usual lengths, ms: 10 s, 30 s, 1, 5, 10, 15, 30 min, 1 h, 1 d."""

MEASURED = 6
"""Samples from which a pane is chosen."""

_TOLERANCE = 1.0001
SERIES = "series"
WAITING = "samples"


class Series(NamedTuple):
    """A series whose pane (ms) is chosen; ``top`` is its newest sample's time."""

    pane: int
    top: int


class Sample(NamedTuple):
    """A sample: event time and value."""

    at: int
    value: float


class Waiting(NamedTuple):
    """The samples of a series whose pane is not chosen yet, in offset order.

    ``since`` is the processing time of the last.
    """

    since: int
    samples: tuple[Sample, ...]


_SERIES = Struct("<Iq")
_SINCE = Struct("<q")
_SAMPLE = Struct("<qd")


def _encode_waiting(waiting: Waiting) -> bytes:
    return _SINCE.pack(waiting.since) + b"".join(_SAMPLE.pack(*s) for s in waiting.samples)


def _decode_waiting(data: bytes) -> Waiting:
    try:
        samples = tuple(Sample(*s) for s in _SAMPLE.iter_unpack(data[_SINCE.size :]))
        return Waiting(_SINCE.unpack_from(data)[0], samples)
    except error as exc:
        raise StateError(f"waiting samples of {len(data)} bytes: {exc}") from exc


def _decode_series(data: bytes) -> Series:
    try:
        return Series(*_SERIES.unpack(data))
    except error as exc:
        raise StateError(f"series of {len(data)} bytes: {exc}") from exc


STORES = (
    StoreSpec(SERIES, lambda series: _SERIES.pack(*series), _decode_series),
    StoreSpec(WAITING, _encode_waiting, _decode_waiting),
)


def series_key(metric: Metric) -> str:
    """The series key of a sample, which its record is partitioned by."""
    return _key(metric.tenant_id, metric.name, tuple(metric.tags.items()))


def series_keys(metrics: Sequence[Metric]) -> list[str]:
    """:func:`series_key` of each."""
    return list(map(series_key, metrics))


def group_key(metric: Metric) -> str:
    """The group key of a sample's partials."""
    return _key(metric.tenant_id, METRIC_PREFIX + metric.name, tuple(metric.tags.items()))


@lru_cache(maxsize=1 << 15)
def _key(tenant: str, name: str, tags: tuple[tuple[str, str], ...]) -> str:
    return format_key(tenant, name, dict(tags))


def choose_pane(times: Iterable[int], config: SeriesConfig) -> int:
    """The pane of samples at these times: see the module; the smallest if they show no spacing."""
    usual = [p for p in PANES if config.metric_pane_min <= p <= config.metric_pane_max]
    gaps = [b - a for a, b in pairwise(sorted(times)) if b > a]
    longest = median_low(gaps) * _TOLERANCE if gaps else 0
    return max((p for p in usual if p <= longest), default=config.metric_pane_min)


def is_due(waiting: Waiting, now: int, patience: int) -> bool:
    """Whether silence has lasted so long that no more samples should be waited for."""
    times = sorted(sample.at for sample in waiting.samples)
    gap = max((b - a for a, b in pairwise(times)), default=0)
    return now - waiting.since >= (3 * gap or patience)


Cells = dict[tuple[int, int], list[float]]


class Folded(NamedTuple):
    """What samples of a decided series came to.

    ``cells``: (pane start, edge that lateness was noticed by or 0) -> values. ``beyond``: places of samples older than every grace, and
    ``running`` the series' clock at each sample.
    """

    series: Series
    cells: Cells
    beyond: list[int]
    running: list[int]


def fold(
    series: Series, samples: Sequence[Sample], pushed: int, lateness: int, grace: int | None
) -> Folded:
    """Fold samples in offset order; ``pushed`` is the time that silence has brought the stream to.

    ``grace`` None: a sample cannot be too late to be folded (one that was kept back).
    """
    running = clocks.run(max(series.top, pushed), [s.at for s in samples])
    cells: Cells = {}
    beyond = []
    for place, ((at, value), top) in enumerate(zip(samples, running, strict=True)):
        mark = top - lateness
        if grace is not None and mark - at > grace:
            beyond.append(place)
            continue
        noticed = mark - mark % series.pane + series.pane if mark > at else 0
        cells.setdefault((at - at % series.pane, noticed), []).append(value)
    top = max([series.top, *(s.at for s in samples)])
    return Folded(Series(series.pane, top), cells, beyond, running)


def begin(waiting: Waiting, config: SeriesConfig) -> tuple[Series, Cells]:
    """Choose the pane of a series and fold what was kept back."""
    pane = choose_pane((s.at for s in waiting.samples), config)
    folded = fold(Series(pane, 0), waiting.samples, 0, config.time.lateness, None)
    return folded.series, folded.cells


def outputs(
    key: str, tenant: str, stream: str, partition: int, series: Series,
    cells: Cells, watermark: int,
) -> list[Output]:  # fmt: skip
    """The partials of one series, oldest pane first.

    Only the last carries the watermark: on an earlier one it would close panes whose partials are
    still to come.
    """
    made: list[Output] = []
    ordered = sorted(cells.items())
    for i, ((pane, noticed), values) in enumerate(ordered):
        partial = Partial(
            tenant, stream, key, partition, pane, series.pane, bool(noticed), _parts(values),
            watermark if i == len(ordered) - 1 else None, noticed or None,
        )  # fmt: skip
        made.append(Output("partials", key.encode(), to_msgpack(partial)))
    return made


def _parts(values: Sequence[float]) -> dict[str, Any]:
    return {"s:value": parts.moments(values), "q:value": parts.buckets(values)}
