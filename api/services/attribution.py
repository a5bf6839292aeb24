"""What explains an alert, from the windows that the store has kept. Nothing live takes part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from alerts.explaining import Part, explanation_text, slice_text
from alerts.wording import measure_name
from api.problems import UnknownResourceError
from api.schemas.attribution import Attribution, SliceExplanation, SliceShare, UnusualSlice
from ml.attribution import Explanation, Judged, Kind, Slice, Tags, explain, outside_band
from ml.attribution import expectation as expected_value
from ml.attribution import value as actual_value
from models.config import Measure, SeriesConfig, WindowSpec
from models.records import Alert
from models.series import format_key
from storage.cursors import MAX_LIMIT
from storage.protocols import Point, Queries, SeriesInfo

REFERENCE = 1_800_000
"""What is expected is the mean of so many ms before the alert began: slices' means add up to the
total's exactly, which bands do not.
"""

MOST_SLICES = 500
"""Slices that are looked at, the busiest first."""

OTHERS = 10
"""Others that an explanation lists."""

_ADDITIVE: dict[str, Kind] = {"count": "count", "ratio": "ratio", "mean": "mean"}


class _Span(NamedTuple):
    """[start, end) is explained by how it differs from [reference, start); ms."""

    reference: int
    start: int
    end: int


class AttributionReader:
    """Explains the alerts of one store."""

    def __init__(self, queries: Queries, config: SeriesConfig) -> None:
        self._queries = queries
        self._measures = {m.name: m for m in config.measures}
        self._groups = set(config.groups)
        tumbling = [w for w in config.windows if w.size == w.slide]
        self._finest = min(tumbling, key=lambda w: w.size, default=None)
        self._detect = next((w for w in config.windows if w.detect), None)

    async def of_alert(self, tenant: str, alert_id: str) -> Attribution:
        """Which slices explain the total's change from the alert's start until it fired.

        Raises:
            UnknownResourceError: the tenant has no such alert.
        """
        alert = await self._queries.alert(tenant, alert_id)
        if alert is None:
            msg = f"there is no alert {alert_id!r}"
            raise UnknownResourceError(msg)
        measure = self._measures.get(alert.measure)
        span = _Span(alert.started_at - REFERENCE, alert.started_at, alert.fired_at)
        of_plays = tuple(sorted(alert.tags)) in self._groups
        if measure is None or not of_plays:
            return _nothing(alert, "gauge", span, "a metric has no dimension groups")
        slices, truncated = await self._slices(tenant, alert)
        if measure.kind not in _ADDITIVE:
            found = await self._unusual(alert, measure, span, slices)
        else:
            found = await self._explained(alert, _ADDITIVE[measure.kind], span, slices)
        found.truncated = truncated
        return found

    async def _slices(self, tenant: str, alert: Alert) -> tuple[list[SeriesInfo], bool]:
        """The series of the alert's measure, of every dimension group but the total."""
        text = format_key(tenant, alert.measure, {}).removesuffix("}")
        listed, more = await self._queries.series(tenant, text, {}, MOST_SLICES, None, alert.stream)
        found = [s for s in listed if s.tags and tuple(sorted(s.tags)) in self._groups]
        return [s for s in found if s.measure == alert.measure], more is not None

    async def _explained(
        self, alert: Alert, kind: Kind, span: _Span, series: Iterable[SeriesInfo]
    ) -> Attribution:
        key = format_key(alert.tenant, alert.measure, {})
        points = await self._points(alert, key, span, self._finest)
        since = min((p.start for p in points if p.value is not None), default=span.end)
        if since >= span.start:
            return _nothing(alert, kind, span, "the windows of that time are not kept")
        span = span._replace(reference=max(since, span.reference))
        total = _slice((), points, span, kind)
        dimensions: dict[tuple[str, ...], list[Slice]] = {}
        for info in series:
            points = await self._points(alert, info.key, span, self._finest)
            tags = tuple(sorted(info.tags.items()))
            dimension = tuple(name for name, _ in tags)
            dimensions.setdefault(dimension, []).append(_slice(tags, points, span, kind))
        found = explain(total, dimensions, kind)
        return _attribution(alert, kind, span, total, found)

    async def _unusual(
        self, alert: Alert, measure: Measure, span: _Span, series: Iterable[SeriesInfo]
    ) -> Attribution:
        """Quantiles and distinct counts do not add up: the slices that left their band, by weight."""
        judged = []
        for info in series:
            points = await self._points(alert, info.key, span, self._detect)
            last = next((p for p in reversed(points) if p.end <= span.end), None)
            if last is None or last.value is None or last.low is None or last.high is None:
                continue
            tags = tuple(sorted(info.tags.items()))
            judged.append(Judged(tags, last.value, last.low, last.high, last.weight))
        found = outside_band(judged)
        where = ", ".join(slice_text(dict(j.tags)) for j in found[:OTHERS]) or "no slice"
        name = measure_name(measure.name)
        text = f"{name} does not add up, so no shares; outside the expected band: {where}"
        out = _nothing(alert, measure.kind, span, text)
        out.method = "outside_band"
        out.unusual = [
            UnusualSlice(tags=dict(j.tags), value=j.value, low=j.low, high=j.high, weight=j.weight)
            for j in found
        ]
        return out

    async def _points(
        self, alert: Alert, key: str, span: _Span, spec: WindowSpec | None
    ) -> Sequence[Point]:
        if spec is None:
            return []
        since = span.reference - spec.size + 1
        found = await self._queries.windows(
            alert.tenant, key, alert.stream, since, span.end, None, spec.size, MAX_LIMIT
        )
        return [p for p in found if p.end - p.start == spec.size and p.end <= span.end]


