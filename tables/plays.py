"""Plays that were taken in: judged, remembered, and summed by pane and dimension group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Any
from zlib import crc32

import numpy as np
from msgspec.structs import replace

from models.config import group_name
from models.events import Play
from models.events import times as event_times
from models.flow import Output
from models.records import LIVE, Partial, to_msgpack
from models.releases import RELEASE
from tables import cells, clocks, eligibility, groups, listeners, profiles, returning, routes
from tables.clocks import DAY
from tables.intake import Taken, Turn, by_stream, late_event

SWEPT_AT_ONCE = 20_000
"""Old keys deleted in one batch at most: each is a tombstone in its flush."""


def homes(plays: Sequence[Play]) -> list[str]:
    """The keys that plays' records are partitioned by: ``routes.listener_key`` of each."""
    return [f"{play.tenant_id}:{play.listener_id}" for play in plays]


def fold(taken: Taken[Play], turn: Turn) -> list[Output]:
    """All partials of these plays, after who wakes up with them, before those that are too late.

    Last come the habits of listeners who came back.
    """
    woken: list[Output] = []
    late: list[Output] = []
    habits: list[Output] = []
    made: list[tuple[str, str, groups.Cells]] = []
    for (tenant, stream), places in by_stream(taken).items():
        name = clocks.clock_name(tenant, stream)
        plays, whose = taken.events, taken.homes
        if len(places) < len(plays):
            plays, whose = [plays[i] for i in places], [whose[i] for i in places]
        times = event_times(plays)
        woken += clocks.wake(turn.clocks, name, times[0], turn.place)
        turn.touched.add(name)
        tops = _advance(times, name, turn)
        keys = routes.all_scoped(whose, stream)
        tracks = [crc32(play.track_id.encode()) for play in plays]
        reasons = eligibility.judge(
            plays, times, keys, tracks, tops, turn.state[eligibility.COUNTS]
        )
        eligible = [reason == "eligible" for reason in reasons]
        known = list(zip(plays, tracks, eligible, tops, strict=True))
        habits += _remember(known, keys, tenant if stream == LIVE else "", turn)
        for reason, n in sorted(Counter(reasons).items()):
            turn.count("plays_judged", reason, n)
        _sweep(tenant, stream, name, turn)
        rows, beyond = _place(cells.Plays(plays, eligible, places, times), tops, turn)
        late += [late_event(taken, places[i], tops[i], turn) for i in beyond]
        made.append((tenant, stream, groups.fold(rows, turn.config.series)))
    return [*woken, *_partials(made, turn), *late, *habits]


def _advance(times: Sequence[int], name: str, turn: Turn) -> list[int]:
    """Move a stream's clock over the times of its plays; the clock at each of them."""
    before = turn.clocks[name].now
    tops = clocks.run(before, times)
    delay = turn.now - tops[-1] if tops[-1] > before else None
    clocks.move(turn.clocks, name, tops[-1], delay, turn.now)
    return tops


def _remember(rows: listeners.Rows, keys: Sequence[str], tenant: str, turn: Turn) -> list[Output]:
    """Bring the profiles of these listeners up to date, each written once.

    Of a tenant's live stream, the habits of those who came back in another hour; "": nobody's.
    """
    store = turn.state[profiles.PROFILES]
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    whose = list(map(place.__getitem__, keys))
    known = [store.get(key) for key in place]
    store.update(zip(place, listeners.update(known, whose, rows), strict=True))
    return returning.habits(tenant, list(place), known, whose, rows) if tenant else []


def _sweep(tenant: str, stream: str, name: str, turn: Turn) -> None:
    """On the first batch of a day, delete what is too old to be asked for again."""
    clock = turn.clocks[name]
    day = clock.now // DAY
    if day <= clock.swept:
        return
    counts, known = turn.state[eligibility.COUNTS], turn.state[profiles.PROFILES]
    old = eligibility.expired(counts, tenant, stream, day)[:SWEPT_AT_ONCE]
    for key in old:
        del counts[key]
    gone = profiles.expired(known, tenant, stream, clock.now)[:SWEPT_AT_ONCE]
    for key in gone:
        del known[key]
    if max(len(old), len(gone)) < SWEPT_AT_ONCE:
        turn.clocks[name] = replace(clock, swept=day)


def _place(plays: cells.Plays, tops: Sequence[int], turn: Turn) -> tuple[cells.Plays, list[int]]:
    """The plays, whose ``slots`` are still times, with their panes; and which are older than every
    window's grace.
    """
    lateness, grace, pane = turn.place.time.lateness, turn.config.grace, turn.place.pane
    at = np.fromiter(plays.slots, np.int64, len(tops))
    mark = np.fromiter(tops, np.int64, len(tops)) - lateness
    slots: list[int] = (at - at % pane).tolist()
    late = np.flatnonzero(mark > at)
    for i, edge in zip(late.tolist(), (mark - mark % pane + pane)[late].tolist(), strict=True):
        slots[i] = groups.slot(slots[i], edge)
    beyond = np.flatnonzero(mark - at > grace).tolist()
    rows = plays._replace(slots=slots)
    if beyond:
        within = (mark - at <= grace).tolist()
        columns: list[Any] = [list(compress(column, within)) for column in rows]
        rows = cells.Plays(*columns)
    turn.count("events_folded", "on_time", len(at) - len(late))
    turn.count("events_folded", "late", len(late) - len(beyond))
    turn.count("events_folded", "beyond_grace", len(beyond))
    return rows, beyond


def _partials(made: Sequence[tuple[str, str, groups.Cells]], turn: Turn) -> Iterator[Output]:
    """One record per cell whose group instance is within its tenant's limit.

    Releases come and go: the windows step, which sees them go, counts them.
    """
    config = turn.config.series
    keyed = [
        (tenant, stream, rank, tags, groups.group_key(tenant, tags, key[1:]), key[0], cell)
        for tenant, stream, cells in made
        for rank, tags in enumerate(dict.fromkeys(config.groups))
        for key, cell in cells[tags].items()
    ]
    refused: set[str] = set()
    for tenant in {tenant for tenant, _, _ in made}:
        mine = [
            (cell.first, rank, key)
            for t, _, rank, tags, key, _, cell in keyed
            if t == tenant and RELEASE not in tags
        ]
        limit = config.limits.groups_per_tenant
        refused |= groups.admit(mine, tenant, limit, turn.state[groups.GROUPS])
    size, partition = turn.place.pane, turn.batch.partition
    for tenant, stream, _, tags, key, slot, cell in keyed:
        if key in refused:
            turn.count("groups_refused", group_name(tags), cell.parts["n"])
            continue
        pane, noticed = groups.pane_of(slot)
        partial = Partial(
            tenant, stream, key, partition, pane, size, noticed is not None, cell.parts,
            noticed=noticed,
        )  # fmt: skip
        yield Output("partials", key.encode(), to_msgpack(partial))


def forget(tenant: str, stream: str, turn: Turn) -> None:
    """Delete what is kept for the listeners of a stream that has ended."""
    counts, known = turn.state[eligibility.COUNTS], turn.state[profiles.PROFILES]
    for key in eligibility.expired(counts, tenant, stream, None):
        del counts[key]
    for key in profiles.expired(known, tenant, stream, None):
        del known[key]
