"""Bytes to events: what is taken, what is refused and why, and that nothing ever raises."""

import json
import random
import string

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import decoding, events
from models.decoding import dead_letter, decode_metrics, decode_plays
from models.events import Metric, Play, Rejected
from models.flow import Record
from models.records import MAX_DEAD_LETTER_BYTES, decode_dead_letter

PLAY = {
    "event_id": "e1",
    "tenant_id": "demo",
    "listener_id": "u1",
    "track_id": "t1",
    "artist_id": "a1",
    "started_at": 1_760_000_000_123,
    "ms_played": 31_000,
    "track_ms": 200_000,
    "platform": "ios",
    "country": "DE",
    "source": "playlist",
    "plan": "free",
    "skipped": False,
    "offline": False,
    "error": None,
    "startup_ms": 210,
}
METRIC = {
    "event_id": "m1",
    "tenant_id": "demo",
    "name": "cpu",
    "value": 0.5,
    "at": 1_760_000_000_123,
    "tags": {"host": "h1"},
}


def play(**changes):
    return json.dumps({**PLAY, **changes}).encode()


def metric(**changes):
    return json.dumps({**METRIC, **changes}).encode()


def without(event, field):
    return json.dumps({k: v for k, v in event.items() if k != field}).encode()


def decode_play(value):
    (result,) = decode_plays([value])
    return result


def decode_metric(value):
    (result,) = decode_metrics([value])
    return result


def test_a_play_keeps_every_field():
    expected = Play(
        "demo", "u1", "t1", "a1", 1_760_000_000_123, 31_000, 200_000, "ios", "DE", "playlist",
        "free", "e1", False, False, None, 210,
    )  # fmt: skip
    assert decode_play(play()) == expected


def test_a_play_counts_when_it_ended_if_it_says_so():
    started, ended = PLAY["started_at"], PLAY["started_at"] + 31_000
    assert decode_play(play()).at == started
    both = decode_play(play(ended_at=ended))
    assert (both.started_at, both.ended_at, both.at) == (started, ended, ended)
    assert decode_play(play(ended_at="2025-10-09T08:53:51.123Z")).at == ended
    assert decode_play(play(ended_at=None)).at == started


def test_a_play_may_say_when_its_track_came_out():
    assert decode_play(play()).released_at is None
    assert decode_play(play(released_at=None)).released_at is None
    for written in (PLAY["started_at"], "2025-10-09T10:53:20.123+02:00"):
        assert decode_play(play(released_at=written)).released_at == PLAY["started_at"]


def test_a_metric_keeps_every_field():
    assert decode_metric(metric()) == Metric(
        "demo", "cpu", 0.5, 1_760_000_000_123, {"host": "h1"}, "m1"
    )


def test_only_what_is_optional_may_be_absent():
    """Each optional field has its default; each other field is required."""
    required = {"tenant_id", "listener_id", "track_id", "artist_id", "started_at", "ms_played",
                "track_ms", "platform", "country", "source", "plan"}  # fmt: skip
    for field in PLAY:
        result = decode_play(without(PLAY, field))
        if field in required:
            assert result.reason == "missing_field"
            assert field in result.detail
        else:
            assert isinstance(result, Play)
    for field in METRIC:
        result = decode_metric(without(METRIC, field))
        assert isinstance(result, Rejected) == (field not in {"event_id", "tags"})


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        (1_760_000_000_123, 1_760_000_000_123),
        (1_760_000_000_123.0, 1_760_000_000_123),
        ("2025-10-09T08:53:20.123Z", 1_760_000_000_123),
        ("2025-10-09T10:53:20.123+02:00", 1_760_000_000_123),
        ("2025-10-09T08:53:20.123999Z", 1_760_000_000_123),
        ("2025-10-09 08:53:20z", 1_760_000_000_000),
        ("2000-01-01T00:00:00Z", 946_684_800_000),
        ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
    ],
)
def test_times_become_epoch_milliseconds(written, ms):
    """RFC 3339 with an offset, and epoch milliseconds, mean the same for plays and metrics."""
    assert decode_play(play(started_at=written)).started_at == ms
    assert decode_metric(metric(at=written)).at == ms


@pytest.mark.parametrize("written", ["de", "De", "DE"])
def test_a_country_may_be_written_small(written):
    assert decode_play(play(country=written)).country == "DE"


def test_unknown_fields_are_no_error():
    assert decode_play(play(zzz=[{"a": [1]}], tenant="x")) == decode_play(play())


