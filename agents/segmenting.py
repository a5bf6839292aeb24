"""The fold of the segments step: habits in; memberships, segments and their metrics out. Pure.

It stands here because only the edges may know both ``ml`` and ``tables``. One tenant's habits come from
all source partitions in whatever order they were written, and learning depends on order: segments are
not among what is the same in every run over the same input.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from ml.segmenting.features import Listening, features
from ml.segmenting.segmenter import Assignment, Segmenter
from models.decoding import dead_letter
from models.errors import StateError
from models.events import Metric, Rejected
from models.flow import Batch, Counters, Output, State, StoreSpec, struct_store
from models.records import to_json
from models.segments import Habits, Membership, Segment, decode_habits
from tables import profiles
from tables.profiles import DAY, HOUR, KEPT_MS, Profile
from tables.routes import listener_key
from tables.samples import series_key

SEGMENTERS = "segmenters"
POPULATIONS = "populations"
MEMBERS = "members"

SWEPT_AT_ONCE = 20_000
"""Listeners forgotten in one batch at most: each is two tombstones in its flush."""


class Population(msgspec.Struct, array_like=True):
    """How many listeners a tenant's segments have, and up to which hour and day that was told."""

    sizes: dict[str, int] = {}
    told: int = 0
    swept: int = 0


class Member(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A listener's segment: since when, when last looked at, and when last told (epoch ms)."""

    segment: str
    since: int
    at: int
    told: int


SEGMENT_STORES = (
    StoreSpec(SEGMENTERS, Segmenter.dump, Segmenter.load),
    struct_store(POPULATIONS, Population),
    struct_store(MEMBERS, Member),
)


def listening_of(profile: Profile) -> Listening:
    """What a profile says of how its listener listens."""
    return Listening(
        plays=profile.plays,
        skips=profile.skips,
        completes=profile.completes,
        days=(profile.last_seen - profile.first_seen) / DAY,
        recent=profile.plays_per_day,
        tracks=profile.tracks_yesterday,
        hours=profile.hours,
        gaps=profile.gaps,
        sources=profile.sources,
        platforms=profile.platforms,
    )


def fold_habits(batch: Batch, state: State, now: int, counters: Counters) -> list[Output]:
    """Fold the habits of one partition of ``features``: see ``models.flow.Fold``.

    Counts ``habits_folded`` {learned, looked_at} and ``habits_rejected`` {bad_habits}.
    """
    outputs: list[Output] = []
    for record in batch.records:
        try:
            habits = decode_habits(record.value or b"")
            vector = features(listening_of(profiles.read(habits.profile)))
        except (msgspec.DecodeError, StateError) as exc:
            rejected = Rejected("bad_habits", f"habits cannot be read: {exc}")
            counters.count("habits_rejected", rejected.reason)
            outputs.append(dead_letter(record, batch.source, batch.partition, rejected, now))
            continue
        outputs += _report(habits, state)
        segmenter = state[SEGMENTERS].get(habits.tenant) or Segmenter()
        learned = segmenter.learn(habits.listener, vector, habits.at)
        counters.count("habits_folded", "learned" if learned else "looked_at")
        if learned:
            state[SEGMENTERS][habits.tenant] = segmenter
        outputs += _place(habits, vector, segmenter, state)
    return outputs


def _place(
    habits: Habits, vector: Iterable[float], segmenter: Segmenter, state: State
) -> list[Output]:
    """Put a listener into a segment; told when it is another one, or once on a day."""
    tenant, at = habits.tenant, habits.at
    key = listener_key(tenant, habits.listener)
    before: Member | None = state[MEMBERS].get(key)
    found: Assignment | None = segmenter.assign(tuple(vector), before.segment if before else "")
    if found is None:
        return []
    moved = before is None or before.segment != found.segment
    since = at if before is None or moved else before.since
    tells = before is None or moved or at // DAY > before.told // DAY
    told = at if before is None or tells else before.told
    state[MEMBERS][key] = Member(found.segment, since, max(at, before.at if before else 0), told)
    if moved:
        population = _population(tenant, state)
        if before is not None:
            _leave(population, before.segment)
        population.sizes[found.segment] = population.sizes.get(found.segment, 0) + 1
    if not tells:
        return []
    said = Membership(tenant, habits.listener, found.segment, since, at, round(found.distance, 4))
    return [Output("segments", key.encode(), to_json(said))]


def _population(tenant: str, state: State) -> Population:
    """A tenant's population, to be changed: it is written with the batch."""
    found: Population = state[POPULATIONS].get(tenant) or Population()
    state[POPULATIONS][tenant] = found
    return found


def _leave(population: Population, segment: str) -> None:
    population.sizes[segment] = max(0, population.sizes.get(segment, 0) - 1)


def _report(habits: Habits, state: State) -> list[Output]:
    """With a tenant's first habits in an hour: what the segments are, and of how many listeners."""
    segmenter: Segmenter | None = state[SEGMENTERS].get(habits.tenant)
    if segmenter is None or not segmenter.is_ready:
        return []
    known: Population | None = state[POPULATIONS].get(habits.tenant)
    if known is not None and habits.at // HOUR <= known.told // HOUR:
        return []
    population = _population(habits.tenant, state)
    population.told = habits.at
    outputs = _sweep(habits.tenant, habits.at, population, state)
    return [*outputs, *_tell(habits.tenant, habits.at, segmenter, population)]


def _tell(
    tenant: str, at: int, segmenter: Segmenter, population: Population
) -> Iterator[Output]:  # fmt: skip
    """Each segment, and its size and drift as samples; what is gone has a last sample of nought."""
    sizes, everybody = population.sizes, max(1, sum(population.sizes.values()))
    present = segmenter.segments()
    for segment in present:
        size = sizes.get(segment.id, 0)
        said = Segment(
            tenant, segment.id, segment.description, size, round(size / everybody, 4),
            {name: round(value, 4) for name, value in segment.centre.items()},
            segment.since, at, round(segment.drift, 4),
        )  # fmt: skip
        yield Output("segment-descriptions", f"{tenant}:{segment.id}".encode(), to_json(said))
        yield _sample(tenant, "segment_listeners", segment.id, float(size), at)
        yield _sample(tenant, "segment_drift", segment.id, round(segment.drift, 6), at)
        sizes.setdefault(segment.id, 0)
    for gone in sorted(sizes.keys() - {segment.id for segment in present}):
        yield _sample(tenant, "segment_listeners", gone, float(sizes[gone]), at)
        if not sizes[gone]:
            del sizes[gone]
            yield Output("segment-descriptions", f"{tenant}:{gone}".encode(), None)


def _sample(tenant: str, name: str, segment: str, value: float, at: int) -> Output:
    metric = Metric(tenant, name, value, at, {"segment": segment}, f"{name}/{segment}/{at}")
    return Output("metrics", series_key(metric).encode(), to_json(metric))


def _sweep(tenant: str, at: int, population: Population, state: State) -> list[Output]:
    """In the first hour of a day, forget listeners whose profiles are forgotten, too."""
    if at // DAY <= population.swept:
        return []
    members, prefix = state[MEMBERS], listener_key(tenant, "")
    old = [
        key
        for key, member in members.items()
        if member.at < at - KEPT_MS and key.startswith(prefix)
    ][:SWEPT_AT_ONCE]
    for key in old:
        _leave(population, members.pop(key).segment)
    if len(old) < SWEPT_AT_ONCE:
        population.swept = at // DAY
    return [Output("segments", key.encode(), None) for key in old]
