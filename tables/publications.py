"""What is remembered of a published window until its grace has passed.

Only what a revision needs: how often it was published, and the scores and bands of the first time,
for a revision is judged by the same expectation. Windows that were published once and never scored
need no memory at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from models.errors import StateError
from models.flow import StoreSpec
from models.records import Value, to_msgpack

_load_bands = msgspec.msgpack.Decoder(dict[str, list[Any]]).decode
_Saved = tuple[int, bytes]
_decode_saved = msgspec.msgpack.Decoder(_Saved).decode


class Publication:
    """One window's last revision, and its first publication's bands, packed."""

    __slots__ = ("_bands", "revision")

    def __init__(self, revision: int = 0, bands: bytes = b"") -> None:
        self.revision = revision
        self._bands = bands

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> Publication | None:
        """The memory of a first publication; None if its values were not judged."""
        bands = {
            name: [v.score, v.low, v.high, v.learning, *_told(v)]
            for name, v in values.items()
            if v.learning or v.score is not None or v.low is not None or v.high is not None
        }
        return cls(0, to_msgpack(bands)) if bands else None

    @property
    def bands(self) -> dict[str, Value] | None:
        """By measure, values with nothing but what was judged of them; None if unjudged."""
        if not self._bands:
            return None
        return {name: _value(*band) for name, band in _load_bands(self._bands).items()}

    def encoded(self) -> bytes:
        """How it crosses the changelog."""
        return to_msgpack((self.revision, self._bands))


def _told(value: Value) -> list[Any]:
    """What a remarkable value says beside its score."""
    if value.tail is None and not value.shape and not value.contributions:
        return []
    return [value.shape, value.tail, value.contributions]


def _value(
    score: float | None, low: float | None, high: float | None, learning: bool,
    shape: str = "", tail: float | None = None, contributions: dict[str, float] | None = None,
) -> Value:  # fmt: skip
    return Value(
        score=score, low=low, high=high, learning=learning,
        shape=shape, tail=tail, contributions=contributions or {},
    )  # fmt: skip


def _encode(publication: Publication) -> bytes:
    return publication.encoded()


def _decode(data: bytes) -> Publication:
    try:
        return Publication(*_decode_saved(data))
    except msgspec.DecodeError as exc:
        raise StateError(f"publication of {len(data)} bytes cannot be read: {exc}") from exc


PUBLICATIONS = StoreSpec("publications", _encode, _decode)
"""``instance|<size>+<slide>:<end>`` -> what is remembered of that window."""
