"""Rows to records: JSON by concatenation, because a benchmark must not wait for its source.

Everything that belongs to a listener or a track is rendered once; a play then joins five pieces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.topics import EVENT_ID_HEADER
from simulate.draw import ERRORS, GARBAGE, GARBAGE_KINDS, Rows
from simulate.markets import PLATFORM_NAMES
from simulate.personas import OFFLINE, SOURCES
from simulate.world import World


class Event(NamedTuple):
    """One record as a producer sends it. ``at`` is its event time, ``arrival`` when it is sent."""

    at: int
    arrival: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]


class Encoder:
    """Renders rows of one world. ``prefix`` begins every event id of one seed."""

    def __init__(self, world: World, prefix: str) -> None:
        self._prefix = prefix
        self._keys = world.keys()
        self._heads = world.heads()
        self._titles = world.titles()
        # platform × source × skipped × error, in the order of _flags.
        self._tails = [
            _tail(*parts)
            for parts in product(PLATFORM_NAMES, SOURCES, (False, True), (None, *ERRORS))
        ]
        self._tenant = world.config.tenant.encode()

    def encode(self, rows: Rows) -> Iterator[Event]:
        """The records of the rows, in their order."""
        keys, heads, titles, tails = self._keys, self._heads, self._titles, self._tails
        prefix = self._prefix.encode()
        columns = zip(
            rows["slice"].tolist(),
            rows["number"].tolist(),
            rows["at"].tolist(),
            rows["arrival"].tolist(),
            rows["listener"].tolist(),
            rows["track"].tolist(),
            rows["ms"].tolist(),
            rows["startup"].tolist(),
            _flags(rows).tolist(),
            rows["kind"].tolist(),
            rows["garbage"].tolist(),
            strict=True,
        )
        for part, number, at, arrival, who, what, ms, startup, flags, kind, rubbish in columns:
            event_id = b"%b%x-%05x" % (prefix, part, number)
            value = b'{"event_id":"%b",%b,%b,%b,"started_at":%d,"ms_played":%d,"startup_ms":%b}' % (
                event_id,
                heads[who],
                titles[what],
                tails[flags],
                at,
                ms,
                b"null" if startup < 0 else b"%d" % startup,
            )
            key: bytes | None = keys[who]
            if kind == GARBAGE:
                key, value = self._spoil(rubbish, keys[who], value)
            yield Event(at, arrival, key, value, ((EVENT_ID_HEADER, event_id),))

    def _spoil(self, kind: int, key: bytes, value: bytes) -> tuple[bytes | None, bytes]:
        name = GARBAGE_KINDS[kind]
        if name == "unknown_tenant":
            tenant = b'"tenant_id":"%b"' % self._tenant
            return b"nobody" + key[len(self._tenant) :], value.replace(
                tenant, b'"tenant_id":"nobody"'
            )
        return (None if name == "not_json" else key), _SPOILERS[name](value)


def _flags(rows: Rows) -> NDArray[np.int32]:
    errors = len(ERRORS) + 1
    platform: NDArray[np.int32] = rows["platform"].astype(np.int32)
    where = platform * len(SOURCES) + rows["source"]
    out: NDArray[np.int32] = (where * 2 + rows["skipped"]) * errors + rows["error"] + 1
    return out


def _tail(platform: str, source: str, skipped: bool, error: str | None) -> bytes:
    offline = source == SOURCES[OFFLINE]
    code = "null" if error is None else f'"{error}"'
    return (
        f'"platform":"{platform}","source":"{source}","skipped":{str(skipped).lower()},'
        f'"offline":{str(offline).lower()},"error":{code}'
    ).encode()


_FAR_AHEAD = 30 * 86_400_000
_STARTED = re.compile(rb'(?<="started_at":)\d+')
_PLAYED = re.compile(rb'(?<="ms_played":)\d+')
_TRACK = re.compile(rb'"track_id":"[^"]*",')
_ARTIST = re.compile(rb'(?<="artist_id":")[^"]*')

_SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "not_json": lambda _: b"<html><body>502 Bad Gateway</body></html>",
    "truncated": lambda v: v[: len(v) // 2],
    "wrong_type": lambda v: _PLAYED.sub(b'"three minutes"', v),
    "missing_field": lambda v: _TRACK.sub(b"", v),
    "not_utf8": lambda v: _ARTIST.sub(b"\xff\xfe", v),
    "future": lambda v: _STARTED.sub(lambda m: b"%d" % (int(m[0]) + _FAR_AHEAD), v),
    "empty": lambda _: b"",
    "negative": lambda v: _PLAYED.sub(b"-5", v),
}
