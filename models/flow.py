"""The plain values that pass between the engine and pure code.

They live here, not in ``engine``, so that folds can be written and tested without it.
All times are integer milliseconds since the epoch, UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, NamedTuple, Protocol, overload

import msgspec

from models.errors import StateError

Headers = tuple[tuple[str, bytes], ...]
"""Kafka headers: ordered pairs, names may repeat."""


class Record(NamedTuple):
    """One Kafka record as it was read; key and value undecoded."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Records(Sequence[Record]):
    """Records as parallel lists: columns for a fold that wants them, a sequence for one that does not.

    A :class:`Record` is made when it is asked for, so what only looks at ``values`` never pays for one.
    """

    __slots__ = ("headers", "keys", "offsets", "timestamps", "values")

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.timestamps: list[int] = []
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.headers: list[Headers] = []

    @classmethod
    def of(cls, records: Iterable[Record]) -> Records:
        """The same records by column; what is so already is returned as it is."""
        if isinstance(records, cls):
            return records
        made = cls()
        for record in records:
            made.append(record)
        return made

    def append(self, record: Record) -> None:
        """Add one record."""
        self.offsets.append(record.offset)
        self.timestamps.append(record.timestamp)
        self.keys.append(record.key)
        self.values.append(record.value)
        self.headers.append(record.headers)

    def extend(self, other: Records) -> None:
        """Add all of another's."""
        self.offsets += other.offsets
        self.timestamps += other.timestamps
        self.keys += other.keys
        self.values += other.values
        self.headers += other.headers

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[Record]:
        return map(Record, self.offsets, self.timestamps, self.keys, self.values, self.headers)

    @overload
    def __getitem__(self, index: int) -> Record: ...

    @overload
    def __getitem__(self, index: slice) -> Records: ...

    def __getitem__(self, index: int | slice) -> Record | Records:
        if isinstance(index, slice):
            part = Records()
            part.offsets = self.offsets[index]
            part.timestamps = self.timestamps[index]
            part.keys = self.keys[index]
            part.values = self.values[index]
            part.headers = self.headers[index]
            return part
        return Record(
            self.offsets[index],
            self.timestamps[index],
            self.keys[index],
            self.values[index],
            self.headers[index],
        )


_COLUMNS = {"value": "values", "key": "keys", "timestamp": "timestamps", "headers": "headers"}


def column(records: Sequence[Record], field: str) -> Sequence[Any]:
    """One field of many records: the column itself where the sequence keeps columns, else a new list."""
    found: Sequence[Any] | None = getattr(records, _COLUMNS[field], None)
    return list(map(attrgetter(field), records)) if found is None else found


class Output(NamedTuple):
    """One record to be written in the flush of the batch that made it.

    ``topic`` is a name of the topic table (``models.topics``), without the configured prefix.
    ``partition`` overrides the default (murmur2 of the key, as Kafka's own clients do).
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    partition: int | None = None


class Due(NamedTuple):
    """A timer that has come due: the ``key`` it was set under, and the time it was set for."""

    key: str
    at: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The events of one source partition that are folded, and flushed, together.

    ``records`` may be empty: such a batch carries timers, or only the passing of time
    (at least one arrives per partition and tick while nothing else does).
    ``at_end`` says that the records reach the partition's end as the broker last told it.
    """

    source: str
    partition: int
    records: Sequence[Record]
    at_end: bool
    due: Sequence[Due] = ()


State = Mapping[str, MutableMapping[str, Any]]
"""The stores of one source partition by name. A value changed in place must be assigned again
(``store[key] = value``), or the change is not written to the changelog. Reserved store
``timers``: key -> epoch ms; the engine delivers a timer that has come due in ``Batch.due``, once,
and removes it."""

Fold = Callable[[Batch, State, int], Sequence[Output]]
"""``fold(batch, state, now) -> outputs``: synchronous and pure but for ``state``.

``now`` is the processing time. A fold never raises on bad input; if it does raise, the engine
discards what it did to ``state`` and isolates the record that breaks it.
"""


def header(headers: Headers, name: str) -> str | None:
    """The text of the first header called ``name``, or None."""
    for key, value in headers:
        if key == name:
            return (value or b"").decode("utf-8", "replace")  # Kafka allows null
    return None


@dataclass(frozen=True, slots=True)
class StoreSpec:
    """A keyed store: its name, and how a value crosses the changelog.

    Values live in memory as the objects that ``decode`` returns; ``encode`` is called once a flush
    for each key that was assigned since the last one. ``decode(encode(value))`` must give a value
    that behaves the same for ever after. ``decode`` raises ``StateError`` on foreign bytes.
    """

    name: str
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


def struct_store(name: str, kind: Any) -> StoreSpec:
    """A store of values of one type, in msgpack."""
    decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(kind)

    def decode(data: bytes) -> Any:
        try:
            return decoder.decode(data)
        except msgspec.DecodeError as exc:
            msg = f"store {name}: value of {len(data)} bytes: {exc}"
            raise StateError(msg) from exc

    return StoreSpec(name, msgspec.msgpack.Encoder().encode, decode)


class Counters(Protocol):
    """Where a fold counts what it drops or decides."""

    def count(self, name: str, reason: str, n: int = 1) -> None:
        """Add to the counter called ``name``, labelled with the reason."""
        ...


TIMERS = "timers"
"""The reserved store that every step has: timer key -> epoch ms."""
