"""Points of a series: one per window, merged into steps, with gaps said. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from models.config import SeriesConfig
from models.records import Value
from storage.protocols import Point
from storage.resolution import Plan
from storage.series_rows import Group


def point_of(start: int, size: int, revision: int, value: Value) -> Point:
    """The point of one window's value."""
    return Point(
        start=start,
        end=start + size,
        value=value.value,
        minimum=value.minimum,
        maximum=value.maximum,
        weight=value.weight,
        low=value.low,
        high=value.high,
        score=value.score,
        revision=revision,
        learning=value.learning,
    )


def is_count(group: Group, measure: str, config: SeriesConfig, points: Sequence[Point]) -> bool:
    """Whether a measure adds up over time: a count does, a metric's samples do not.

    For a measure that is no longer configured, the data say it: a count's weight is its value.
    """
    if group.metric:
        return False
    for known in config.measures:
        if known.name == measure:
            return known.kind == "count"
    return all(p.value == p.weight for p in points if p.value is not None)


def render(points: Sequence[Point], plan: Plan, count: bool, limit: int) -> list[Point]:
    """The answer to a query: merged as planned, gaps filled in, at most ``limit``, oldest first."""
    if plan.step is not None:
        points = downsample(points, plan.step, count)
    return with_gaps(points, plan.step or plan.stride)[:limit]


def downsample(points: Iterable[Point], step: int, count: bool) -> list[Point]:
    """Merge points that start in the same multiple of ``step`` ms; they must be in order.

    ``count``: values and bands add up. Others become the mean weighted by what each rests on, and
    keep the least minimum and the greatest maximum. The score is the highest, so that no surprise
    is smoothed away; a band is given only where all values have one.
    """
    merged = []
    for bucket, group in groupby(points, key=lambda p: p.start // step):
        merged.append(_merge(list(group), bucket * step, step, count))
    return merged


def with_gaps(points: Sequence[Point], stride: int) -> list[Point]:
    """Put one point without a value wherever windows are missing between two points.

    ``stride``: how far apart the starts of neighbours are, in ms.
    """
    filled: list[Point] = []
    for point in points:
        if filled and point.start > (expected := filled[-1].start + stride):
            filled.append(_gap(expected, point.start))
        filled.append(point)
    return filled


def _gap(start: int, end: int) -> Point:
    return Point(start, end, None, None, None, 0.0, None, None, None, 0, False)


def _merge(points: list[Point], start: int, step: int, count: bool) -> Point:
    present = [p for p in points if p.value is not None]
    weights = [p.weight for p in present]
    scores = [p.score for p in present if p.score is not None]
    return Point(
        start=start,
        end=start + step,
        value=_combine([p.value for p in present], weights, count),
        minimum=None if count else _extreme(min, [(p.minimum, p.value) for p in present]),
        maximum=None if count else _extreme(max, [(p.maximum, p.value) for p in present]),
        weight=sum(p.weight for p in points),
        low=_combine([p.low for p in present], weights, count),
        high=_combine([p.high for p in present], weights, count),
        score=max(scores, default=None),
        revision=max(p.revision for p in points),
        learning=any(p.learning for p in points),
    )


def _combine(values: Sequence[float | None], weights: Sequence[float], count: bool) -> float | None:
    known = [v for v in values if v is not None]
    if not known or len(known) < len(values):
        return None
    if count:
        return sum(known)
    total = sum(weights)
    if total <= 0:
        return sum(known) / len(known)
    mean = sum(v * w for v, w in zip(known, weights, strict=True)) / total
    return min(max(mean, min(known)), max(known))  # rounding must not lead out of the values


def _extreme(
    pick: Callable[..., float], pairs: Iterable[tuple[float | None, float | None]]
) -> float | None:
    known = [own if own is not None else value for own, value in pairs]
    return pick((v for v in known if v is not None), default=None)
