"""Mergeable summaries of many values: exact moments, quantile buckets, distinct registers.

Each is plain data (lists and dicts of numbers) that crosses msgpack as it is, and each is
*order-free*: any order and any grouping of the same values gives the same content, so that no
published number depends on how batches were cut. Kept apart from ``tables.parts``, which knows
their names and which measure is made of which.
"""

from __future__ import annotations

import math
import operator
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

# -- moments: [n, sum, sum of squares, exponent, minimum, maximum] --------------------------------

NO_MOMENTS: tuple[Any, ...] = (0, 0, 0, 0, math.inf, -math.inf)
"""The moments of nothing."""

_MANTISSA = 53
_SAFE_EXPONENT = 1000
_INT64 = 1 << 63


def wire_int(number: int) -> int | str:
    """An integer as msgpack can carry it: itself within 64 bits, else its decimal text."""
    return number if -_INT64 <= number < _INT64 else str(number)


def moments(values: Iterable[float]) -> list[Any]:
    """Exact moments of finite values: ``[n, sum, squares, exponent, minimum, maximum]``.

    The sum of the values is ``sum * 2**exponent`` and that of their squares ``squares *
    4**exponent``, with no rounding at all: every float is an integer times a power of two, and
    ``exponent`` (zero or negative) is the one that the value with the most binary places needs.
    So 1e300 and 1e-9 keep all their digits, and order cannot matter. Integers beyond 64 bits are
    decimal text (most sums of fractions; at worst about 600 and 1,300 digits).

    Raises:
        OverflowError, ValueError: a value is infinite, or not a number.
    """
    floats = [float(v) + 0.0 for v in values]  # + 0.0 makes -0.0 plain zero
    if not floats:
        return list(NO_MOMENTS)
    low, high = min(floats), max(floats)
    integers, places = _integers(floats, max(high, -low))
    total, squares = sum(integers), sum(map(operator.mul, integers, integers))
    if places:
        bits = reduce(operator.or_, integers)
        spare = min(places, (bits & -bits).bit_length() - 1) if bits else places
        total, squares, places = total >> spare, squares >> (2 * spare), places - spare
    return [len(floats), wire_int(total), wire_int(squares), -places, low, high]


def _integers(floats: Sequence[float], largest: float) -> tuple[list[int], int]:
    """The floats times ``2**places``, all whole; ``places`` may be more than is needed."""
    smallest = min((abs(x) for x in floats if x), default=1.0)
    places = max(0, _MANTISSA - math.frexp(smallest)[1])
    if places + max(0, math.frexp(largest)[1]) < _SAFE_EXPONENT:
        scale = 2.0**places
        return [int(x * scale) for x in floats], places
    ratios = [x.as_integer_ratio() for x in floats]
    places = max(d.bit_length() for _, d in ratios) - 1
    return [n << (places + 1 - d.bit_length()) for n, d in ratios], places


