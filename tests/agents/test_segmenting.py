"""The fold of habits: learning, membership, sizes and drift as metrics, forgetting, bad records."""

import random
from zlib import crc32

import pytest

from agents.segmenting import MEMBERS, POPULATIONS, SEGMENT_STORES, SEGMENTERS, fold_habits
from ml.segmenting.clusters import WARM_UP
from models.decoding import decode_metrics
from models.events import Play
from models.flow import Batch, Record
from models.records import decode_dead_letter, to_msgpack
from models.segments import Habits, Membership, Segment, decode_membership, decode_segment
from models.series import parse_key
from tables import profiles
from tables.profiles import KEPT_MS
from tests.tables.ingest_bed import DAY, HOUR, MINUTE, T0, Counts

LISTENERS = WARM_UP + 20


def profile_of(night, seed, until):
    """A night listener of radio on a speaker, or a morning one of playlists on a phone."""
    draw = random.Random(seed)
    hour = T0 // DAY * DAY + (HOUR if night else 8 * HOUR)
    plays = []
    for i in range(40):
        play = Play(
            "demo", "x", f"t{draw.randrange(50)}", "a", hour + i * 3 * MINUTE, 180_000, 180_000,
            "speaker" if night else "ios", "DE", "radio" if night else "playlist", "free",
            skipped=not night and draw.random() < 0.4,
        )  # fmt: skip
        plays.append((play, crc32(play.track_id.encode()), True, until))
    return profiles.update(None, plays)


PROFILES = [profile_of(i % 2 == 0, i, T0) for i in range(LISTENERS)]


def habits(i, at, tenant="demo", profile=None):
    return to_msgpack(Habits(tenant, f"l{i}", at, profile or PROFILES[i]))


class Step:
    """One partition of ``features``; every batch ends with the state through its codecs."""

    def __init__(self):
        self.state = {spec.name: {} for spec in SEGMENT_STORES}
        self.counts = Counts()

    def push(self, *values):
        records = [Record(n, T0, b"demo", value) for n, value in enumerate(values)]
        outputs = fold_habits(Batch("features", 0, records, False), self.state, T0, self.counts)
        for spec in SEGMENT_STORES:
            held = self.state[spec.name].items()
            self.state[spec.name] = {k: spec.decode(spec.encode(v)) for k, v in held}
        return outputs

    def everybody(self, at):
        return self.push(*(habits(i, at) for i in range(LISTENERS)))


def told(outputs):
    """Memberships and segments by key; None for what was deleted."""
    decoders = {"segments": decode_membership, "segment-descriptions": decode_segment}
    return {
        out.key.decode(): out.value and decoders[out.topic](out.value)
        for out in outputs
        if out.topic in decoders
    }


def samples(outputs):
    """(name, segment) -> value of the metrics, each checked to be one that ingest takes."""
    records = [out for out in outputs if out.topic == "metrics"]
    found = {}
    for out, metric in zip(records, decode_metrics([o.value for o in records]), strict=True):
        assert str(parse_key(out.key.decode())) == out.key.decode()
        found[metric.name, metric.tags["segment"]] = (metric.value, metric.at)
    return found


@pytest.fixture(scope="module")
def settled():
    """A step that has seen everybody in three hours, and what the last one brought."""
    step = Step()
    step.everybody(T0)
    step.everybody(T0 + HOUR)
    return step, step.everybody(T0 + 2 * HOUR)


def test_nothing_is_said_before_enough_listeners_are_known():
    assert Step().push(*(habits(i, T0) for i in range(WARM_UP - 1))) == []


def test_listeners_who_listen_alike_share_a_segment_and_others_do_not():
    step = Step()
    step.everybody(T0)
    found = told(step.everybody(T0 + DAY))
    members = {k: m for k, m in found.items() if isinstance(m, Membership)}
    night = {members[f"demo:l{i}"].segment for i in range(0, LISTENERS, 2)}
    morning = {members[f"demo:l{i}"].segment for i in range(1, LISTENERS, 2)}

    assert len(members) == LISTENERS
    assert not night & morning


