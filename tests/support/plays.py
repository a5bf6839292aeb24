"""Labelled plays for tests, seeded, and made without the product's own simulator.

A plan says how many plays of how many listeners arrive over how long; :func:`make_plays` gives them in
the order of arrival, each with its source partition, so that the order within a partition is part of
the data. What a batch job must make of them is in ``tests.support.oracle``, which does not look at
the labels: those are for a test to see that every kind was there.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiokafka.partitioner import murmur2

from models.flow import Headers
from models.records import LIVE
from models.topics import END_HEADER, STREAM_HEADER

SECOND = 1_000
MINUTE = 60_000
HOUR = 3_600_000
DAY = 86_400_000
BEGIN = 1_760_000_400_000
"""2025-10-09 09:00 UTC: a whole hour, in the middle of a UTC day."""
YEAR_2100 = 4_102_444_800_000


class Sent(NamedTuple):
    """One record for ``plays``: ``at`` is the Kafka timestamp, the time of arrival."""

    label: str
    partition: int
    at: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True)
class Plan:
    """What to make. Shares are of the plays; what they add comes on top of ``plays``.

    ``incident`` is a span after ``begin`` in which most plays of ios in FR fail.
    """

    seed: int = 1
    plays: int = 20_000
    listeners: int = 400
    begin: int = BEGIN
    span: int = 40 * MINUTE
    partitions: int = 4
    stream: str = LIVE
    tenants: Sequence[str] = ("demo", "acme")
    duplicates: float = 0.02
    garbage: float = 0.01
    late: float = 0.01
    very_late: float = 0.002
    anonymous: float = 0.05
    incident: tuple[int, int] = (15 * MINUTE, 20 * MINUTE)


# (weight, country, platform): the incident's slice is the busiest, so that small runs see it too.
_SLICES = (
    (40, "FR", "ios"), (12, "FR", "android"), (10, "DE", "android"), (9, "US", "ios"),
    (8, "US", "web"), (7, "BR", "android"), (6, "DE", "web"), (5, "GB", "ios"), (3, "GB", "tv"),
)  # fmt: skip
_SOURCES = ("playlist", "search", "radio", "album", "autoplay")
_PLANS = ("free", "premium", "family", "student", "trial")


class _Listener(NamedTuple):
    tenant: str
    id: str
    country: str
    platform: str
    plan: str
    loops: bool


def partition_of(key: bytes, partitions: int) -> int:
    """Where Kafka's own clients put a key."""
    return int(murmur2(key) & 0x7FFFFFFF) % partitions


def make_plays(plan: Plan) -> list[Sent]:
    """All records in order of arrival; ends of streams are not among them."""
    rng = random.Random(plan.seed)
    listeners = [_listener(rng, plan, i) for i in range(plan.listeners)]
    sent: list[tuple[int, int, Sent]] = []

    def send(record: Sent) -> None:
        sent.append((record.at, len(sent), record))

    for number in range(plan.plays):
        at = plan.begin + plan.span * number // plan.plays
        listener = rng.choice(listeners)
        label, started = _start(rng, plan, at)
        play = _play(rng, plan, listener, number, started)
        if rng.random() < plan.anonymous:
            del play["event_id"]
            label = "anonymous" if label == "play" else label
        record = _record(plan, label, at, listener, _encode(rng, play))
        send(record)
        if "event_id" in play and rng.random() < plan.duplicates:
            delay = rng.choice((0, rng.randrange(SECOND), rng.randrange(9 * MINUTE)))
            send(record._replace(label="duplicate", at=at + delay))
        if rng.random() < plan.garbage:
            send(_garbage(rng, plan, at, listener, dict(play)))
    sent.sort(key=lambda item: item[:2])
    return [record for _, _, record in sent]


def _listener(rng: random.Random, plan: Plan, number: int) -> _Listener:
    _, country, platform = rng.choices(_SLICES, [weight for weight, _, _ in _SLICES])[0]
    tenant = plan.tenants[0] if rng.random() < 0.8 else rng.choice(plan.tenants)
    name = f"listener-{number}" if number % 7 else f"hörer {number}"
    return _Listener(tenant, name, country, platform, rng.choice(_PLANS), loops=rng.random() < 0.05)


def _start(rng: random.Random, plan: Plan, at: int) -> tuple[str, int]:
    """The label and event time of a play that arrives at ``at``.

    Most are out of order within the allowed lateness of 10 s; some lie right around it. The very late
    ones keep well away from the graces of 1 h and 24 h, and come once the stream is under way.
    """
    draw = rng.random()
    if draw < plan.late:
        return "late", at - rng.randrange(MINUTE, 20 * MINUTE)
    if draw < plan.late + plan.very_late and at > plan.begin + plan.span // 2:
        if rng.random() < 0.5:
            return "very_late", at - rng.randrange(3 * HOUR, 5 * HOUR)
        return "beyond_grace", at - rng.randrange(30 * HOUR, 40 * HOUR)
    if rng.random() < 0.02:
        return "play", at - rng.randrange(9 * SECOND, 12 * SECOND)
    return "play", at - rng.randrange(8 * SECOND)


