"""Where an event belongs: its key, the partition of that key, and the keys of per-stream state.

Kept apart from the folds because producers, forwarding and tests must all agree on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from models.records import LIVE

_MULTIPLIER = 0x5BD1E995
_SEED = 0x9747B28C
_MASK = 0xFFFFFFFF
_SEPARATOR = "\x1f"
"""Between a key and its stream: the control character that ASCII has for separating units."""


def murmur2(data: bytes) -> int:
    """The 32-bit MurmurHash2 of Kafka's own clients (Austin Appleby, 2008), unsigned."""
    length = len(data)
    h = _SEED ^ length
    for word in _words(length >> 2).unpack_from(data):
        k = (word * _MULTIPLIER) & _MASK
        k ^= k >> 24
        h = ((h * _MULTIPLIER) & _MASK) ^ ((k * _MULTIPLIER) & _MASK)
    if rest := length & 3:
        h = ((h ^ int.from_bytes(data[-rest:], "little")) * _MULTIPLIER) & _MASK
    h = ((h ^ (h >> 13)) * _MULTIPLIER) & _MASK
    return h ^ (h >> 15)


@lru_cache(maxsize=256)
def _words(count: int) -> Struct:
    return Struct(f"<{count}I")


@lru_cache(maxsize=1 << 16)
def partition_of(key: str, partitions: int) -> int:
    """The partition that a key belongs to: ``murmur2(key) & 0x7fffffff`` modulo the partitions.

    Remembered for the 65,536 latest keys: 2 µs in Python, and listeners play again.
    """
    return (murmur2(key.encode()) & 0x7FFFFFFF) % partitions


WORTH_AN_ARRAY = 200
"""Keys of one length from which on hashing them together is cheaper than one by one."""


def partitions_of(keys: Sequence[str], partitions: int) -> Sequence[int]:
    """:func:`partition_of` of many keys: 0.2 µs each, whether they were seen before or not."""
    if len(keys) < WORTH_AN_ARRAY:
        return [partition_of(key, partitions) for key in keys]
    joined = "".join(keys)
    if not joined.isascii():
        return [partition_of(key, partitions) for key in keys]
    found = np.empty(len(keys), np.int64)
    lengths = np.fromiter(map(len, keys), np.int64, len(keys))
    begins = np.cumsum(lengths) - lengths
    data = np.frombuffer(joined.encode(), np.uint8)
    for length in np.flatnonzero(np.bincount(lengths)).tolist():
        rows = np.flatnonzero(lengths == length)
        if len(rows) < WORTH_AN_ARRAY:
            found[rows] = [partition_of(keys[row], partitions) for row in rows.tolist()]
        else:
            each = data[begins[rows, None] + np.arange(length)]
            found[rows] = (_murmur2s(each) & 0x7FFFFFFF) % partitions
    numbers: list[int] = found.tolist()
    return numbers


def _murmur2s(data: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """:func:`murmur2` of each row; arithmetic of 32 bits wraps around by itself."""
    length = data.shape[1]
    multiplier = np.uint32(_MULTIPLIER)
    h = np.full(len(data), _SEED ^ length, np.uint32)
    words = np.ascontiguousarray(data[:, : length & ~3]).view("<u4")
    for column in words.T:
        k = column * multiplier
        k ^= k >> np.uint32(24)
        h = h * multiplier ^ k * multiplier
    if rest := length & 3:
        for i in range(rest):
            h ^= data[:, length - rest + i].astype(np.uint32) << np.uint32(8 * i)
        h *= multiplier
    h = (h ^ h >> np.uint32(13)) * multiplier
    mixed: NDArray[np.uint32] = h ^ h >> np.uint32(15)
    return mixed


def listener_key(tenant: str, listener: str) -> str:
    """The key of a listener's plays. A tenant's name has no colon, so it cannot be ambiguous."""
    return f"{tenant}:{listener}"


def scoped(key: str, stream: str) -> str:
    """A store key that belongs to one stream; the live stream's keys stay bare."""
    if _SEPARATOR in key:  # an odd id must not pass for another stream's
        key = key.replace(_SEPARATOR, " ")
    return key if stream == LIVE else f"{key}{_SEPARATOR}{stream}"


def all_scoped(keys: Sequence[str], stream: str) -> Sequence[str]:
    """:func:`scoped` of many keys of one stream."""
    if stream == LIVE and _SEPARATOR not in "".join(keys):
        return keys
    return [scoped(key, stream) for key in keys]


def scope(key: str) -> tuple[str, str]:
    """The key and stream that :func:`scoped` joined."""
    bare, separator, stream = key.rpartition(_SEPARATOR)
    return (bare, stream) if separator else (stream, LIVE)


def of_stream(keys: Iterable[str], stream: str) -> list[str]:
    """Those of many scoped keys that belong to a stream; a few hundredths of a µs each."""
    if stream == LIVE:
        return [key for key in keys if _SEPARATOR not in key]
    suffix = f"{_SEPARATOR}{stream}"
    return [key for key in keys if key.endswith(suffix)]
