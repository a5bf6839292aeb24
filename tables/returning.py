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
from tables.profiles import HEAD, HOUR, KEPT_MS, SIZE

ENOUGH = 20
"""Plays from which on a profile says anything of a listener's habits."""

_LAST_SEEN, _PLAYS = 8, 56
"""Where in a packed profile the time of the last play stands, and how many there were."""

_NEVER = bytes(SIZE)


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
    packed_all = b"".join([p or _NEVER for p in known])
    last = np.ndarray(len(known), "<i8", packed_all, _LAST_SEEN, (SIZE,))
    at = np.fromiter([row[0].started_at for row in rows], np.int64, len(rows))
    owners = np.fromiter(whose, np.intp, len(rows))
    # Of most who seem to come back nothing is known yet, and will not be after these plays either.
    count = np.ndarray(len(known), "<u4", packed_all, _PLAYS, (SIZE,))
    enough = count + np.bincount(owners, minlength=len(known)) > ENOUGH
    later = np.flatnonzero((at // HOUR > last[owners] // HOUR) & enough[owners]).tolist()
    outputs: list[Output] = []
    seen: dict[int, int] = {}
    mine = _by_listener(whose, {whose[i] for i in later}) if later else {}
    for i in later:
        owner, play_at, top = whose[i], rows[i][0].started_at, rows[i][3]
        if play_at // HOUR <= seen.get(owner, 0):
            continue
        seen[owner] = play_at // HOUR
        packed, before = known[owner], [rows[j] for j in mine[owner] if j < i]
        if before:
            packed = profiles.update(packed, before)
        if packed is None:
            continue
        _, last_seen, *_, plays = HEAD.unpack_from(packed)[:8]
        if plays >= ENOUGH and last_seen >= top - KEPT_MS:
            record = Habits(tenant, keys[owner].partition(":")[2], play_at, packed)
            outputs.append(Output("features", tenant.encode(), to_msgpack(record)))
    return outputs


def _by_listener(whose: Sequence[int], wanted: set[int]) -> dict[int, list[int]]:
    """The places of the plays of some listeners."""
    found: dict[int, list[int]] = {owner: [] for owner in wanted}
    for place, owner in enumerate(whose):
        if owner in found:
            found[owner].append(place)
    return found
