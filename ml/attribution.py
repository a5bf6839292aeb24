"""Which slice explains a change of the total, and how much of it each slice brought.

The method is Adtributor's (Bhagwan et al., "Adtributor: Revenue Debugging in Advertising Systems",
NSDI 2014, sections 4.1 to 4.3). A *dimension* is a set of tags whose slices split the total into
disjoint parts. A slice's *share* (there: explanatory power) is the part of the total's change that it
brought; its *surprise* is its term of the Jensen-Shannon divergence between the slices' expected and
actual parts of the total. In each dimension the most surprising slices that bring enough are taken
until they explain the change; fewest slices win (succinctness), then the greater surprise.

Three things differ from the paper:

* A quotient's change is split exactly (``_contributions``), so the shares of a dimension add up to 1;
  the paper moves one slice at a time and scales the result.
* Finer dimensions stand beside the coarse ones (``platform`` × ``country`` beside each). Surprise
  settles which is meant: it is greatest where a change is most concentrated, and splitting a slice
  that moved as a whole only makes the parts less surprising than the slice.
* A slice that fell only as everything did explains nothing, however large it is: what is named must
  move ``CONTRAST`` times as strongly as the rest (a risk ratio, as in Abuzaid et al., "DIFF: A Relational
  Interface for Large-Scale Data Explanation", VLDB 2019).

Bad where causes overlap without being slices of one dimension, where a change is smaller than the
slices' own noise, and for measures that do not add up: quantiles and distinct counts have
:func:`outside_band` only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

Tags = tuple[tuple[str, str], ...]
"""A slice: (tag, value) pairs, sorted by tag; ``()`` is the total."""

Kind = Literal["count", "ratio", "mean"]

EXPLAINED = 0.67
"""A set of slices explains a change from this share of it on (the paper's T_EP)."""

LEAST = 0.1
"""A slice with a smaller share is not named as a cause (the paper's T_EEP)."""

CONTRAST = 3.0
"""How much more strongly than the rest the named slices must have moved, per unit of expected size."""


class Slice(NamedTuple):
    """One slice, or the total. A count's ``actual`` and ``expected`` are the counts themselves; of a
    ratio or a mean they are the numerators, and the weights its denominators.
    """

    tags: Tags
    actual: float
    expected: float
    weight: float = 0.0
    expected_weight: float = 0.0


class Share(NamedTuple):
    """What a slice brought: ``share`` of the total's change (negative: against it), its ``surprise``
    (0 to ln 2, of a quotient to 2 ln 2), and its ``size``, its part of what was expected.
    """

    tags: Tags
    share: float
    surprise: float
    size: float


class Explanation(NamedTuple):
    """Slices of one dimension that explain the change together, greatest share first.

    ``share`` and ``surprise`` are theirs together; ``others`` the rest of the dimension.
    """

    dimension: tuple[str, ...]
    slices: tuple[Share, ...]
    others: tuple[Share, ...]
    share: float
    surprise: float


def change(total: Slice, kind: Kind) -> float | None:
    """How far the total is from what was expected, in the measure's unit; None where it has no value."""
    actual, expected = value(total, kind), expectation(total, kind)
    return None if actual is None or expected is None else actual - expected


def value(of: Slice, kind: Kind) -> float | None:
    """The measure's actual value; None of nothing."""
    if kind == "count":
        return of.actual
    return of.actual / of.weight if of.weight > 0 else None


def expectation(of: Slice, kind: Kind) -> float | None:
    """The measure's expected value; None of nothing."""
    if kind == "count":
        return of.expected
    return of.expected / of.expected_weight if of.expected_weight > 0 else None


def shares(total: Slice, slices: Iterable[Slice], kind: Kind) -> list[Share]:
    """Each slice's share of the total's change, greatest first; empty where nothing changed.

    Where the slices split the total, the shares add up to 1.
    """
    moved = change(total, kind)
    if not moved:
        return []
    known = list(slices)
    whole = total.expected if kind == "count" else total.expected_weight
    found = [
        Share(
            it.tags,
            _contribution(it, total, kind) / moved + 0.0,  # no minus zero
            _surprise(it, total, kind),
            _part(it.expected if kind == "count" else it.expected_weight, whole),
        )
        for it in known
    ]
    return sorted(found, key=lambda s: (-s.share, s.tags))


def explain(
    total: Slice, dimensions: Mapping[tuple[str, ...], Sequence[Slice]], kind: Kind
) -> list[Explanation]:
    """The explanations of the total's change, best first; none where no dimension explains it.

    ``dimensions`` maps a dimension's tag names to its slices; slices may be left out (what is missing
    counts as the rest). The order of anything that is given does not matter.
    """
    found = []
    for dimension, slices in sorted(dimensions.items()):
        each = shares(total, slices, kind)
        if named := _named(each):
            found.append(_explanation(dimension, named, each))
    return sorted(found, key=lambda e: (len(e.slices), -e.surprise, e.dimension))


def stands_out(share: float, size: float) -> bool:
    """Whether what brought ``share`` of a change and is ``size`` of the whole moved more strongly than
    the rest, by :data:`CONTRAST`.
    """
    if not 0 <= size < 1 or share <= 0:
        return False
    return share * (1 - size) >= CONTRAST * size * abs(1 - share)


def _named(each: Sequence[Share]) -> list[Share]:
    """The most surprising slices that together explain the change; none where nothing does."""
    named: list[Share] = []
    explained = 0.0
    for it in sorted(each, key=lambda s: (-s.surprise, s.tags)):
        if it.share < LEAST:
            continue
        named.append(it)
        explained += it.share
        if explained >= EXPLAINED:
            size = sum(s.size for s in named)
            return named if stands_out(explained, size) else []
    return []


def _explanation(
    dimension: tuple[str, ...], named: Sequence[Share], each: Sequence[Share]
) -> Explanation:
    chosen = {s.tags for s in named}
    return Explanation(
        dimension=dimension,
        slices=tuple(s for s in each if s.tags in chosen),
        others=tuple(s for s in each if s.tags not in chosen),
        share=math.fsum(s.share for s in named),
        surprise=math.fsum(s.surprise for s in named),
    )


def _contribution(it: Slice, total: Slice, kind: Kind) -> float:
    """What the slice brought to the total's change, in the measure's unit.

    Of a quotient with the expected value F and the denominator D: ``((n - F d) - (n' - F d')) / D``, with
    the slice's actual n and d, and expected n' and d'. Summed over a split of the total that is
    exactly ``N / D - F``; it holds both a changed rate and a changed mix.
    """
    if kind == "count":
        return it.actual - it.expected
    level = total.expected / total.expected_weight
    over = (it.actual - level * it.weight) - (it.expected - level * it.expected_weight)
    return over / total.weight


def _surprise(it: Slice, total: Slice, kind: Kind) -> float:
    """The slice's term of the divergence; a quotient's are numerator's and denominator's together."""
    found = _divergence(_part(it.expected, total.expected), _part(it.actual, total.actual))
    if kind != "count":
        found += _divergence(
            _part(it.expected_weight, total.expected_weight), _part(it.weight, total.weight)
        )
    return found


def _divergence(p: float, q: float) -> float:
    mean = (p + q) / 2
    found = 0.0
    for part in (p, q):
        if part > 0:
            found += part * math.log(part / mean) / 2
    return found


def _part(part: float, whole: float) -> float:
    return max(part, 0.0) / whole if whole > 0 else 0.0


class Judged(NamedTuple):
    """A slice of a measure that does not add up: its value, its band, and what it rests on."""

    tags: Tags
    value: float
    low: float
    high: float
    weight: float


def outside_band(slices: Iterable[Judged]) -> list[Judged]:
    """The slices outside their band, heaviest first: all that can be said of a quantile or a distinct
    count, whose changes do not add up to the total's.
    """
    found = [s for s in slices if not s.low <= s.value <= s.high]
    return sorted(found, key=lambda s: (-s.weight, s.tags))
