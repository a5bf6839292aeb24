"""Panes and blocks of panes: one span's parts, in hand while it fills and packed once it is closed.

A packed pane is msgpack of its parts, the distinct registers as two byte columns (12-bit numbers
in 16, then ranks): 3 bytes a register instead of about 100 in a dict. Old blocks lie together in
*archives*, compressed, since thousands of small keys would cost more than what they hold.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from models.errors import StateError
from models.flow import StoreSpec
from models.records import to_msgpack
from tables.parts import Parts, merge_parts
from tables.sketches import pack_registers, unpack_registers

_NOTHING = b"\x80"
_load_columns = msgspec.msgpack.Decoder(dict[str, Any]).decode
_load_archive = msgspec.msgpack.Decoder(dict[int, bytes]).decode


class Pane:
    """The parts of one span. Packing changes nothing but memory."""

    __slots__ = ("_blob", "_parts")

    def __init__(self, parts: Parts | None = None, blob: bytes | None = None) -> None:
        self._parts = {} if parts is None and blob is None else parts
        self._blob = blob

    def add(self, parts: Mapping[str, Any]) -> None:
        """Merge more parts in."""
        self._parts = merge_parts(self.parts, parts)
        self._blob = None

    @property
    def parts(self) -> Parts:
        """What is in it; not to be changed. Costs some microseconds if it is packed."""
        if self._parts is not None:
            return self._parts
        parts = _load_columns(self._blob or _NOTHING)
        for name, part in parts.items():
            if name[0] == "d":
                parts[name] = unpack_registers(part)
        return parts

    @property
    def columns(self) -> Mapping[str, Any]:
        """The same as :attr:`parts`, but registers may still be packed: bytes instead of a dict."""
        return _load_columns(self._blob or _NOTHING) if self._parts is None else self._parts

    @property
    def blob(self) -> bytes:
        """Its packed form."""
        if self._blob is None:
            packed = self._parts or {}
            self._blob = to_msgpack(
                {k: pack_registers(v) if k[0] == "d" else v for k, v in packed.items()}
            )
        return self._blob

    def pack(self) -> None:
        """Keep only the packed form; for panes that are read seldom from now on."""
        _ = self.blob
        self._parts = None


def together(panes: Iterable[Pane | None]) -> Pane | None:
    """One pane with the parts of all, or None of none."""
    parts: Parts = {}
    found = False
    for pane in panes:
        if pane is not None:
            merge_parts(parts, pane.parts)
            found = True
    return Pane(parts) if found else None


class Archive:
    """Closed blocks of one level that are only needed if late events come; compressed."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data

    @classmethod
    def of(cls, blocks: Mapping[int, Pane]) -> Archive:
        """Blocks by their start."""
        return cls(zlib.compress(to_msgpack({at: pane.blob for at, pane in blocks.items()}), 1))

    def blocks(self) -> dict[int, Pane]:
        """The blocks by their start.

        Raises:
            StateError: what was stored is no archive.
        """
        try:
            blobs = _load_archive(zlib.decompress(self.data))
        except (zlib.error, msgspec.DecodeError) as exc:
            raise StateError(f"archive of {len(self.data)} bytes cannot be read: {exc}") from exc
        return {at: Pane(blob=blob) for at, blob in blobs.items()}


def _encode(value: Pane | Archive) -> bytes:
    return b"a" + value.data if isinstance(value, Archive) else b"p" + value.blob


def _decode(data: bytes) -> Pane | Archive:
    if data[:1] == b"a":
        return Archive(data[1:])
    if data[:1] == b"p":
        return Pane(blob=data[1:])
    raise StateError(f"pane of {len(data)} bytes begins with {data[:1]!r}, not with a or p")


PANES = StoreSpec("panes", _encode, _decode)
"""``instance|p<step>:<start>`` on time, ``instance|l<step>:<start>`` late, archives of the former,
``instance|p<step>:a<start>``, and late ones that wait, ``instance|w<edge>:<start>``."""
