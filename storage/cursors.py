"""Cursors: where a listing goes on, as text that callers pass back untouched.

A cursor holds the sort key of the last row that was given, never a tenant or a filter: those come
with each call, so a forged cursor moves within what the caller may see anyway.
"""

from __future__ import annotations

import base64
import binascii
from typing import TypeVar

import msgspec

from models.errors import StorageError

T = TypeVar("T", bound=tuple[object, ...])

MAX_LIMIT = 10_000
"""More rows than this are not given at once, whatever the limit asks."""


class InvalidCursorError(StorageError):
    """A cursor that this listing did not give out."""


def encode_cursor(position: tuple[object, ...]) -> str:
    """The text for a sort key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def decode_cursor(cursor: str, shape: type[T]) -> T:
    """The sort key in a cursor, checked against its shape, such as ``tuple[int, str]``.

    Raises:
        InvalidCursorError: it is not one of this listing's.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return msgspec.json.decode(
            base64.b64decode(padded, altchars=b"-_", validate=True), type=shape
        )
    except (UnicodeEncodeError, binascii.Error, msgspec.DecodeError) as exc:
        msg = f"cursor {cursor[:80]!r} was not given out by this listing; begin again without one"
        raise InvalidCursorError(msg) from exc


def bounded(limit: int) -> int:
    """A limit within 1 and :data:`MAX_LIMIT`."""
    return min(max(limit, 1), MAX_LIMIT)
