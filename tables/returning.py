"""Who came back in another hour: what was known of them is news for those who look at habits.

Kept apart from the updates because it must cost an ordinary play next to nothing: one comparison of
columns a batch finds the few plays that begin a listener's hour.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.flow import Output
from models.records import to_msgpack
from models.segments import Habits
from tables import profiles
from tables.listeners import Rows
from tables.profiles import HEAD, HOUR, KEPT_MS

ENOUGH = 20
"""Plays from which on a profile says anything of a listener's habits."""

_LAST_SEEN = slice(8, 16)
_NEVER = (1 << 62).to_bytes(8, "little")


def habits(
    tenant: str,
    keys: Sequence[str],
    known: Sequence[bytes | None],
    whose: Sequence[int],
    rows: Rows,
) -> list[Output]:
    """A record for each listener's first play in a later hour than their last: at most one an hour.

    ``known`` are the profiles before these plays, ``keys`` and ``whose`` as for ``listeners.update``.
    Each record holds the profile just before its play, so records do not depend on how plays were
    cut into batches.
    """
    last = np.frombuffer(b"".join([p[_LAST_SEEN] if p else _NEVER for p in known]), "<i8")
    owners = np.array(whose)
    at = np.array([row[0].started_at for row in rows])
    outputs: list[Output] = []
    seen = dict[int, int]()
    for i in np.flatnonzero(at // HOUR > last[owners] // HOUR).tolist():
        owner, play_at, top = whose[i], rows[i][0].started_at, rows[i][2]
        packed = known[owner]
        if play_at // HOUR <= seen.get(owner, 0) or packed is None:
            continue
        seen[owner] = play_at // HOUR
        before = [rows[j] for j in np.flatnonzero(owners[:i] == owner).tolist()]
        if before:
            packed = profiles.update(packed, before)
        _, last_seen, *_ = head = HEAD.unpack_from(packed)
        if head[7] >= ENOUGH and last_seen >= top - KEPT_MS:
            record = Habits(tenant, keys[owner].partition(":")[2], play_at, packed)
            outputs.append(Output("features", tenant.encode(), to_msgpack(record)))
    return outputs
