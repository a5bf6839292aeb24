"""Bad input through a real worker: every kind ends in ``dead-letters``, and the stream goes on."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any, NamedTuple

import pytest

from engine.broker import ensure_topics
from models.decoding import MAX_VALUE_BYTES, REASONS
from models.records import MAX_DEAD_LETTER_BYTES, DeadLetter, decode_dead_letter, decode_window
from models.settings import Settings
from models.topics import TOPICS
from tests.support.plays import BEGIN, HOUR, Plan, Sent, end_markers, partition_of, stream_headers
from tests.support.topics import produce, values_of
from tests.support.worker import Worker

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

STREAM = "bad-input"
MB = 1 << 20
PLAY: dict[str, Any] = {
    "tenant_id": "demo", "listener_id": "u1", "track_id": "t1", "artist_id": "a1",
    "started_at": BEGIN, "ms_played": 31_000, "track_ms": 200_000, "platform": "ios",
    "country": "DE", "source": "playlist", "plan": "free",
}  # fmt: skip
METRIC: dict[str, Any] = {"tenant_id": "demo", "name": "cpu", "value": 0.5, "at": BEGIN, "tags": {}}


class Bad(NamedTuple):
    """A kind of bad record, and the reason it must be refused for."""

    name: str
    topic: str
    value: bytes
    reason: str


def _json(event: dict[str, Any], **changes: Any) -> bytes:
    return json.dumps({**event, **changes}).encode()


def _without(event: dict[str, Any], name: str) -> bytes:
    return json.dumps({k: v for k, v in event.items() if k != name}).encode()


KINDS = [
    Bad("not JSON", "plays", b"\x00\x01 plays, honestly", "not_json"),
    Bad("half of it", "plays", _json(PLAY)[:-20], "not_json"),
    Bad("two documents", "plays", _json(PLAY) + b"," + _json(PLAY), "not_json"),
    Bad("an array", "plays", b"[" + _json(PLAY) + b"]", "not_an_object"),
    Bad("nothing", "plays", b"", "not_json"),
    Bad("wrong type", "plays", _json(PLAY, ms_played="long"), "wrong_type"),
    Bad("missing field", "plays", _without(PLAY, "track_id"), "missing_field"),
    Bad("empty text", "plays", _json(PLAY, listener_id=""), "empty_text"),
    Bad("long text", "plays", _json(PLAY, track_id="x" * 257), "text_too_long"),
    Bad("negative", "plays", _json(PLAY, ms_played=-1), "out_of_range"),
    Bad("far future", "plays", _json(PLAY, started_at=BEGIN + HOUR), "far_future"),
    Bad("before 2000", "plays", _json(PLAY, started_at=BEGIN // 1000), "before_2000"),
    Bad("no time", "plays", _json(PLAY, started_at="tomorrow"), "bad_time"),
    Bad("NaN", "plays", _json(PLAY, ms_played=float("nan")), "not_finite"),
    Bad("Narnia", "plays", _json(PLAY, country="Narnia"), "bad_country"),
    Bad("not UTF-8", "plays", _json(PLAY).replace(b'"t1"', b'"t\xff\xfe"'), "invalid_utf8"),
    Bad("nesting bomb", "plays", b'{"a":' * 100_000, "too_deep"),
    Bad("array bomb", "plays", _json(PLAY)[:-1] + b',"x":' + b"[" * 50_000, "too_deep"),
    Bad("unknown tenant", "plays", _json(PLAY, tenant_id="nobody"), "unknown_tenant"),
    Bad("longer than is read", "plays", b'{"x":"' + b"x" * MAX_VALUE_BYTES + b'"}', "too_large"),
    Bad("metric is NaN", "metrics", _json(METRIC, value=float("nan")), "not_finite"),
    Bad("metric is infinite", "metrics", _json(METRIC, value=float("-inf")), "not_finite"),
    Bad("metric is a text", "metrics", _json(METRIC, value="0.5"), "wrong_type"),
    Bad(
        "many tags",
        "metrics",
        _json(METRIC, tags={str(i): "x" for i in range(17)}),
        "too_many_tags",
    ),
    Bad("metric of nobody", "metrics", _json(METRIC, tenant_id="nobody"), "unknown_tenant"),
    Bad("metric from the future", "metrics", _json(METRIC, at=BEGIN + HOUR), "far_future"),
]


def record(value: bytes, partition: int = 0) -> Sent:
    """A record of the test's stream."""
    return Sent("", partition, BEGIN, b"demo:u1", value, stream_headers(STREAM))


@pytest.fixture
def worker(tansu_server, unique_name, tmp_path):
    """A worker that is stopped, on topics that exist."""
    env = {
        "BACKBEAT_BROKER": tansu_server.url,
        "BACKBEAT_APP_ID": unique_name,
        "BACKBEAT_TOPIC_PREFIX": f"{unique_name}-",
        "BACKBEAT_ROLES": "ingest,windows",
    }
    settings = Settings(broker=tansu_server.url, app_id=unique_name, topic_prefix=f"{unique_name}-")
    asyncio.run(ensure_topics(settings, list(TOPICS.values()), []))
    with Worker("faust_app", tmp_path, **env) as worker:
        worker.bootstrap, worker.prefix = tansu_server.bootstrap, f"{unique_name}-"
        yield worker


