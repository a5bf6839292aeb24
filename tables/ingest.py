"""The ingest step: plays and metric samples in, partials and watermarks out.

``fold_plays`` and ``fold_metrics`` are what the ingest agents call. What is published does not depend
on how the records were cut into batches: sums merge exactly, and lateness, duplicates, eligibility
and cardinality are decided in offset order. Watermarks alone come as often as batches do.
"""

from __future__ import annotations

from models.decoding import decode_metrics, decode_plays, reserved_name
from models.events import Metric, Rejected
from models.flow import Batch, Counters, Output, Record, State, StoreSpec, column
from tables import clocks, dedupe, eligibility, gathering, groups, metrics, plays, profiles, samples
from tables.clocks import Place
from tables.intake import IngestConfig, Turn, ended, stretches, take

__all__ = [
    "INGEST_STORES",
    "METRIC_STORES",
    "PLAY_STORES",
    "Counters",
    "IngestConfig",
    "fold_metrics",
    "fold_plays",
]

PLAY_STORES: tuple[StoreSpec, ...] = (
    *dedupe.STORES, clocks.STORE, groups.STORE, eligibility.STORE, profiles.STORE,
)  # fmt: skip
METRIC_STORES: tuple[StoreSpec, ...] = (
    *dedupe.STORES, clocks.STORE, groups.STORE, *samples.STORES,
)  # fmt: skip
INGEST_STORES: tuple[StoreSpec, ...] = tuple(dict.fromkeys((*PLAY_STORES, *METRIC_STORES)))
"""Every store of both folds; each fold uses its own share, and either may be given all."""


def fold_plays(batch: Batch, state: State, now: int, config: IngestConfig) -> list[Output]:
    """Fold plays of one source partition: see ``models.flow.Fold``."""
    time = config.series.time
    place = Place(batch.source, batch.partition, config.partials, time, time.pane)
    turn = Turn(batch, state, now, config, place, set())
    outputs: list[Output] = []
    for stretch in stretches(batch, decode_plays(column(batch.records, "value"))):
        taken, elsewhere = take(stretch, turn, plays.homes)
        outputs += elsewhere
        if taken.events:
            outputs += plays.fold(taken, turn)
            outputs += clocks.announce(turn.clocks, turn.touched, place)
        if stretch.end is not None:
            outputs += _end(stretch.end, turn)
    if batch.at_end:
        outputs += clocks.rest(turn.clocks, turn.touched, now, place, config.tenants)
    return outputs


def fold_metrics(batch: Batch, state: State, now: int, config: IngestConfig) -> list[Output]:
    """Fold metric samples of one source partition: see ``models.flow.Fold``."""
    time, pane = config.series.time, config.series.metric_pane_min
    place = Place(batch.source, batch.partition, config.partials, time, pane, per_series=True)
    turn = Turn(batch, state, now, config, place, set())
    outputs: list[Output] = []
    for stretch in stretches(batch, _decoded(batch, config.series.measure_names)):
        taken, elsewhere = take(stretch, turn, samples.series_keys)
        outputs += elsewhere
        if taken.events:
            outputs += gathering.readings(taken, turn)
            outputs += metrics.fold(taken, turn)
        if stretch.end is not None:
            outputs += gathering.echoed(_end(stretch.end, turn), turn)
    if batch.at_end:
        gathering.expect(turn)
        quiet = clocks.rest(turn.clocks, turn.touched, now, place, config.tenants)
        outputs += metrics.release(turn)
        outputs += gathering.echoed(quiet, turn)
    return outputs


def _decoded(batch: Batch, reserved: frozenset[str]) -> list[Metric | Rejected]:
    """The samples, without those whose series would be a measure's of plays."""
    return [
        reserved_name(metric.name)
        if isinstance(metric, Metric) and metric.name in reserved
        else metric
        for metric in decode_metrics(column(batch.records, "value"))
    ]


def _end(record: Record, turn: Turn) -> list[Output]:
    """What an end marker brings: the rest of its stream, the word that it ended, and forgetting."""
    marker = ended(record, turn.config)
    if isinstance(marker, Rejected):
        return [turn.reject(record, marker)]
    stream, tenants = marker
    outputs: list[Output] = []
    for tenant in sorted(tenants):
        if clocks.clock_name(tenant, stream) in turn.clocks:
            if turn.place.per_series:
                outputs += metrics.finish(tenant, stream, turn)
            else:
                plays.forget(tenant, stream, turn)
    turn.count("streams_ended", "end_marker")
    return outputs + clocks.end(turn.clocks, tenants, stream, turn.place)