def _slice(tags: Tags, points: Iterable[Point], span: _Span, kind: Kind) -> Slice:
    """A slice's sums over the span, and those of the reference scaled to the span's length.

    A window that is missing held nothing.
    """
    scale = (span.end - span.start) / (span.start - span.reference)
    sums = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for point in points:
        if point.value is None or point.start < span.reference:
            continue
        into = sums[point.start >= span.start]
        into[0] += point.value if kind == "count" else point.value * point.weight
        into[1] += point.weight
    (actual, weight), (expected, expected_weight) = sums[True], sums[False]
    return Slice(tags, actual, expected * scale, weight, expected_weight * scale)


def _nothing(alert: Alert, kind: str, span: _Span, text: str) -> Attribution:
    return Attribution(
        alert=alert.id, measure=alert.measure, kind=kind, stream=alert.stream, method="none",
        start=span.start, end=span.end, reference=span.reference, actual=None, expected=None,
        change=None, text=text, explanations=[], unusual=[], truncated=False,
    )  # fmt: skip


def _attribution(
    alert: Alert, kind: Kind, span: _Span, total: Slice, found: Sequence[Explanation]
) -> Attribution:
    actual, expected = actual_value(total, kind), expected_value(total, kind)
    moved = None if actual is None or expected is None else actual - expected
    out = _nothing(alert, kind, span, f"{measure_name(alert.measure)} did not change in total")
    out.method = "shares"
    out.actual, out.expected, out.change = actual, expected, moved
    if moved:
        best = found[0] if found else None
        named = [Part(dict(s.tags), s.share) for s in best.slices] if best else []
        others = [Part(dict(s.tags), s.share) for s in best.others] if best else []
        out.text = explanation_text(alert.measure, moved, expected, named, others)
    out.explanations = [_explanation(e) for e in found]
    return out


def _explanation(it: Explanation) -> SliceExplanation:
    def shown(shares: Iterable[Mapping[str, object]]) -> list[SliceShare]:
        return [SliceShare.model_validate(s) for s in shares]

    return SliceExplanation(
        dimension=list(it.dimension),
        share=it.share,
        surprise=it.surprise,
        slices=shown(s._asdict() | {"tags": dict(s.tags)} for s in it.slices),
        others=shown(s._asdict() | {"tags": dict(s.tags)} for s in it.others[:OTHERS]),
    )