def merge_moments(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
    """The moments of both sets of values together."""
    n_a, total_a, squares_a, exponent, low_a, high_a = a
    n_b, total_b, squares_b, exp_b, low_b, high_b = b
    total_a, squares_a, total_b, squares_b = map(int, (total_a, squares_a, total_b, squares_b))
    if exponent > exp_b:
        total_a <<= exponent - exp_b
        squares_a <<= 2 * (exponent - exp_b)
        exponent = exp_b
    elif exponent < exp_b:
        total_b <<= exp_b - exponent
        squares_b <<= 2 * (exp_b - exponent)
    return [
        n_a + n_b, wire_int(total_a + total_b), wire_int(squares_a + squares_b), exponent,
        min(low_a, low_b), max(high_a, high_b),
    ]  # fmt: skip


def mean(parts: Sequence[Any]) -> float | None:
    """The mean, correctly rounded from the exact sum; None of nothing."""
    n, places = int(parts[0]), -int(parts[3])
    return int(parts[1]) / (n << places) if n else None


def variance(parts: Sequence[Any]) -> float | None:
    """The population variance, from exact sums (no cancellation); None of nothing or overflow."""
    n, places = int(parts[0]), -int(parts[3])
    if not n:
        return None
    spread = n * int(parts[2]) - int(parts[1]) ** 2
    try:
        return spread / ((n * n) << 2 * places)
    except OverflowError:
        return None


# -- buckets: quantiles within 1 % ------------------------------------------------------------------

ACCURACY = 0.01
"""Relative error of a quantile's value."""

MAX_BUCKETS = 2048
"""At most this many buckets besides zero's; smaller magnitudes than theirs are counted as zero."""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_LOG_GAMMA = math.log(_GAMMA)
_PER_LOG = 1 / _LOG_GAMMA
_OFFSET = 40_000  # makes every index of a double positive, so that the sign can carry the value's
_CENTRE = math.log(2 / (1 + _GAMMA))


def bucket(value: float) -> int:
    """The bucket of one finite value: 0 for zero, else the sign times a positive index.

    Buckets are in the order of their values. Bucket ``i - 40000`` holds magnitudes in
    ``(g**(i-1), g**i]``, ``g = 1.01/0.99``.
    """
    if value > 0:
        return math.ceil(math.log(value) * _PER_LOG) + _OFFSET
    if value < 0:
        return -math.ceil(math.log(-value) * _PER_LOG) - _OFFSET
    return 0


@lru_cache(maxsize=1 << 14)
def bucket_value(key: int) -> float:
    """The value that stands for a bucket: within 1 % of every (normal) number in it.

    It has 12 significant digits.
    """
    if key == 0:
        return 0.0
    exponent = (abs(key) - _OFFSET) * _LOG_GAMMA + _CENTRE
    try:
        magnitude = math.exp(exponent)
    except OverflowError:
        magnitude = sys.float_info.max
    return float(f"{math.copysign(magnitude, key):.12g}")


def buckets(values: Iterable[float]) -> dict[int, int]:
    """How many finite values fall into each logarithmic bucket.

    The sketch of Masson, Rim and Lee, "DDSketch: a fast and fully-mergeable quantile sketch with
    relative-error guarantees" (PVLDB 12, 2019), for both signs. It is bounded in its own way:
    beyond ``MAX_BUCKETS`` the smallest magnitudes are counted as zero, which takes magnitudes that
    differ by a factor of more than 10**17. What is kept are the largest of the union whatever was
    merged first, so merging stays order-free.
    """
    counts: dict[int, int] = dict(Counter(map(bucket, values)))
    return counts if len(counts) <= MAX_BUCKETS else collapse(counts)


def merge_buckets(into: dict[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """Add ``other`` to ``into`` and return it (or its collapsed copy)."""
    get = into.get
    for key, count in other.items():
        into[key] = get(key, 0) + count
    return into if len(into) <= MAX_BUCKETS else collapse(into)


def collapse(counts: Mapping[int, int]) -> dict[int, int]:
    """The same counts with all but the ``MAX_BUCKETS`` largest magnitudes counted as zero."""
    kept = sorted((k for k in counts if k), key=lambda k: (abs(k), k), reverse=True)[:MAX_BUCKETS]
    out = {k: counts[k] for k in kept}
    if rest := sum(counts.values()) - sum(out.values()):
        out[0] = rest
    return out


def quantiles(counts: Mapping[int, int], qs: Sequence[float]) -> tuple[int, list[float | None]]:
    """How many values there are, and for each q one within 1 % of the order statistic
    ``floor(q (n - 1))`` (from 0).

    None of nothing. The error is relative to the value's magnitude; values that were counted as
    zero for want of buckets are read as zero.
    """
    if len(counts) > MAX_BUCKETS:
        counts = collapse(counts)
    keys = sorted(counts)
    if not keys:
        return 0, [None] * len(qs)
    upto = list(accumulate(map(counts.__getitem__, keys)))
    n = upto[-1]
    return n, [bucket_value(keys[bisect_right(upto, int(q * (n - 1)))]) for q in qs]


# -- registers: distinct counts within 1.6 % (standard error) ---------------------------------------

PRECISION = 12
REGISTERS = 1 << PRECISION
_SUFFIX_BITS = 64 - PRECISION
_SUFFIX = (1 << _SUFFIX_BITS) - 1
MAX_RANK = _SUFFIX_BITS + 1

_LINEAR_FILLED = int(REGISTERS * (1 - math.exp(-1.9)))
# 3,483, after about 7,782 values: beyond, ranks say more than the number of empty registers.

_FEW = 40
_ALPHA = 1 / (2 * math.log(2))


def registers(hashes64: Iterable[int]) -> dict[int, int]:
    """HyperLogLog registers of 64-bit hashes, sparse: register (12 bits) -> rank (1..53).

    The register is the hash's top 12 bits; the rank is the position of the first one bit in the
    other 52. Hashes must be stable across processes and well mixed in all bits; negative ones are
    taken as two's complement.
    """
    out: dict[int, int] = {}
    get = out.get
    for h in hashes64:
        index = (h >> _SUFFIX_BITS) & (REGISTERS - 1)
        rank = MAX_RANK - (h & _SUFFIX).bit_length()
        if get(index, 0) < rank:
            out[index] = rank
    return out


def merge_registers(into: dict[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """The union: per register the higher rank. Changes and returns ``into``."""
    get = into.get
    for index, rank in other.items():
        if get(index, 0) < rank:
            into[index] = rank  # noqa: PERF403  it changes in place
    return into


Dense = NDArray[np.uint8]
"""All 4,096 registers in a row, 0 for empty ones."""


def pack_registers(found: Mapping[int, int]) -> bytes:
    """3 bytes a register: the 16-bit numbers, then the ranks."""
    return np.fromiter(found, "<u2", len(found)).tobytes() + bytes(found.values())


def register_columns(found: Mapping[int, int] | bytes) -> tuple[NDArray[np.uint16], Dense]:
    """The numbers and the ranks of sparse registers, packed or not."""
    if not isinstance(found, bytes):
        n = len(found)
        return np.fromiter(found, np.uint16, n), np.fromiter(found.values(), np.uint8, n)
    n = len(found) // 3
    return np.frombuffer(found, "<u2", n), np.frombuffer(found, np.uint8, n, 2 * n)


def unpack_registers(packed: bytes) -> dict[int, int]:
    """What :func:`pack_registers` packed."""
    numbers, ranks = register_columns(packed)
    return dict(zip(numbers.tolist(), ranks.tolist(), strict=True))


def occupancy(found: Mapping[int, int] | bytes) -> int:
    """Which registers are filled, as a bit mask."""
    if len(found) <= _FEW and not isinstance(found, bytes):
        mask = 0
        for number in found:
            mask |= 1 << number
        return mask
    bits = np.zeros(REGISTERS, np.uint8)
    bits[register_columns(found)[0]] = 1
    return int.from_bytes(np.packbits(bits, bitorder="little").tobytes(), "little")


def is_linear(filled: int) -> bool:
    """Whether with so many registers filled their number alone tells enough."""
    return filled <= _LINEAR_FILLED


def distinct(found: Mapping[int, int] | Dense | int) -> float:
    """How many distinct hashes the registers have seen, estimated.

    The registers may be sparse, or all in a row, or just how many are filled, where that
    :func:`is_linear`.

    Standard error 1.6 % (1.04/sqrt(4096)); up to 7,782 linear counting over empty registers, whose
    error is smaller (0.8 % at 100, 1.3 % at 4,096), after Flajolet, Fusy, Gandouet and Meunier,
    "HyperLogLog" (AofA 2007); beyond that the improved raw estimator, which needs no table of
    biases, of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017).
    """
    filled = found if isinstance(found, int) else _filled(found)
    if isinstance(found, int) or is_linear(filled):
        return REGISTERS * math.log(REGISTERS / (REGISTERS - filled))
    ranks = np.fromiter(found.values(), np.uint8, filled) if isinstance(found, Mapping) else found
    histogram = np.bincount(ranks, minlength=MAX_RANK + 1).tolist()
    histogram[0] = REGISTERS - filled
    return rank_count(histogram)


def _filled(found: Mapping[int, int] | Dense) -> int:
    return len(found) if isinstance(found, Mapping) else int(np.count_nonzero(found))


def rank_count(histogram: Sequence[int]) -> float:
    """Ertl's estimate from how many registers have each rank (index 0: empty ones)."""
    z = REGISTERS * _tau(1 - histogram[MAX_RANK] / REGISTERS)
    for rank in range(MAX_RANK - 1, 0, -1):
        z = 0.5 * (z + histogram[rank])
    z += REGISTERS * _sigma(histogram[0] / REGISTERS)
    return _ALPHA * REGISTERS * REGISTERS / z


def _sigma(x: float) -> float:
    if x == 1:
        return math.inf
    y, z, before = 1.0, x, -1.0
    while z != before:
        x *= x
        before = z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in {0, 1}:
        return 0.0
    y, z, before = 1.0, 1 - x, -1.0
    while z != before:
        x = math.sqrt(x)
        before = z
        y *= 0.5
        z -= (1 - x) ** 2 * y
    return z / 3
