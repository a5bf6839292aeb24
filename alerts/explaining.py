"""An attribution in words: which slices explain a change, and what else took part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from alerts.wording import measure_name, percent

ALSO = 0.05
"""Slices that brought at least this share of the change are mentioned beside the cause."""

MENTIONED = 3
"""At most so many others are mentioned."""

_ORDER = ("platform", "country", "source", "plan")
"""What, then where: `ios × FR`. Other tags follow by name."""


class Part(NamedTuple):
    """A slice and its share of a change (0.83: 83 %; negative: against it)."""

    tags: Mapping[str, str]
    share: float


def slice_text(tags: Mapping[str, str]) -> str:
    """A slice as people call it: ``ios × FR``; the total's is ``everything``."""
    known = [t for t in _ORDER if t in tags]
    return " × ".join(tags[t] for t in (*known, *sorted(tags.keys() - set(known)))) or "everything"


def explanation_text(
    measure: str,
    change: float,
    of: float | None,
    named: Sequence[Part],
    others: Iterable[Part],
    root: Mapping[str, str] | None = None,
) -> str:
    """Such as ``plays of ios × FR explain 83 % of the drop (total −12 %); also: android × FR 6 %``.

    ``change`` is how far the total moved (or the slice ``root``), ``of`` what was expected of it.
    """
    direction = "rise" if change > 0 else "drop"
    whole = slice_text(root) if root else "total"
    moved = f" ({whole} {percent(change / of, signed=True)})" if of else ""
    label = measure_name(measure)
    if not named:
        return f"no slice explains the {direction} of {label}{moved}"
    verb = "explain" if label.endswith("s") or len(named) > 1 else "explains"
    where = " and ".join(slice_text(p.tags) for p in named)
    share = percent(sum(p.share for p in named))
    beside = [p for p in others if p.share >= ALSO][:MENTIONED]
    also = ", ".join(f"{slice_text(p.tags)} {percent(p.share)}" for p in beside)
    text = f"{label} of {where} {verb} {share} of the {direction}{moved}"
    return f"{text}; also: {also}" if also else text
