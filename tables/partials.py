"""The front of the windows step: from bytes to partials and watermarks that can be relied on.

A partial that was decoded here merges without error: nothing later has to be on its guard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    return fault_of(flow.parts)


def fault_of(parts: Mapping[str, Any]) -> str | None:
    """Why these decoded parts could not be merged, or None."""
    for name, part in parts.items():
        check = _check_of(name)
        if check is None:
            return f"part {name!r} is not of the kinds n, s, q, d"
        try:
            if check(part):
                continue
        except (TypeError, ValueError):
            pass
        return f"part {name!r} holds impossible numbers"
    return None


@lru_cache(maxsize=1024)
def _check_of(name: str) -> Callable[[Any], bool] | None:
    return _CHECKS.get(name[:1]) if name[1:2] in {"", ":"} else None


def _is_count(part: Any) -> bool:
    return isinstance(part, int) and part >= 0


def _is_moments(part: Any) -> bool:
    n, total, squares, exponent, low, high = part
    return (
        isinstance(part, list)
        and n >= 0
        and _LOWEST_EXPONENT <= exponent <= 0
        and (n == 0 or low <= high)
        and isinstance(int(total) + int(squares) + n + exponent, int)
    )


def _is_buckets(part: Any) -> bool:
    return isinstance(part, dict) and (not part or min(part.values()) > 0)


def _is_registers(part: Any) -> bool:
    if not isinstance(part, dict) or not part:
        return isinstance(part, dict)
    numbers, ranks = part.keys(), part.values()
    return bool(
        0 <= min(numbers) <= max(numbers) < REGISTERS and 0 < min(ranks) <= max(ranks) <= MAX_RANK
    )


_CHECKS = {"n": _is_count, "s": _is_moments, "q": _is_buckets, "d": _is_registers}