def _play(
    rng: random.Random, plan: Plan, listener: _Listener, number: int, started: int
) -> dict[str, Any]:
    begin, end = plan.incident
    broken = listener.platform == "ios" and listener.country == "FR"
    broken = broken and begin <= started - plan.begin < end
    failed = rng.random() < (0.6 if broken else 0.004)
    track_ms = rng.randrange(90 * SECOND, 300 * SECOND)
    short = failed or rng.random() < 0.25
    played = rng.randrange(30 * SECOND) if short else rng.randrange(30 * SECOND, track_ms + 9_000)
    return {
        "event_id": f"{plan.stream}-{plan.seed}-{number}",
        "tenant_id": listener.tenant,
        "listener_id": listener.id,
        "track_id": "t-loop" if listener.loops else f"t-{int(rng.paretovariate(0.8)) % 5000}",
        "artist_id": f"a-{rng.randrange(300)}",
        "started_at": started,
        "ms_played": played,
        "track_ms": track_ms,
        "platform": listener.platform,
        "country": listener.country,
        "source": rng.choice(_SOURCES),
        "plan": listener.plan,
        "skipped": played < track_ms // 2 and rng.random() < 0.5,
        "offline": rng.random() < 0.05,
        "error": "E42" if failed else None,
        "startup_ms": None if rng.random() < 0.1 else int(rng.lognormvariate(6.0, 0.6)),
    }


def _encode(rng: random.Random, play: dict[str, Any]) -> bytes:
    """A play as producers may write it: times as text, countries in lower case, fields of their own."""
    play = dict(play)
    draw = rng.random()
    if draw < 0.2:
        whole = datetime.fromtimestamp(play["started_at"] / 1000, UTC)
        play["started_at"] = whole.isoformat(timespec="milliseconds")
    elif draw < 0.3:
        play["country"] = play["country"].lower()
    elif draw < 0.4:
        play["client_version"] = {"build": [1, 2, 3]}
    return json.dumps(play, ensure_ascii=draw < 0.5, separators=(",", ":")).encode()


def _record(plan: Plan, label: str, at: int, listener: _Listener, value: bytes) -> Sent:
    key = f"{listener.tenant}:{listener.id}".encode()
    return Sent(
        label, partition_of(key, plan.partitions), at, key, value, stream_headers(plan.stream)
    )


def stream_headers(stream: str) -> Headers:
    """What a record of a stream carries; the live stream's carry nothing."""
    return () if stream == LIVE else ((STREAM_HEADER, stream.encode()),)


def _garbage(
    rng: random.Random, plan: Plan, at: int, listener: _Listener, play: dict[str, Any]
) -> Sent:
    """A record that is no play, on any partition."""
    play.pop("event_id", None)
    kinds: list[bytes] = [
        bytes(rng.randrange(256) for _ in range(40)),
        json.dumps(play).encode()[:-10],
        b"[]",
        json.dumps(play | {"ms_played": "long"}).encode(),
        json.dumps({k: v for k, v in play.items() if k != "track_id"}).encode(),
        json.dumps(play | {"started_at": YEAR_2100}).encode(),
        json.dumps(play | {"started_at": at // 1000}).encode(),
        json.dumps(play | {"ms_played": float("nan")}).encode(),
        json.dumps(play).encode().replace(b'"artist_id": "', b'"artist_id": "\xff'),
        b'{"tenant_id":' + b"[" * 3_000,
        json.dumps(play | {"tenant_id": "nobody"}).encode(),
        json.dumps(play | {"country": "Narnia"}).encode(),
        b"",
    ]
    value = rng.choice(kinds)
    key = f"{listener.tenant}:{listener.id}".encode()
    partition = rng.randrange(plan.partitions)
    return Sent("garbage", partition, at, key, value, stream_headers(plan.stream))


def end_markers(plan: Plan) -> list[Sent]:
    """The end of a named stream, on every partition, for all tenants: its key is empty."""
    headers = ((STREAM_HEADER, plan.stream.encode()), (END_HEADER, b"1"))
    at = plan.begin + plan.span + 10 * MINUTE
    return [Sent("end", p, at, b"", None, headers) for p in range(plan.partitions)]


def closing_plays(plan: Plan, after: int = 90 * SECOND) -> list[Sent]:
    """One ordinary play of each tenant on every partition, ``after`` ms past the last arrival.

    The live stream has no end marker: what closes its windows is that it goes on.
    """
    at = plan.begin + plan.span + after
    rng = random.Random(plan.seed)
    found: list[Sent] = []
    for tenant in plan.tenants:
        for partition in range(plan.partitions):
            name = next(
                f"closing-{i}" for i in range(10_000)
                if partition_of(f"{tenant}:closing-{i}".encode(), plan.partitions) == partition
            )  # fmt: skip
            listener = _Listener(tenant, name, "FR", "ios", "free", loops=False)
            play = _play(rng, plan, listener, -1, at) | {
                "event_id": f"{tenant}-{name}",
                "error": None,
            }
            found.append(_record(plan, "closing", at, listener, _encode(rng, play)))
    return found


def by_partition(sent: Iterable[Sent], partitions: int) -> list[list[Sent]]:
    """The records of each partition, in their order: the offsets of a new topic are the places."""
    found: list[list[Sent]] = [[] for _ in range(partitions)]
    for record in sent:
        found[record.partition].append(record)
    return found