def rejected_by_reason(worker) -> Counter[str]:
    """What ``/metrics`` counts as rejected."""
    _, body = worker.get("/metrics")
    pattern = r'backbeat_things_dropped_total\{name="events_rejected",reason="(\w+)"\} ([\d.e+]+)'
    return Counter({m[1]: int(float(m[2])) for m in re.finditer(pattern, body.decode())})


def folded(worker, step: str) -> int:
    """Records of a step's source in flushed state."""
    places = worker.status().get("steps", {}).get(step, [])
    return sum(p["next_offset"] for p in places)


def good(number: int) -> Sent:
    """A play that is well, on partition 0."""
    return record(_json(PLAY, event_id=f"good-{number}", listener_id=_home_listener()))


def _home_listener() -> str:
    """A listener whose plays belong to partition 0, so that nothing is forwarded."""
    return next(f"u{i}" for i in range(100) if partition_of(b"demo:u%d" % i, 4) == 0)


def total_plays(worker) -> int:
    """Plays in the ten-second windows over everything."""
    windows = map(decode_window, values_of(worker.bootstrap, f"{worker.prefix}windows"))
    return sum(w.count for w in windows if w.group == "demo|all{}" and w.size == 10_000)


def letters(worker) -> list[DeadLetter]:
    """All dead letters."""
    values = values_of(worker.bootstrap, f"{worker.prefix}dead-letters")
    return [decode_dead_letter(value) for value in values]


def journal(worker) -> set[tuple[str, int, int, str, str | None]]:
    """Topic, partition, offset, reason and event_id of the events that the log tells of."""
    lines = [line for line in worker.log.read_text().splitlines() if "backbeat.journal" in line]
    names = ("topic", "partition", "offset", "reason", "event_id")
    return {tuple(map(json.loads(line).get, names)) for line in lines}


def test_every_kind_is_a_dead_letter_and_the_rest_is_counted(worker):
    """Each bad record stands between two good ones."""
    plays = [bad for bad in KINDS if bad.topic == "plays"]
    metrics = [bad for bad in KINDS if bad.topic == "metrics"]
    mixed = [good(0)]
    for number, bad in enumerate(plays, 1):
        mixed += [record(bad.value), good(number)]
    ends = end_markers(Plan(stream=STREAM))
    big = 2 * MAX_VALUE_BYTES
    produce(worker.bootstrap, f"{worker.prefix}plays", [*mixed, *ends], max_bytes=big)
    produce(worker.bootstrap, f"{worker.prefix}metrics", [record(bad.value) for bad in metrics])
    worker.wait(lambda: folded(worker, "plays") == len(mixed) + 4, 120, "all plays folded")
    worker.wait(lambda: folded(worker, "metrics") == len(metrics), 60, "all metrics folded")

    found = {(d.topic, d.partition, d.offset): d for d in letters(worker)}
    places = [("plays", 0, 2 * i + 1) for i in range(len(plays))]
    places += [("metrics", 0, i) for i in range(len(metrics))]
    assert found.keys() == set(places)
    for place, bad in zip(places, [*plays, *metrics], strict=True):
        letter = found[place]
        assert (bad.name, letter.reason) == (bad.name, bad.reason)
        assert letter.detail
        assert letter.value == bad.value[:MAX_DEAD_LETTER_BYTES]
        assert letter.size == len(bad.value)
        assert letter.truncated == (len(bad.value) > MAX_DEAD_LETTER_BYTES)
        assert letter.key == b"demo:u1"
        assert letter.timestamp == BEGIN
    assert rejected_by_reason(worker) == Counter(bad.reason for bad in KINDS)
    assert journal(worker) == {(*place, found[place].reason, None) for place in places}
    worker.wait(lambda: total_plays(worker) == len(plays) + 1, 60, "all good plays in windows")


def test_a_tombstone_is_refused_and_an_end_is_not(worker):
    """A record without a value ends a stream if it says so; if not, it is nothing."""
    nameless = record(b"")._replace(value=None)
    named = nameless._replace(headers=(*nameless.headers, ("event_id", b"e1")))
    nothing = [named, good(1)]
    endless = end_markers(Plan(stream="live"))
    produce(worker.bootstrap, f"{worker.prefix}plays", [*nothing, *endless])
    worker.wait(lambda: folded(worker, "plays") == 6, 60, "all folded")
    found = letters(worker)
    assert Counter(d.reason for d in found) == {"empty": 1, "endless": 4}
    assert all(d.value is None for d in found)
    assert ("plays", 0, 0, "empty", "e1") in journal(worker)


def test_ten_megabytes_are_cut_to_what_a_dead_letter_holds(worker):
    """They pass broker, fetch and decoder, and the next play is counted.

    The embedded broker takes such a record; Kafka refuses it from its producer by default.
    """
    huge = b'{"x":"' + b"x" * (10 * MB) + b'"}'
    topic = f"{worker.prefix}plays"
    produce(worker.bootstrap, topic, [record(huge)], max_bytes=11 * MB)
    produce(worker.bootstrap, topic, [good(1)])
    worker.wait(lambda: folded(worker, "plays") == 2, 60, "10 MB and one play folded")
    (letter,) = letters(worker)
    assert (letter.reason, letter.size, letter.truncated) == ("too_large", len(huge), True)
    assert letter.value == huge[:MAX_DEAD_LETTER_BYTES]


def test_the_kinds_cover_every_reason():
    """The decoder's own, but those of whole records; a new reason needs a new kind."""
    assert REASONS - {bad.reason for bad in KINDS} == {"empty"}
