"""Metric samples that were taken in, series by series: ``tables.samples`` on the stores."""

from __future__ import annotations

from collections.abc import Sequence

from models.events import Metric
from models.flow import Output
from models.series import parse_key
from tables import clocks, groups, routes, samples
from tables.intake import Taken, Turn, by_stream, late_event
from tables.samples import Sample, Series, Waiting


def fold(taken: Taken[Metric], turn: Turn) -> list[Output]:
    """The partials of these samples, after who wakes up with them."""
    keys = [samples.group_key(metric) for metric in taken.events]
    refused = _refused(taken, keys, turn)
    outputs: list[Output] = []
    for (tenant, stream), places in by_stream(taken).items():
        name = clocks.clock_name(tenant, stream)
        outputs += clocks.wake(turn.clocks, name, taken.events[places[0]].at, turn.place)
        turn.touched.add(name)
        of_series: dict[str, list[int]] = {}
        for i in places:
            if keys[i] not in refused:
                of_series.setdefault(keys[i], []).append(i)
        delay: int | None = None
        for key, mine in of_series.items():
            made, top, moved = _fold_series(key, tenant, stream, mine, taken, turn)
            outputs += made
            if moved:
                delay = max(delay or 0, turn.now - top)
        top = max(taken.events[i].at for i in places)
        clocks.move(turn.clocks, name, top, delay, turn.now)
    return outputs


def _refused(taken: Taken[Metric], keys: Sequence[str], turn: Turn) -> set[str]:
    """The series that are beyond their tenant's limit."""
    candidates: dict[str, list[tuple[int, int, str]]] = {}
    for i, (metric, key) in enumerate(zip(taken.events, keys, strict=True)):
        candidates.setdefault(metric.tenant_id, []).append((i, 0, key))
    refused: set[str] = set()
    limit = turn.config.series.limits.metrics_per_tenant
    for tenant, mine in candidates.items():
        refused |= groups.admit(mine, tenant, limit, turn.state[groups.GROUPS])
    turn.count("series_refused", "over_limit", sum(key in refused for key in keys))
    return refused


def _fold_series(
    key: str, tenant: str, stream: str, places: Sequence[int], taken: Taken[Metric], turn: Turn
) -> tuple[list[Output], int, bool]:
    """Fold the samples of one series: its partials, its newest time, and whether that is new."""
    decided, waiting = turn.state[samples.SERIES], turn.state[samples.WAITING]
    name = routes.scoped(key, stream)
    time, grace = turn.config.series.time, turn.config.grace
    new = [Sample(taken.events[i].at, taken.events[i].value) for i in places]
    series: Series | None = decided.get(name)
    before = series.top if series else 0
    cells: samples.Cells = {}
    if series is None:
        kept: Waiting = waiting.get(name) or Waiting(turn.now, ())
        before = max((s.at for s in kept.samples), default=0)
        missing = samples.MEASURED - len(kept.samples)
        kept = Waiting(turn.now, (*kept.samples, *new[:missing]))
        turn.count("events_folded", "on_time", len(new[:missing]))
        new, places = new[missing:], places[missing:]
        if len(kept.samples) < samples.MEASURED:
            waiting[name] = kept
            top = max(s.at for s in kept.samples)
            return [], top, top > before
        waiting.pop(name, None)
        series, cells = samples.begin(kept, turn.config.series)
    pushed: int = turn.clocks[clocks.clock_name(tenant, stream)].pushed
    folded = samples.fold(series, new, pushed, time.lateness, grace)
    for slot, values in folded.cells.items():
        cells.setdefault(slot, []).extend(values)
        turn.count("events_folded", "late" if slot[1] else "on_time", len(values))
    decided[name] = folded.series
    turn.count("events_folded", "beyond_grace", len(folded.beyond))
    late = [
        late_event(
            taken.events[places[i]], taken.records[places[i]], stream, folded.running[i], turn
        )
        for i in folded.beyond
    ]
    top = folded.series.top
    made = _written(key, tenant, stream, folded.series, cells, turn)
    return [*made, *late], top, top > before


def _written(
    key: str, tenant: str, stream: str, series: Series,
    cells: samples.Cells, turn: Turn,
) -> list[Output]:  # fmt: skip
    pushed: int = turn.clocks[clocks.clock_name(tenant, stream)].pushed
    watermark = max(series.top, pushed) - turn.place.time.lateness
    return samples.outputs(key, tenant, stream, turn.batch.partition, series, cells, watermark)


def release(turn: Turn) -> list[Output]:
    """What was kept back for longer than more samples need to be waited for.

    By each series' own silence: its tenant may be busy for ever with others.
    """
    outputs: list[Output] = []
    for name, kept in list(turn.state[samples.WAITING].items()):
        if samples.is_due(kept, turn.now, turn.config.patience):
            key, stream = routes.scope(name)
            outputs += _let_go(name, key, parse_key(key).tenant, stream, turn)
    return outputs


def _let_go(name: str, key: str, tenant: str, stream: str, turn: Turn) -> list[Output]:
    kept = turn.state[samples.WAITING].pop(name)
    series, cells = samples.begin(kept, turn.config.series)
    turn.state[samples.SERIES][name] = series
    return _written(key, tenant, stream, series, cells, turn)


def finish(tenant: str, stream: str, turn: Turn) -> list[Output]:
    """What a stream that ends kept back; then everything that is kept for it is deleted."""
    outputs: list[Output] = []
    for name in list(turn.state[samples.WAITING]):
        key, its_stream = routes.scope(name)
        if its_stream == stream and parse_key(key).tenant == tenant:
            outputs += _let_go(name, key, tenant, stream, turn)
    for name in list(turn.state[samples.SERIES]):
        key, its_stream = routes.scope(name)
        if its_stream == stream and parse_key(key).tenant == tenant:
            del turn.state[samples.SERIES][name]
    return outputs
