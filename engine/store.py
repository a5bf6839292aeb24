"""Keyed state of one source partition, and how it crosses the changelog.

A store is a dict of live objects that remembers which keys were assigned since the last flush. The
changelog record of a value has the key ``store NUL key`` and the value its spec encodes; the record
of the partition itself (``next_offset``) goes with every flush under a key of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import msgspec

from models.errors import StateError
from models.flow import TIMERS, StoreSpec

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_values
    from collections.abc import KeysView

META_KEY = b"\x00meta"


class Meta(msgspec.Struct, array_like=True):
    """Where a partition stands: state holds exactly the records below ``next_offset``."""

    next_offset: int
    flushed_at: int
    format: int = 1


_encode = msgspec.msgpack.Encoder().encode
_decode_meta = msgspec.msgpack.Decoder(Meta).decode
_MISSING: Any = object()
_DELETED: Any = object()
_assign = dict.__setitem__
"""Named once: looking for it through ``super()`` costs a third of an assignment."""

TIMER_SPEC = StoreSpec(TIMERS, _encode, msgspec.msgpack.Decoder(int).decode)


class Changes(Sequence[tuple[bytes, "bytes | None"]]):
    """Changelog records of a flush as a sequence of key and value, and as columns: ``names``, ``values``.

    No value stands for a deleted key. Of many changes, to make a pair of each costs as much as to write it.
    (A column called ``keys`` would have ``dict`` take it for a mapping.)
    """

    __slots__ = ("names", "values")

    def __init__(self) -> None:
        self.names: list[bytes] = []
        self.values: list[bytes | None] = []

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[bytes, bytes | None]]:
        return zip(self.names, self.values, strict=True)

    @overload
    def __getitem__(self, index: int) -> tuple[bytes, bytes | None]: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[tuple[bytes, bytes | None]]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return list(zip(self.names[index], self.values[index], strict=True))
        return self.names[index], self.values[index]


class KeyedStore(dict[str, Any]):
    """A dict that knows what changed since the last flush; reading it costs what a dict costs.

    ``changes`` holds what was assigned, not only under which key: a flush need not look for it again,
    which in a store of 200,000 keys costs as much as all else that a flush does to a value.
    """

    __slots__ = ("before", "changes", "encode")

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        super().__init__(items or {})
        self.changes: dict[str, Any] = {}
        self.before: dict[str, Any] = {}
        self.encode: Callable[[Any], bytes]

    @property
    def dirty(self) -> KeysView[str]:
        """The keys that were assigned or deleted since the last flush."""
        return self.changes.keys()

    def __setitem__(self, key: str, value: Any) -> None:
        self.changes[key] = value
        _assign(self, key, value)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self.changes[key] = _DELETED

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """As ``dict.pop``, remembering the key."""
        if key in self:
            self.changes[key] = _DELETED
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
        """As ``dict.update``, remembering every key; the quick way to assign many."""
        plain = len(args) == 1 and not kwargs and type(args[0]) is dict
        new = args[0] if plain else dict(*args, **kwargs)
        if self.changes:
            self.changes.update(new)
        else:
            self.changes = new.copy() if plain else new  # a third of the cost
        super().update(new)

    def popitem(self) -> tuple[str, Any]:
        """As ``dict.popitem``, remembering the key."""
        key, value = super().popitem()
        self.changes[key] = _DELETED
        return key, value

    def clear(self) -> None:
        """As ``dict.clear``, remembering every key."""
        self.changes.update(dict.fromkeys(self, _DELETED))
        super().clear()


class GuardedStore(KeyedStore):
    """A store with an undo log: what a key held, encoded, before it was first looked at.

    Values are live objects that folds change in place, so looking is what must be noticed. That costs
    an encoding per key and batch; therefore a store is guarded only while folds are failing.
    """

    __slots__ = ()

    def _remember(self, key: str) -> None:
        if key not in self.before:
            value = dict.get(self, key, _MISSING)
            self.before[key] = _MISSING if value is _MISSING else self.encode(value)

    def _remember_all(self) -> None:
        for key in dict.keys(self):
            self._remember(key)

    def __getitem__(self, key: str) -> Any:
        self._remember(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As ``dict.get``."""
        self._remember(key)
        return super().get(key, default)

    def values(self) -> dict_values[str, Any]:
        """As ``dict.values``."""
        self._remember_all()
        return super().values()

    def items(self) -> dict_items[str, Any]:
        """As ``dict.items``."""
        self._remember_all()
        return super().items()

    def __setitem__(self, key: str, value: Any) -> None:
        self._remember(key)
        super().__setitem__(key, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As ``dict.update``."""
        new = dict(*args, **kwargs)
        for key in new:
            self._remember(key)
        super().update(new)

    def __delitem__(self, key: str) -> None:
        self._remember(key)
        super().__delitem__(key)

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """As ``dict.pop``."""
        self._remember(key)
        return super().pop(key, default)

    def popitem(self) -> tuple[str, Any]:
        """As ``dict.popitem``."""
        self._remember_all()
        return super().popitem()

    def clear(self) -> None:
        """As ``dict.clear``."""
        self._remember_all()
        super().clear()


class PartitionState:
    """All stores of one source partition, and the offset they stand for."""

    def __init__(self, specs: Sequence[StoreSpec]) -> None:
        self.specs = {spec.name: spec for spec in (*specs, TIMER_SPEC)}
        self.stores = {name: KeyedStore() for name in self.specs}
        self.meta: Meta | None = None
        self._guarded = 0

    @classmethod
    def restored(cls, specs: Sequence[StoreSpec], entries: Mapping[bytes, bytes]) -> PartitionState:
        """State from the last changelog value of each key.

        Raises:
            StateError: a value cannot be decoded; the message names store and key.
        """
        state = cls(specs)
        if (meta := entries.get(META_KEY)) is not None:
            state.meta = _decode_meta(meta)
        # Keys of one store mostly follow each other, as they were flushed.
        store: KeyedStore | None = None
        prefix: bytes | None = None
        size = 0
        decode: Callable[[bytes], Any] = bytes
        for raw_key, raw in entries.items():
            if raw_key[:size] != prefix:
                name, end, _ = raw_key.partition(b"\x00")
                prefix = name + end if end else None
                spec = state.specs.get(name.decode()) if end else None
                size, store = len(prefix or b""), None
                if spec is not None:
                    store, decode = state.stores[spec.name], spec.decode
            if store is None:
                continue  # the partition's own record, or a store that this version no longer has
            try:
                value = decode(raw)
            except Exception as exc:
                name, _, key = raw_key.partition(b"\x00")
                msg = f"store {name.decode()!r} key {key.decode()!r}: cannot decode {len(raw)} bytes: {exc}"
                raise StateError(msg) from exc
            _assign(store, raw_key[size:].decode(), value)
        return state

    # -- undoing what a failed fold did -----------------------------------------------------

    @property
    def is_guarded(self) -> bool:
        """Whether the changes since the last flush can be undone."""
        return self._guarded > 0

    def guard(self, flushes: int) -> None:
        """From here on, and for so many flushes, changes can be undone. The state must be clean."""
        self._guarded = flushes
        for name, store in self.stores.items():
            store.__class__ = GuardedStore
            store.encode = self.specs[name].encode
            store.before = {}

    def roll_back(self) -> None:
        """Undo every change since the last flush."""
        for name, store in self.stores.items():
            decode = self.specs[name].decode
            for key, old in store.before.items():
                if old is _MISSING:
                    dict.pop(store, key, None)
                else:
                    dict.__setitem__(store, key, decode(old))
            store.before = {}
            store.changes = {}

    def flushed(self) -> None:
        """What was frozen is durable: it can no longer be undone."""
        if not self._guarded:
            return
        self._guarded -= 1
        for store in self.stores.values():
            store.before = {}
            if not self._guarded:
                store.__class__ = KeyedStore

    @property
    def is_dirty(self) -> bool:
        """Whether anything was assigned or deleted since the last freeze."""
        return any(store.changes for store in self.stores.values())

    def freeze(self, next_offset: int, now: int) -> Changes:
        """The changelog records of this flush; the partition's own record comes last."""
        out = Changes()
        for name, store in self.stores.items():
            if changes := store.changes:
                encode = self.specs[name].encode
                out.names += changelog_keys(name, changes)
                out.values += [None if v is _DELETED else encode(v) for v in changes.values()]
                store.changes = {}
        self.meta = Meta(next_offset, now)
        out.names.append(META_KEY)
        out.values.append(_encode(self.meta))
        return out

    def __len__(self) -> int:
        return sum(len(store) for store in self.stores.values())

    def sizes(self) -> dict[str, int]:
        """Keys per store."""
        return {name: len(store) for name, store in self.stores.items()}


def changelog_keys(name: str, keys: Collection[str]) -> list[bytes]:
    """The keys under which a store's keys stand in the changelog; all encoded in one go if that can be.

    They are joined by the end of a line, which few keys hold. Where one does, more pieces come out.
    """
    prefix = f"{name}\x00"
    made = (prefix + f"\n{prefix}".join(keys)).encode().split(b"\n")
    return made if len(made) == len(keys) else [(prefix + key).encode() for key in keys]


def last_values(records: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    """The last value of each key of a changelog, deleted keys left out."""
    return {key: value for key, value in dict(records).items() if value is not None}
