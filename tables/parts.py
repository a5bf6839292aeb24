"""The parts of a partial: what they are called, how they merge, and which measure is made of which.

A part's *name* says its kind, and what it is of: ``kind[:field][:predicate]``.

=====================  =========================================================================
``n``                  count of the events (int)
``n:<predicate>``      count of the events where it holds (int)
``s:<field>``          exact moments of a field (``tables.sketches.moments``)
``q:<field>``          quantile buckets of a field (``tables.sketches.buckets``)
``d:<field>``          distinct registers of a field's 64-bit hash (``tables.sketches.registers``)
=====================  =========================================================================

``s``, ``q`` and ``d`` may end in ``:<predicate>``: of the events where it holds. Plays carry
``n`` always; a metric's samples carry :data:`METRIC_PARTS` alone. A part that is absent is empty,
so an ingest step need not send zeros. All parts are plain data for msgpack, and merging them is
commutative and associative *in content*: whatever the order, equal values make equal parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from models.config import Measure
from models.records import Value
from tables import sketches
from tables.histograms import Histogram
from tables.sketches import buckets, moments, registers

__all__ = [
    "EVENTS",
    "METRIC_PARTS",
    "Evaluator",
    "PartName",
    "Parts",
    "buckets",
    "evaluate",
    "evaluate_metric",
    "event_count",
    "merge",
    "merge_parts",
    "moments",
    "part_names",
    "registers",
    "split_name",
]

Parts = dict[str, Any]
"""The parts of a pane or window by name."""

EVENTS = "n"
METRIC_PARTS = ("s:value", "q:value")


class PartName(NamedTuple):
    """The pieces of a part's name. ``field`` is None for counts, ``where`` where all are taken."""

    kind: str
    field: str | None
    where: str | None


def split_name(name: str) -> PartName:
    """``"n:failed"`` -> ("n", None, "failed"); ``"q:startup_ms"`` -> ("q", "startup_ms", None)."""
    kind, _, rest = name.partition(":")
    if kind == EVENTS:
        return PartName(kind, None, rest or None)
    field, _, where = rest.partition(":")
    return PartName(kind, field, where or None)


def part_names(measures: Sequence[Measure]) -> tuple[str, ...]:
    """The parts that these measures of plays need, each once, ``n`` first, the rest sorted."""
    return (EVENTS, *sorted({_part_of(m) for m in measures} - {EVENTS}))


_KINDS = {"count": "n", "ratio": "n", "mean": "s", "quantile": "q", "distinct": "d"}


def _part_of(measure: Measure) -> str:
    """The one part, besides ``n``, that a measure is made of."""
    kind = _KINDS[measure.kind]
    middle = None if kind == EVENTS else measure.of
    return ":".join(piece for piece in (kind, middle, measure.where) if piece)


# -- merging ----------------------------------------------------------------------------------------


def _add(a: int, b: int) -> int:
    return a + b


_MERGES: dict[str, Callable[[Any, Any], Any]] = {
    "n": _add,
    "s": sketches.merge_moments,
    "q": sketches.merge_buckets,
    "d": sketches.merge_registers,
}


def merge(name: str, a: Any, b: Any) -> Any:
    """The part of both together; may change and return ``a``, never ``b``."""
    return _MERGES[name[0]](a, b)


def merge_parts(into: Parts, other: Mapping[str, Any]) -> Parts:
    """Merge ``other`` into ``into`` and return it. What is new is copied, so nothing is shared."""
    get = into.get
    for name, part in other.items():
        mine = get(name)
        if mine is None:
            into[name] = part if isinstance(part, int) else part.copy()
        elif name[0] == "n":
            into[name] = mine + part
        else:
            into[name] = _MERGES[name[0]](mine, part)
    return into


# -- measures ---------------------------------------------------------------------------------------


def event_count(parts: Mapping[str, Any]) -> int:
    """How many events the parts are of: plays, or a metric's samples."""
    n = parts.get(EVENTS)
    if n is None:
        samples = parts.get("s:value")
        return samples[0] if samples else 0
    return int(n)


def rounded(number: float | None) -> float | None:
    """To 12 significant digits, so that the last bits of arithmetic are not published."""
    return None if number is None else float(f"{number:.12g}")


def evaluate(measure: Measure, parts: Mapping[str, Any]) -> Value:
    """What one measure of plays comes to.

    =========  ====================================  ============================================
    kind       value                                 weight
    =========  ====================================  ============================================
    count      plays (where the predicate holds)     the value itself
    ratio      share of plays, None of none          plays
    mean       of the field, None of none            plays that have the field
    quantile   within 1 %, None of none              plays that have the field
    distinct   estimate (1.6 %, whole), 0 of none    plays (where the predicate holds)
    =========  ====================================  ============================================

    A mean also has minimum, maximum and population variance. What is computed has 12 significant
    digits; extremes are as they came.
    """
    return Evaluator((measure,))(parts)[measure.name]


class Evaluator:
    """Computes a fixed set of measures; quantiles of one field share their work."""

    def __init__(self, measures: Sequence[Measure]) -> None:
        self._measures = [(m.name, m.kind, _part_of(m), _weight_of(m)) for m in measures]
        self._quantiles = {
            part: [(m.name, m.q or 0.0) for m in measures if _part_of(m) == part]
            for part in (_part_of(m) for m in measures if m.kind == "quantile")
        }

    def __call__(self, parts: Mapping[str, Any]) -> dict[str, Value]:
        """The measures by name."""
        out: dict[str, Value] = {}
        get = parts.get
        for name, kind, part_name, weight in self._measures:
            if kind == "count":
                count = float(get(part_name, 0))
                out[name] = Value(count, count)
            elif kind == "ratio":
                n = get(weight, 0)
                share = rounded(get(part_name, 0) / n) if n else None
                out[name] = Value(share, float(n))
            elif kind == "mean":
                out[name] = _mean(get(part_name))
            elif kind == "distinct":
                out[name] = _distinct(get(part_name), float(get(weight, 0)))
            elif name not in out:
                self._add_quantiles(part_name, get(part_name), out)
        return out

    def _add_quantiles(
        self, part_name: str, counts: Mapping[int, int] | Histogram | None, out: dict[str, Value]
    ) -> None:
        """All quantiles of one part at once."""
        asked = self._quantiles[part_name]
        if not counts:
            out.update((name, Value()) for name, _ in asked)
            return
        qs = [q for _, q in asked]
        if isinstance(counts, Histogram):
            n, values = counts.quantiles(qs)
        else:
            n, values = sketches.quantiles(counts, qs)
        for (name, _), value in zip(asked, values, strict=True):
            out[name] = Value(value, float(n))


def _weight_of(measure: Measure) -> str:
    """The count that a share or a distinct count rests on."""
    return EVENTS if measure.kind == "ratio" or not measure.where else f"{EVENTS}:{measure.where}"


def _distinct(found: Any, weight: float) -> Value:
    return Value(0.0 if found is None else float(round(sketches.distinct(found))), weight)


def _mean(part: Sequence[Any] | None) -> Value:
    if not part or not part[0]:
        return Value()
    return Value(
        rounded(sketches.mean(part)),
        float(part[0]),
        minimum=part[4],
        maximum=part[5],
        variance=rounded(sketches.variance(part)),
    )


def evaluate_metric(parts: Mapping[str, Any]) -> Value:
    """A metric's value: the mean of its samples, resting on their number; None of none."""
    return _mean(parts.get("s:value"))