def test_every_hour_each_segment_is_told_and_measured(settled):
    _, outputs = settled
    segments = {k: s for k, s in told(outputs).items() if isinstance(s, Segment)}
    found = samples(outputs)

    assert set(segments) == {f"demo:{s.id}" for s in segments.values()}
    assert sum(s.size for s in segments.values()) == LISTENERS
    assert sum(s.share for s in segments.values()) == pytest.approx(1, abs=0.01)
    assert any("night listeners" in s.description for s in segments.values())
    for s in segments.values():
        assert found["segment_listeners", s.id] == (s.size, T0 + 2 * HOUR)
        assert found["segment_drift", s.id] == (pytest.approx(s.drift, abs=1e-3), T0 + 2 * HOUR)


def test_the_same_hour_is_told_once_and_a_membership_once_a_day(settled):
    step, _ = settled

    assert step.everybody(T0 + 2 * HOUR + MINUTE) == []
    later = told(step.everybody(T0 + 3 * HOUR))
    assert {type(record) for record in later.values()} == {Segment}


def test_a_listener_who_changes_is_moved_and_counted_there():
    step = Step()
    step.everybody(T0)
    step.everybody(T0 + HOUR)
    before = dict(step.state[POPULATIONS]["demo"].sizes)
    was = step.state[MEMBERS]["demo:l0"]
    (out,) = step.push(habits(0, T0 + HOUR + MINUTE, profile=PROFILES[1]))
    now = decode_membership(out.value)
    after = step.state[POPULATIONS]["demo"].sizes

    assert now.segment == step.state[MEMBERS]["demo:l1"].segment != was.segment
    assert now.since == T0 + HOUR + MINUTE
    assert after[was.segment] == before[was.segment] - 1
    assert after[now.segment] == before[now.segment] + 1


def test_who_is_not_heard_of_for_35_days_is_forgotten():
    step = Step()
    step.everybody(T0)
    step.everybody(T0 + HOUR)
    outputs = step.push(habits(0, T0 + HOUR + KEPT_MS + DAY))
    gone = {k for k, record in told(outputs).items() if record is None and ":l" in k}

    assert gone == {f"demo:l{i}" for i in range(1, LISTENERS)}  # l0 is back
    assert sum(step.state[POPULATIONS]["demo"].sizes.values()) == 1
    assert set(step.state[MEMBERS]) == {"demo:l0"}


def test_a_segment_that_is_gone_ends_at_nought():
    step = Step()
    step.everybody(T0)
    step.everybody(T0 + HOUR)
    step.state[POPULATIONS]["demo"].sizes["s99"] = 0
    first, then = step.everybody(T0 + 2 * HOUR), step.everybody(T0 + 3 * HOUR)

    assert samples(first)["segment_listeners", "s99"] == (0.0, T0 + 2 * HOUR)
    assert told(first)["demo:s99"] is None
    assert ("segment_listeners", "s99") not in samples(then)


def test_tenants_share_nothing():
    step = Step()
    step.everybody(T0)
    outputs = step.push(*(habits(i, T0, tenant="other") for i in range(WARM_UP - 1)))

    assert outputs == []
    assert len(step.state[SEGMENTERS]) == 2


@pytest.mark.parametrize("value", [None, b"", b"\xc1", to_msgpack(["demo", "l1", T0, b"short"])])
def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_goes_on(value):
    step = Step()
    outputs = step.push(value, habits(1, T0))
    (letter,) = [decode_dead_letter(o.value) for o in outputs if o.topic == "dead-letters"]

    assert letter.reason == "bad_habits"
    assert step.counts["habits_rejected", "bad_habits"] == 1
    assert step.counts["habits_folded", "learned"] == 1
