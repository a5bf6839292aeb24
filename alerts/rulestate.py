"""What is remembered of one rule on one series and stream, and how it crosses the changelog."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from alerts.rules import Rule
from models.errors import StateError
from models.records import Window

VERSION = 1
EVIDENCE = 64
"""Windows kept of an incident: its first 32, which opened it, and its last 32."""


class Seen(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One window with data, as the condition saw it first; revisions change ``is_breach``.

    ``start`` and ``end`` are event time in ms, the others in the measure's unit.
    """

    start: int
    end: int
    is_breach: bool
    value: float
    low: float | None = None
    high: float | None = None


class Incident(msgspec.Struct, frozen=True, array_like=True):
    """A run of the condition, from its first breaching window until nothing can change it any more.

    Times are event time in ms. ``revision`` counts its findings. ``clear`` is how long, in ms, it
    has not breached since it last did; ``data_end`` the end of the newest window with data.
    ``low`` and ``high`` are the band that its first window was expected in (of a release the last
    breaching one's). ``peak`` and ``peak_score`` are the worst window's value, in the measure's unit,
    and score; ``shape`` is the last that was said of a breaching window, ``tail`` and
    ``contributions`` those of the worst.
    """

    id: str
    phase: Literal["pending", "firing", "ended"]
    since: int
    revision: int
    data_end: int
    evidence: tuple[Seen, ...]
    clear: int = 0
    ended_at: int = 0
    peak: float | None = None
    peak_score: float | None = None
    low: float | None = None
    high: float | None = None
    shape: str = ""
    tail: float | None = None
    contributions: dict[str, float] = {}


class RuleState(msgspec.Struct, frozen=True, array_like=True):
    """``first``: start of the series' first window with data, where the rule needs it.
    ``quiet_until``: no incident begins before it. Both are event time in ms.
    """

    version: int = VERSION
    first: int | None = None
    quiet_until: int = 0
    incident: Incident | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(RuleState)


def encode(state: RuleState) -> bytes:
    """The state as msgpack; a quiet one is a few bytes."""
    return _encoder.encode(state)


def decode(data: bytes) -> RuleState:
    """The state that :func:`encode` wrote.

    Raises:
        StateError: the bytes are not a rule's state of this version.
    """
    try:
        state = _decoder.decode(data)
    except msgspec.DecodeError as exc:
        msg = f"rule state of {len(data)} bytes: {exc}"
        raise StateError(msg) from exc
    if state.version != VERSION:
        msg = f"rule state has version {state.version}; this program reads {VERSION}"
        raise StateError(msg)
    return state


def remembered(evidence: tuple[Seen, ...], seen: Seen) -> tuple[Seen, ...]:
    """The evidence with one more window; beyond the bound the middle goes."""
    if len(evidence) < EVIDENCE:
        return (*evidence, seen)
    half = EVIDENCE // 2
    return (*evidence[:half], *evidence[half + 1 :], seen)


def incident_id(rule: Rule, window: Window, series_key: str) -> str:
    """The id of the incident that begins with this window."""
    return incident_digest(window.tenant, rule.id, series_key, window.stream, str(window.start))


def incident_digest(*parts: str) -> str:
    """20 hex digits, the same in every run: what makes an incident this one and no other."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=10).hexdigest()
