"""Which events were seen before: 64-bit hashes of their ids, remembered for ten minutes.

Time is the records' Kafka timestamp (its running maximum in offset order), so a replay of the topic
drops exactly what the first run dropped. Hashes are kept by minute; a minute is forgotten as a
whole, which makes the memory ten to eleven minutes long.

What is durable are *segments*: the new hashes of one minute in one batch, packed, under
``minute:first offset``. A minute rewritten as a whole in every flush would cost the square of its
events, and outgrow a Kafka record at 131,072 of them. The sets that are asked are derived from the
segments and never written.

An event is dropped wrongly if its hash meets another's: with n ids in memory that has odds of
n / 2**64 per event. At 20,000 events/s on one partition (13 million ids) that is one event in two
years. Each id costs 8 bytes in the changelog and about 90 in memory, for eleven minutes.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, groupby
from struct import pack, unpack
from typing import Any

from models.errors import StateError
from models.flow import State, StoreSpec

MINUTE = 60_000
KEPT_MINUTES = 11
"""The minute that runs and the ten before it."""

MAX_SEGMENT = 65_536
"""Hashes in a segment at most: half of what a Kafka record holds."""

SEGMENTS = "dedupe"
INDEX = "dedupe_index"
_CLOCK = "clock"


def identity(tenant: str, stream: str, event_id: str) -> int:
    """The 64-bit hash of an event's id, within its tenant and stream."""
    hashing = _begun(tenant, stream).copy()
    hashing.update(event_id.encode())
    return int.from_bytes(hashing.digest(), "little")


def identities(
    tenants: Sequence[str], streams: Sequence[str], event_ids: Sequence[str | None]
) -> list[int | None]:
    """:func:`identity` of many events, None where one has no id."""
    if not event_ids or None in event_ids or not (_is_one(tenants) and _is_one(streams)):
        return _identities(tenants, streams, event_ids)
    begin = _begun(tenants[0], streams[0]).copy
    digests = []
    for event_id in event_ids:
        hashing = begin()
        hashing.update(event_id.encode())  # type: ignore[union-attr]
        digests.append(hashing.digest())
    return list(unpack(f"<{len(digests)}Q", b"".join(digests)))


def _is_one(values: Sequence[str]) -> bool:
    return values.count(values[0]) == len(values)


def _identities(
    tenants: Sequence[str], streams: Sequence[str], event_ids: Sequence[str | None]
) -> list[int | None]:
    """The same of mixed tenants and streams, and where some have no id."""
    hashes: list[int | None] = []
    of: tuple[str, str] | None = None
    begin = _begun("", "").copy
    from_bytes = int.from_bytes
    for tenant, stream, event_id in zip(tenants, streams, event_ids, strict=True):
        if event_id is None:
            hashes.append(None)
            continue
        if of != (tenant, stream):
            of = (tenant, stream)
            begin = _begun(tenant, stream).copy
        hashing = begin()
        hashing.update(event_id.encode())
        hashes.append(from_bytes(hashing.digest(), "little"))
    return hashes


@lru_cache(maxsize=1024)
def _begun(tenant: str, stream: str) -> blake2b:
    """The part of the hash that all ids of a stream share; a copy costs less than a new one."""
    return blake2b(f"{tenant}\x1f{stream}\x1f".encode(), digest_size=8)


class Index:
    """The segments as sets by minute, and the names of the segments that are in them."""

    __slots__ = ("last", "minutes", "names", "size")

    def __init__(self) -> None:
        self.minutes: dict[int, set[int]] = {}
        self.names: dict[int, list[str]] = {}
        self.last: str | None = None
        self.size = -1

    def agrees(self, segments: MutableMapping[str, Any]) -> bool:
        """Whether nothing happened to the segments that this index did not see.

        After a restore it is empty, and after a failed fold was undone it knows too much.
        """
        return self.size == len(segments) and (self.last is None or self.last in segments)

    def add(self, name: str, minute: int, hashes: Sequence[int]) -> None:
        """Take up one segment."""
        self.minutes.setdefault(minute, set()).update(hashes)
        self.names.setdefault(minute, []).append(name)
        self.last = name


def _read_segment(data: bytes) -> bytes:
    if len(data) % 8:
        raise StateError(f"dedupe segment of {len(data)} bytes; it must be whole 64-bit hashes")
    return data


STORES = (
    StoreSpec(SEGMENTS, bytes, _read_segment),
    StoreSpec(INDEX, lambda _: b"", lambda _: Index()),
)


def find_fresh(
    hashes: Sequence[int | None], timestamps: Sequence[int], offset: int, state: State
) -> list[bool]:
    """For each event in offset order, whether it is no duplicate; remembers those with an id.

    ``hashes`` has None for events without an id, which are never duplicates; ``timestamps`` are the
    records', epoch ms; ``offset`` is the first record's, and names the new segments.
    """
    segments = state[SEGMENTS]
    index = _index(state)
    start = unpack("<q", segments[_CLOCK])[0] if _CLOCK in segments else 0
    minutes = _minutes(timestamps, start)
    fresh: list[bool] = []
    for minute, run in groupby(minutes):
        part = hashes[len(fresh) : len(fresh) + sum(1 for _ in run)]
        known = _known(part, minute, index)
        if known is None:
            new = [h for h in part if h is not None]
            fresh += [True] * len(part)
        else:
            new = []
            for h in part:
                fresh.append(h not in known)
                if h is not None and h not in known:
                    known.add(h)
                    new.append(h)
        for i in range(0, len(new), MAX_SEGMENT):
            name, some = f"{minute}:{offset + i}", new[i : i + MAX_SEGMENT]
            segments[name] = pack(f"<{len(some)}Q", *some)
            index.add(name, minute, some)
    if minutes and minutes[-1] > start:
        segments[_CLOCK] = pack("<q", minutes[-1])
        _forget(minutes[-1], segments, index)
    index.size = len(segments)
    return fresh


def _minutes(timestamps: Sequence[int], start: int) -> Sequence[int]:
    """The running maximum of the records' minutes, from ``start`` on; most batches are of one."""
    if timestamps:
        first = max(timestamps[0] // MINUTE, start)
        if max(timestamps) // MINUTE <= first:
            return [first] * len(timestamps)
    return list(accumulate((t // MINUTE for t in timestamps), max, initial=start))[1:]


def _known(part: Sequence[int | None], minute: int, index: Index) -> set[int] | None:
    """The ids of ``part`` that were seen before, or None if all of them are new and distinct."""
    ids = set(part)
    ids.discard(None)
    known: set[int] = set()
    for kept, seen in index.minutes.items():
        if kept > minute - KEPT_MINUTES and not seen.isdisjoint(ids):
            known |= seen & ids
    return known if known or len(ids) + part.count(None) < len(part) else None


def _forget(minute: int, segments: MutableMapping[str, Any], index: Index) -> None:
    for old in [m for m in index.minutes if m <= minute - KEPT_MINUTES]:
        for name in index.names.pop(old):
            del segments[name]
        del index.minutes[old]
    if index.last not in segments:
        index.last = None


def _index(state: State) -> Index:
    """The index in use, built anew where it does not match the segments."""
    segments = state[SEGMENTS]
    index: Index | None = state[INDEX].get("")
    if index is None or not index.agrees(segments):
        index = Index()
        for name, data in segments.items():
            if name != _CLOCK:
                index.add(name, int(name.partition(":")[0]), unpack(f"<{len(data) // 8}Q", data))
        index.last, index.size = None, len(segments)
        state[INDEX][""] = index
    return index
