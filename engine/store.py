"""Keyed state of one source partition, and how it crosses the changelog.

A store is a dict of live objects that remembers which keys were assigned since the last flush. The
changelog record of a value has the key ``store NUL key`` and the value its spec encodes; the record
of the partition itself (``next_offset``) goes with every flush under a key of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from models.errors import StateError
from models.flow import TIMERS, StoreSpec

META_KEY = b"\x00meta"


class Meta(msgspec.Struct, array_like=True):
    """Where a partition stands: state holds exactly the records below ``next_offset``."""

    next_offset: int
    flushed_at: int
    format: int = 1


_encode = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode
_MISSING: Any = object()

TIMER_SPEC = StoreSpec(TIMERS, _encode, msgspec.msgpack.Decoder(int).decode)


class KeyedStore(dict[str, Any]):
    """A dict that knows its dirty keys; reading it costs what a dict costs."""

    __slots__ = ("dirty",)

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        super().__init__(items or {})
        self.dirty: set[str] = set()

    def __setitem__(self, key: str, value: Any) -> None:
        self.dirty.add(key)
        super().__setitem__(key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.dirty.add(key)

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """As ``dict.pop``, remembering the key."""
        if key in self:
            self.dirty.add(key)
            return super().pop(key)
        if default is _MISSING:
            raise KeyError(key)
        return default

    def setdefault(self, key: str, default: Any = None) -> Any:
        """As ``dict.setdefault``, remembering a key that was not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As ``dict.update``, remembering every key."""
        for key, value in dict(*args, **kwargs).items():
            self[key] = value

    def popitem(self) -> tuple[str, Any]:
        """As ``dict.popitem``, remembering the key."""
        key, value = super().popitem()
        self.dirty.add(key)
        return key, value

    def clear(self) -> None:
        """As ``dict.clear``, remembering every key."""
        self.dirty.update(self)
        super().clear()


class PartitionState:
    """All stores of one source partition, and the offset they stand for."""

    def __init__(self, specs: Sequence[StoreSpec]) -> None:
        self.specs = {spec.name: spec for spec in (*specs, TIMER_SPEC)}
        self.stores = {name: KeyedStore() for name in self.specs}
        self.meta: Meta | None = None

    @classmethod
    def restored(cls, specs: Sequence[StoreSpec], entries: Mapping[bytes, bytes]) -> PartitionState:
        """State from the last changelog value of each key.

        Raises:
            StateError: a value cannot be decoded; the message names store and key.
        """
        state = cls(specs)
        for raw_key, raw in entries.items():
            if raw_key == META_KEY:
                state.meta = _decode_meta(raw)
                continue
            name, _, key = raw_key.decode().partition("\x00")
            spec = state.specs.get(name)
            if spec is None:
                continue  # a store that this version no longer has
            try:
                value = spec.decode(raw)
            except Exception as exc:
                msg = f"store {name!r} key {key!r}: cannot decode {len(raw)} bytes: {exc}"
                raise StateError(msg) from exc
            dict.__setitem__(state.stores[name], key, value)
        return state

    @property
    def is_dirty(self) -> bool:
        """Whether anything was assigned or deleted since the last freeze."""
        return any(store.dirty for store in self.stores.values())

    def freeze(self, next_offset: int, now: int) -> list[tuple[bytes, bytes | None]]:
        """The changelog records of this flush; the partition's own record comes last."""
        out: list[tuple[bytes, bytes | None]] = []
        for name, store in self.stores.items():
            if store.dirty:
                out.extend(_changes(name, store, self.specs[name].encode))
                store.dirty = set()
        self.meta = Meta(next_offset, now)
        out.append((META_KEY, _encode(self.meta)))
        return out

    def __len__(self) -> int:
        return sum(len(store) for store in self.stores.values())

    def sizes(self) -> dict[str, int]:
        """Keys per store."""
        return {name: len(store) for name, store in self.stores.items()}


def _changes(
    name: str, store: KeyedStore, encode: Callable[[Any], bytes]
) -> Iterator[tuple[bytes, bytes | None]]:
    prefix = name.encode() + b"\x00"
    get = store.get
    for key in store.dirty:
        value = get(key, _MISSING)
        yield prefix + key.encode(), None if value is _MISSING else encode(value)


def last_values(records: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    """The last value of each key of a changelog, deleted keys left out."""
    values: dict[bytes, bytes] = {}
    for key, value in records:
        if value is None:
            values.pop(key, None)
        else:
            values[key] = value
    return values
