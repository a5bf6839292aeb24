"""The front of the windows step: from bytes to partials and watermarks that can be relied on.

A partial that was decoded here merges without error: nothing later has to be on its guard.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from models.records import Partial, Watermark
from tables.kinds import is_metric
from tables.sketches import MAX_RANK, REGISTERS

Part = int | dict[int, int] | list[int | str | float]
"""What any part is in msgpack: a count, buckets or registers, moments."""

FARTHEST = 1 << 60
"""No pane is farther from the epoch (ms)."""

_LOWEST_EXPONENT = -1074


class TypedPartial(Partial, array_like=True, gc=False, tag="p"):
    """A partial whose parts are decoded by type: a wrong one is an error of the decoder."""

    parts: dict[str, Part]


_decode = msgspec.msgpack.Decoder(TypedPartial | Watermark).decode


class BadPartialError(ValueError):
    """A record of ``partials`` cannot be used; the message says why."""


def decode_partial(data: bytes, pane: int) -> Partial | Watermark:
    """The record of these bytes; ``pane`` is the length of panes of plays, ms.

    Raises:
        BadPartialError: it is neither a partial nor a watermark, or holds what cannot be.
    """
    try:
        flow: Partial | Watermark = _decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as exc:
        raise BadPartialError(str(exc)) from exc
    fault = _fault(flow, pane) if isinstance(flow, Partial) else _fault_of_mark(flow)
    if fault is not None:
        raise BadPartialError(fault)
    return flow


def _fault_of_mark(mark: Watermark) -> str | None:
    if mark.source not in {"plays", "metrics"}:
        return f"watermark of source {mark.source!r}, not of plays or metrics"
    return None


def _fault(flow: Partial, pane: int) -> str | None:
    if flow.size <= 0 or flow.pane % flow.size or abs(flow.pane) > FARTHEST:
        return f"pane {flow.pane} is not a multiple of its size {flow.size}"
    if flow.size != pane and not is_metric(flow.group):
        return f"pane of {flow.size} ms; panes of plays have {pane} ms"
    if flow.noticed is not None and (flow.noticed % flow.size or abs(flow.noticed) > FARTHEST):
        return f"noticed {flow.noticed} is not a multiple of its size {flow.size}"
    return fault_of(flow.parts)


def fault_of(parts: Mapping[str, Any]) -> str | None:
    """Why these decoded parts could not be merged, or None."""
    for name, part in parts.items():
        kind = _kind_of(name)
        if kind == "n":
            sound = type(part) is int and part >= 0
        elif kind == "s":
            sound = type(part) is list and _are_moments(part)
        elif kind == "q":
            sound = type(part) is dict and min(part.values(), default=1) > 0
        elif kind == "d":
            sound = type(part) is dict and (not part or _are_registers(part))
        else:
            return f"part {name!r} is not of the kinds n, s, q, d"
        if not sound:
            return f"part {name!r} holds impossible numbers"
    return None


@lru_cache(maxsize=1024)
def _kind_of(name: str) -> str | None:
    kind = name.partition(":")[0]
    return kind if kind in {"n", "s", "q", "d"} else None


def _are_moments(part: list[Any]) -> bool:
    try:
        n, total, squares, exponent, low, high = part
        whole = int(total) + int(squares)
        return (
            type(whole + n + exponent) is int
            and n >= 0
            and _LOWEST_EXPONENT <= exponent <= 0
            and (n == 0 or low <= high)
        )
    except (TypeError, ValueError):
        return False


def _are_registers(part: dict[int, int]) -> bool:
    ranks = part.values()
    return min(part) >= 0 and max(part) < REGISTERS and min(ranks) > 0 and max(ranks) <= MAX_RANK
