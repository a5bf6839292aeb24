"""Tracks that come out and are played for a week, of which one is throttled: for tests."""

from __future__ import annotations

import json
import math
import random
import tomllib

from models.records import LIVE
from models.releases import HOURS
from models.topics import END_HEADER
from tests.support.plays import HOUR, MINUTE, SECOND, Sent, partition_of, stream_headers

PARTITIONS = 4
BEGIN = 1_767_225_600_000
"""2026-01-01 00:00 UTC."""

PAST = 6
NEW = BEGIN + (HOURS + PAST + 2) * HOUR + 30 * MINUTE
"""When the tracks come out that are judged; at the half hour, as in India."""

FOLLOWED = 30
THROTTLED = range(12, 16)
"""The hours after which a quarter of the plays of ``new-0`` is left, and before which."""

END = NEW + FOLLOWED * HOUR
SERIES_TOML = """
[time]
pane = "30m"
lateness = "10s"
idle = "5s"
future = "5m"

[[windows]]
size = "1h"
slide = "30m"
grace = "3h"
retention = "400d"

[limits]
groups_per_tenant = 2
metrics_per_tenant = 10
releases_per_tenant = 12

[plays]
groups = [[], ["release"]]

[[plays.measures]]
name = "plays"
kind = "count"

[[plays.measures]]
name = "listeners"
kind = "distinct"
of = "listener_id"

[metrics]
pane_min = "10s"
pane_max = "1d"
"""
RULES_TOML = """
[[rules]]
id = "course"
when = "release(plays) >= 3 for 2h"
severity = "page"

[[rules]]
id = "fewer"
when = "release(listeners) >= 3 down"
severity = "info"
match = {release = "new-0@*"}

[[receivers]]
name = "webhook"
kind = "webhook"
streams = ["live", "replay"]
"""
SERIES = tomllib.loads(SERIES_TOML)
RULES = tomllib.loads(RULES_TOML)


def releases() -> dict[str, int]:
    """When each track came out; the past ones an hour apart."""
    past = {f"past-{i}": BEGIN + i * HOUR for i in range(PAST)}
    return past | {"new-0": NEW, "new-1": NEW + 10 * MINUTE}


def level(track: str, hour: int) -> float:
    """Plays that a track has in an hour of its age."""
    size = 60 if track.startswith("new") else 15 + 10 * int(track[-1])
    plays = size * (0.1 + math.exp(-hour / 8))
    return plays / 4 if track == "new-0" and hour in THROTTLED else plays


def records(stream: str = LIVE, seed: int = 1) -> list[Sent]:
    """The plays of all tracks in their first week, a few of them late; and of some later ones."""
    draw, sent = random.Random(seed), []
    for track, released in releases().items():
        for hour in range(HOURS + 4):
            n = round(level(track, hour) * math.exp(draw.gauss(0, 0.05)))
            for i in range(n if hour else n - 1):
                at = released + hour * HOUR + (i * HOUR + draw.randrange(HOUR)) // max(n, 1)
                sent.append(_play(stream, track, released, at, draw))
            if not hour:
                sent.append(_play(stream, track, released, released + SECOND, draw))
    return sorted((s for s in sent if s.at < END + HOUR), key=lambda s: s.at)


def _play(stream: str, track: str, released: int, at: int, draw: random.Random) -> Sent:
    listener = f"u-{draw.randrange(500)}"
    body = {
        "event_id": f"{stream}/{track}/{at}/{draw.random()}", "tenant_id": "demo",
        "listener_id": listener, "track_id": track, "artist_id": "a", "started_at": at,
        "ms_played": 60_000, "track_ms": 120_000, "platform": "ios", "country": "FR",
        "source": "album", "plan": "free", "released_at": released + draw.randrange(MINUTE),
    }  # fmt: skip
    late = draw.randrange(30 * MINUTE) if draw.random() < 0.02 else draw.randrange(5 * SECOND)
    key = f"demo:{listener}".encode()
    partition = partition_of(key, PARTITIONS)
    return Sent(
        "play", partition, at + late, key, json.dumps(body).encode(), stream_headers(stream)
    )


def closing() -> list[Sent]:
    """A play of no release on every partition, later than all else: the live stream goes on."""
    at, found = END + 3 * HOUR, {}
    for i in range(100):
        key = f"demo:closing-{i}".encode()
        body = {
            "tenant_id": "demo", "listener_id": f"closing-{i}", "track_id": "t", "artist_id": "a",
            "started_at": at, "ms_played": 1, "track_ms": 1, "platform": "ios", "country": "FR",
            "source": "album", "plan": "free",
        }  # fmt: skip
        partition = partition_of(key, PARTITIONS)
        found.setdefault(partition, Sent("closing", partition, at, key, json.dumps(body).encode()))
    return list(found.values())


def end_markers(stream: str = "replay") -> list[Sent]:
    headers = (*stream_headers(stream), (END_HEADER, b"1"))
    return [Sent("end", p, END + 3 * HOUR, b"", None, headers) for p in range(PARTITIONS)]