def test_texts_may_hold_anything_else():
    """Keys escape what they must; an id is only bounded in length, in characters."""
    odd = "a|b{c}=d,e%f:g\x00\x1f ü😀"
    assert decode_play(play(listener_id=odd)).listener_id == odd
    assert decode_play(play(track_id="ü" * 256)).track_id == "ü" * 256


LONG = b'{"a":"' + b"x" * 1025
REFUSED = [
    ("empty", decode_play, None),
    ("too_large", decode_play, b" " * (decoding.MAX_VALUE_BYTES + 1)),
    ("too_deep", decode_play, b'{"a":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    ("too_deep", decode_play, b'{"a":' * 5000),
    ("invalid_utf8", decode_play, play().replace(b'"u1"', b'"\xff\xfe"')),
    ("not_json", decode_play, b""),
    ("not_json", decode_play, b"   "),
    ("not_json", decode_play, b"{"),
    ("not_json", decode_play, play() + b"x"),
    ("not_json", decode_play, play() + b"," + play()),
    ("not_json", decode_play, b"\xef\xbb\xbf" + play()),
    ("not_json", decode_play, play().replace(b'"u1"', rb'"\ud800"')),
    ("not_json", decode_play, b'{"NaN'),
    ("not_an_object", decode_play, b"[]"),
    ("not_an_object", decode_play, b"null"),
    ("not_an_object", decode_play, b'"NaN"'),
    ("missing_field", decode_play, b"{}"),
    ("wrong_type", decode_play, play(listener_id=7)),
    ("wrong_type", decode_play, play(ms_played="7")),
    ("wrong_type", decode_play, play(ms_played=7.5)),
    ("wrong_type", decode_play, play(skipped=1)),
    ("wrong_type", decode_play, play(skipped=None)),
    ("wrong_type", decode_play, play(error=5)),
    ("wrong_type", decode_metric, metric(value="1")),
    ("wrong_type", decode_metric, metric(value=None)),
    ("wrong_type", decode_metric, metric(value=True)),
    ("wrong_type", decode_metric, metric(tags=["a"])),
    ("wrong_type", decode_metric, metric(tags={"a": 1})),
    ("empty_text", decode_play, play(listener_id="")),
    ("empty_text", decode_play, play(error="")),
    ("empty_text", decode_play, play(event_id="")),
    ("empty_text", decode_metric, metric(name="")),
    ("empty_text", decode_metric, metric(tags={"": "a"})),
    ("text_too_long", decode_play, play(track_id="x" * 257)),
    ("text_too_long", decode_metric, metric(tags={"x" * 257: "a"})),
    ("text_too_long", decode_metric, metric(tags={"a": "x" * 257})),
    ("out_of_range", decode_play, play(ms_played=-1)),
    ("out_of_range", decode_play, play(ms_played=86_400_001)),
    ("out_of_range", decode_play, play(track_ms=-5)),
    ("out_of_range", decode_play, play(startup_ms=-5)),
    ("out_of_range", decode_play, play(ms_played=10**30)),
    ("not_finite", decode_metric, metric(value=float("nan"))),
    ("not_finite", decode_metric, metric(value=float("-inf"))),
    ("not_finite", decode_metric, metric().replace(b"0.5", b"1e999")),
    ("not_finite", decode_metric, metric().replace(b"0.5", b"9" * 400)),
    ("bad_time", decode_play, play(started_at="2025-10-09T08:53:20")),
    ("bad_time", decode_play, play(started_at="yesterday")),
    ("bad_time", decode_play, play(started_at="2025-02-30T00:00:00Z")),
    ("bad_time", decode_play, play(started_at=1_760_000_000_123.5)),
    ("bad_time", decode_play, play(started_at=10**18)),
    ("bad_time", decode_play, play(started_at=10**40)),
    ("bad_time", decode_play, play(started_at=None)),
    ("bad_time", decode_metric, metric(at=True)),
    ("bad_time", decode_metric, metric(at=1e300)),
    ("before_2000", decode_play, play(started_at=1_760_000_000)),
    ("before_2000", decode_play, play(started_at=-(10**40))),
    ("before_2000", decode_metric, metric(at="1999-12-31T23:59:59.999Z")),
    ("before_2000", decode_metric, metric(at="0001-01-01T00:00:00+14:00")),
    ("bad_country", decode_play, play(country="UK")),
    ("bad_country", decode_play, play(country="")),
    ("bad_time", decode_play, play(ended_at="noon")),
    ("bad_time", decode_play, play(released_at="Friday")),
    ("bad_time", decode_play, play(released_at="2025-10-09T08:53:20")),
    ("before_2000", decode_play, play(released_at=PLAY["started_at"] // 1000)),
    ("bad_time", decode_play, play(released_at=[])),
    ("bad_time", decode_play, play(ended_at=PLAY["started_at"] - 1)),
    ("bad_country", decode_play, play(country="deu")),
    ("bad_country", decode_play, play(country="D\u0131")),
    ("too_many_tags", decode_metric, metric(tags={str(i): "x" for i in range(17)})),
]


@pytest.mark.parametrize(("reason", "decode", "value"), REFUSED)
def test_what_is_refused_says_why(reason, decode, value):
    result = decode(value)
    assert isinstance(result, Rejected), result
    assert result.reason == reason
    assert 0 < len(result.detail) <= 400


def test_every_reason_can_happen():
    """The closed set is exactly what the table above brings about."""
    assert {reason for reason, _, _ in REFUSED} == decoding.REASONS


def test_depth_is_that_of_brackets_outside_of_strings():
    """A long text full of brackets is not deep; a structure at the limit is taken, one more is not."""
    assert isinstance(decode_play(play(note='[{\\"' * 2000)), Play)

    def nested(levels):
        inner = b"[" * levels + b"]" * levels
        return play(pad="x" * 2000)[:-1] + b',"deep":' + inner + b"}"

    assert isinstance(decode_play(nested(decoding.MAX_DEPTH - 1)), Play)
    assert decode_play(nested(decoding.MAX_DEPTH)).reason == "too_deep"


@pytest.mark.parametrize(
    "values",
    [
        [b"1],[2", play()],
        [play() + b"," + play(), b"", play()],
        [b'{"a":[{}', b"{}]}", b"{},{}", play()],
        [play()[:-1] + b",", play()[1:], play() + b"," + play()],
        [b'{"x":"', b'"}', b"{},{}"],
    ],
)
def test_values_cannot_lean_on_each_other(values):
    """Halves of documents, and two documents in one, stay what they are whatever their neighbours."""
    assert decode_plays(values) == [decode_play(value) for value in values]
    accepted = sum(isinstance(result, Play) for result in decode_plays(values))
    assert accepted == values.count(play())


def mutated(rng, value):
    """The value with something done to it that a broken producer, or a hostile one, might do."""
    match rng.randrange(8):
        case 0:
            i = rng.randrange(len(value))
            return value[:i] + bytes([rng.randrange(256)]) + value[i + 1 :]
        case 1:
            return value[: rng.randrange(len(value))]
        case 2:
            i, j = sorted(rng.choices(range(len(value)), k=2))
            return value[:i] + value[j:]
        case 3:
            return value + rng.choice([b"", b" ", b",", b"{}", b"]", b"\n" + value])
        case 4:
            return rng.randbytes(rng.randrange(60))
        case 5:
            event = json.loads(value)
            field = rng.choice(list(event))
            event[field] = rng.choice(
                [None, "", 0, -1, 1e308, 10**25, True, [], {}, "x" * 300, [[[]]], 1.5, float("nan")]
            )
            return json.dumps(event).encode()
        case 6:
            event = json.loads(value)
            event.pop(rng.choice(list(event)))
            return json.dumps(event).encode()
        case _:
            return value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable, max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(PLAY)), inner),
    max_leaves=6,
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=1000)
@given(
    seed=st.integers(0, 2**32),
    drawn=st.lists(st.none() | st.binary(max_size=40) | json_values, max_size=6),
    valid=st.sampled_from([play(), metric()]),
)
def test_whatever_the_bytes_every_value_has_one_result(seed, drawn, valid):
    """Accepted + rejected = sent, nothing raises, and a value's neighbours do not matter.

    100 values a case, 100,000 in all: drawn ones, and mutations of a good one.
    """
    rng = random.Random(seed)
    values = [*drawn, *(mutated(rng, valid) for _ in range(100 - len(drawn)))]
    rng.shuffle(values)
    for decode, event in ((decode_plays, Play), (decode_metrics, Metric)):
        results = decode(values)
        assert len(results) == len(values) == 100
        assert all(isinstance(r, event) or r.reason in decoding.REASONS for r in results)
        for i in rng.sample(range(100), 3):
            assert results[i : i + 1] == decode(values[i : i + 1])


written = st.fixed_dictionaries(
    {},
    optional={
        "started_at": st.sampled_from(
            [events.YEAR_2000 - 1, events.YEAR_2000, events.YEAR_10000 - 1, 1.76e12, 1.5,
             events.YEAR_10000, "2025-10-09T10:53:20Z", "2025-10-09T10:53:20", True, 10**30, None]
        ),
        **dict.fromkeys(("ended_at", "released_at"), st.sampled_from(
            [None, 1_760_000_000_122, 1_760_000_000_123, 1_760_000_300_000, 1.76e12, 0, 2**63, "x",
             "2026-01-01T00:00:00+01:00"]
        )),
        "country": st.sampled_from(["DE", "de", "De", "dE", "XX", "", "D", "Deutschland", 7]),
        "ms_played": st.sampled_from([0, -1, 86_400_000, 86_400_001, 5.0, "5", 2**64, None]),
        "startup_ms": st.sampled_from([None, 0, -1, 86_400_001, 1.0, False]),
        "event_id": st.sampled_from([None, "", "\u00e9\U0001f3b5", "x" * 256, "x" * 257, "\x00", 5]),
        "listener_id": st.sampled_from(["", "x" * 256, "x" * 257, "\ud800", None]),
        "skipped": st.sampled_from([True, 1, "true", None]),
        "error": st.sampled_from(["drm", "", None, 3]),
        "unknown": st.sampled_from([None, [[]], {"a": 1}, "x" * 900]),
    },
)  # fmt: skip


@settings(max_examples=1000)
@given(st.lists(st.tuples(written, written, st.booleans()), min_size=1, max_size=8), st.randoms())
def test_a_play_that_is_decoded_in_one_step_is_what_reading_it_with_care_gives(drawn, rng):
    """Types, bounds, spellings and fields that come twice: 100 values a case, 100,000 in all."""
    values = []
    for first, second, twice in drawn:
        value = play(**first)
        values.append(
            value[:-1] + b"," + json.dumps(second).encode()[1:] if twice and second else value
        )
    values += [mutated(rng, rng.choice(values)) for _ in range(100 - len(values))]
    alone = [result for value in values for result in decode_plays([value])]
    assert alone == decoding.read_plays(values) == decode_plays(values)
    assert [type(result) for result in alone] == [type(r) for r in decode_plays(values)]


@given(st.builds(dict, value=st.floats(allow_nan=False, allow_infinity=False)))
def test_every_finite_value_of_a_metric_is_kept_exactly(changes):
    assert decode_metric(metric(**changes)).value == changes["value"]


def test_an_accepted_event_can_be_read_again():
    """What is written of an event (as late events are) decodes to the same event."""
    event = decode_play(play(country="de", started_at="2025-10-09T10:53:20.123+02:00"))
    assert decode_play(msgspec.json.encode(event)) == event


def test_a_dead_letter_says_where_and_why_and_keeps_the_bytes():
    record = Record(17, 1_760_000_000_000, b"k\xff", b"\xff\x00{", ())
    output = dead_letter(record, "plays", 3, Rejected("not_json", "because"), 1_760_000_000_500)
    letter = decode_dead_letter(output.value)
    assert (output.topic, output.key) == ("dead-letters", b"plays:3:17")
    assert (letter.reason, letter.detail) == ("not_json", "because")
    assert (letter.topic, letter.partition, letter.offset) == ("plays", 3, 17)
    assert (letter.timestamp, letter.at) == (1_760_000_000_000, 1_760_000_000_500)
    assert (letter.value, letter.key, letter.size) == (b"\xff\x00{", b"k\xff", 3)
    assert not letter.truncated


def test_a_dead_letter_of_a_tombstone_has_no_value():
    letter = decode_dead_letter(
        dead_letter(Record(1, 2, None, None), "plays", 0, Rejected("empty", "x"), 3).value
    )
    assert (letter.value, letter.key, letter.size) == (None, None, 0)


def test_a_dead_letter_fits_a_record_whatever_it_is_of():
    """The value is cut at its limit, with its true length beside it; so is an absurd key."""
    record = Record(1, 2, b"k" * 900_000, b"v" * 1_000_000)
    output = dead_letter(record, "plays", 0, Rejected("too_large", "x"), 3)
    letter = decode_dead_letter(output.value)
    assert letter.value == b"v" * MAX_DEAD_LETTER_BYTES
    assert (letter.size, letter.truncated) == (1_000_000, True)
    assert len(output.value) < 200_000
