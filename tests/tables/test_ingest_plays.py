"""The fold of plays: what goes into partials, what goes elsewhere, and that nothing is lost."""

import json
import random

import msgspec
import pytest

from models.config import Measure, WindowSpec
from models.flow import Batch
from models.records import decode_flow
from models.series import parse_key
from tables import groups, parts
from tables.cells import hash64
from tables.ingest import fold_plays
from tests.tables.ingest_bed import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    SHIPPED,
    T0,
    Bed,
    Seen,
    config,
    play,
    record,
    shipped,
)


def random_plays(seed, count):
    """Decoded JSON of plays of two tenants and streams, a fifth of them out of order."""
    rng = random.Random(seed)
    out = []
    for i in range(count):
        at = T0 + i * 400 - (rng.randrange(90_000) if rng.random() < 0.2 else 0)
        out.append(
            {
                "at": at,
                "tenant_id": rng.choice(["demo", "demo", "other"]),
                "listener_id": f"u{rng.randrange(12)}",
                "track_id": f"t{rng.randrange(3)}",
                "country": rng.choice(["DE", "FR", "US"]),
                "platform": rng.choice(["ios", "web"]),
                "source": rng.choice(["radio", "album"]),
                "plan": rng.choice(["free", "trial"]),
                "ms_played": rng.choice([0, 29_999, 30_000, 123_457]),
                "track_ms": rng.choice([0, 100_000, 200_001]),
                "skipped": rng.random() < 0.3,
                "error": rng.choice([None, None, "drm"]),
                "startup_ms": rng.choice([None, 0, 180, 1_900]),
            }
        )
    return out


def expected_sums(plays, series=SHIPPED):
    """What the partials must come to, written down naively: one play after the other."""
    tops, counted, rows = {}, {}, {}
    for p in plays:
        tenant, at = p["tenant_id"], p["at"]
        top = tops[tenant] = max(tops.get(tenant, 0), at)
        key = (tenant, p["listener_id"], p["track_id"], at // DAY)
        eligible = p["ms_played"] >= 30_000 and counted.get(key, 0) < 10
        counted[key] = counted.get(key, 0) + eligible
        pane, late = at // 10_000 * 10_000, at < top - 10_000
        for tags in series.groups:
            instance = (tenant, tags, tuple(p[t] for t in tags), pane, late)
            rows.setdefault(instance, []).append((p, eligible))
    out = {}
    for (tenant, tags, values, pane, late), mine in rows.items():
        group = groups.group_key(tenant, tags, values)
        completion = [min(1.0, p["ms_played"] / p["track_ms"]) for p, _ in mine if p["track_ms"]]
        startup = [p["startup_ms"] for p, _ in mine if p["startup_ms"] is not None]
        made = {
            "n": len(mine),
            "n:eligible": sum(e for _, e in mine),
            "n:failed": sum(p["error"] is not None for p, _ in mine),
            "n:skipped": sum(p["skipped"] for p, _ in mine),
            "s:completion": parts.moments(completion) if completion else None,
            "q:startup_ms": parts.buckets(startup),
            "d:listener_id": parts.registers([hash64(p["listener_id"]) for p, _ in mine]),
        }
        out["live", group, pane, late] = {k: v for k, v in made.items() if v}
    return out


def values(plays):
    return [play(p["at"], **{k: v for k, v in p.items() if k != "at"}) for p in plays]


@pytest.mark.parametrize("seed", range(4))
def test_partials_are_what_counting_one_by_one_gives(seed):
    """Every group, pane and late flag; every part; in one batch and in many."""
    plays = random_plays(seed, 600)
    assert Bed().push(*values(plays)).sums == expected_sums(plays)
    bed, merged = Bed(), []
    for begin in range(0, 600, 37):
        merged += bed.push(*values(plays[begin : begin + 37])).flow
    assert Seen(merged, [], [], []).sums == expected_sums(plays)


def test_measures_of_any_field_and_predicate_are_made():
    """Each field and predicate that a configuration may name, alone and together."""
    measures = [
        Measure(f"{kind}_{field}_{where}", kind, where, field, 0.5 if kind == "quantile" else None)
        for kind in ("mean", "quantile", "distinct")
        for field in ("startup_ms", "completion", "ms_played", "listener_id", "track_id")
        for where in (None, "eligible", "failed", "skipped", "offline")
        if (kind == "distinct") == field.endswith("_id")
    ]
    counts = [Measure(w, "count", w) for w in ("eligible", "failed", "skipped", "offline")]
    series = shipped(measures=(*measures, *counts), groups=((),))
    bed = Bed(config(series))
    seen = bed.push(
        play(ms_played=60_000, startup_ms=200, error="drm", offline=True, skipped=True),
        play(ms_played=10, startup_ms=None, track_ms=0, listener_id="u2"),
    )
    ((_, made),) = seen.sums.items()
    assert set(made) == set(parts.part_names(series.measures))
    assert (made["n"], made["n:offline"], made["s:ms_played"][:2]) == (2, 1, [2, 60_010])
    assert made["q:startup_ms"] == made["q:startup_ms:failed"] == parts.buckets([200])
    assert made["d:listener_id"] == parts.registers(map(hash64, ["u1", "u2"]))
    assert made["d:listener_id:skipped"] == parts.registers([hash64("u1")])
    assert made["s:completion"] == parts.moments([0.5])


def test_a_partial_names_its_instance():
    seen = Bed(partition=3).push(play(T0 + 12_345, country="de", platform="a|b,c=d"))
    by_group = {p.group: p for p in seen.partials}
    assert len(by_group) == len(SHIPPED.groups)
    key = next(g for g in by_group if "country_platform" in g)
    assert parse_key(key).tags == (("country", "DE"), ("platform", "a|b,c=d"))
    partial = by_group[key]
    assert (partial.tenant, partial.stream, partial.partition) == ("demo", "live", 3)
    assert (partial.pane, partial.size, partial.late) == (T0 + 10_000, 10_000, False)
    assert partial.watermark is None


def test_a_batch_brings_one_partial_a_pane_and_instance():
    """What a flush costs does not grow with its plays."""
    few, many = Bed().push(play()), Bed().push(*[play()] * 1000)
    assert len(many.partials) == len(few.partials) == 6
    assert many.counts() == {(0, False): 1000}


def test_a_group_that_is_configured_twice_is_counted_once():
    seen = Bed(config(shipped(groups=(("country",), (), ("country",))))).push(play())
    assert [p.group for p in seen.partials] == ["demo|country{country=DE}", "demo|all{}"]


def test_a_late_play_says_by_which_edge_it_was_noticed():
    """By its own partition's clock when it was read, whatever the batch brings after it."""
    top = T0 + 65 * SECOND
    seen = Bed().push(play(top), play(T0), play(top + 5 * SECOND), play(T0), play(top + MINUTE))
    found = {(s, p.get("n")) for s, p in seen.placed.items() if s[1] == "demo|all{}" and s[3]}
    assert found == {
        (("live", "demo|all{}", T0, T0 + 60 * SECOND), 1),
        (("live", "demo|all{}", T0, T0 + 70 * SECOND), 1),
    }


def test_every_record_is_accounted_for():
    """Accepted, refused, duplicate, forwarded or too late: the counters add up to what was sent."""
    bed = Bed(config(forwarding=True))
    plays = values(random_plays(9, 300))
    sent = [
        *plays, play(event_id="x"), play(event_id="x"), b"{", play(tenant_id="nobody"),
        play(T0 - 40 * DAY),
    ]  # fmt: skip
    seen = bed.push(*sent)
    of = {}
    for (name, _), n in bed.config.counters.items():
        of[name] = of.get(name, 0) + n
    assert of["events_rejected"] == len(seen.letters) == 2
    assert of["events_forwarded"] == len(seen.forwarded) > 0
    assert of["events_folded"] == of["plays_judged"]
    total = of["events_rejected"] + of["events_forwarded"] + of["events_folded"]
    assert total + of.get("events_dropped", 0) == len(sent)


# -- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (record(b"{"), "not_json"),
        (record(None), "empty"),
        (record(play(tenant_id="nobody")), "unknown_tenant"),
        (record(play(T0 + 300_001), timestamp=T0), "far_future"),
        (record(play(), stream="s" * 65), "bad_stream"),
        (record(play(), stream="a\x1fb"), "bad_stream"),
    ],
)
def test_what_cannot_be_used_is_a_dead_letter(given, reason):
    bed = Bed(partition=2)
    seen = bed.push(given)
    (letter,) = seen.letters
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == (reason, "plays", 2, 0)
    assert (letter.value, letter.at) == (given.value, bed.now)
    assert bed.config.counters == {("events_rejected", reason): 1}
    assert seen.flow == []
    assert not any(bed.state.values())


def test_five_minutes_ahead_of_the_record_is_taken():
    assert Bed().push(record(play(T0 + 300_000), timestamp=T0)).letters == []


def test_a_forged_timestamp_does_not_carry_the_clock_off():
    """Else one record would make all of its stream late, for as long as it claims."""
    bed = Bed()
    far = bed.now + 900 * DAY
    seen = bed.push(record(play(far), timestamp=far), play(bed.now))
    assert [letter.reason for letter in seen.letters] == ["far_future"]
    assert {late for *_, late in seen.sums} == {False}


def test_a_record_without_a_timestamp_is_held_against_the_present():
    bed = Bed()
    taken = record(play(bed.now + 300_000), timestamp=-1)
    refused = record(play(bed.now + 300_001), timestamp=-1)
    assert [letter.reason for letter in bed.push(taken, refused).letters] == ["far_future"]


def test_headers_may_be_null_or_not_text():
    bed = Bed()
    odd = record(play(), headers=(("stream", None), ("trace", None)))
    seen = bed.push(odd, record(play(), headers=(("stream", b"\xff"),)))
    assert (seen.letters, seen.counts()) == ([], {(0, False): 1})
    assert seen.counts(stream="\ufffd") == {(0, False): 1}


def test_one_bad_record_leaves_its_neighbours_alone():
    seen = Bed().push(play(), b"\xff", play(), record(None), play())
    assert seen.counts() == {(0, False): 3}
    assert [letter.offset for letter in seen.letters] == [1, 3]


def test_streams_of_a_tenant_are_bounded():
    """A producer that invents names is stopped; the live stream and the open ones go on."""
    bed = Bed()
    assert bed.push(*(record(play(), stream=f"s{i}") for i in range(32))).letters == []
    seen = bed.push(record(play(), stream="one-more"), record(play(), stream="s1"), play())
    assert [letter.reason for letter in seen.letters] == ["too_many_streams"]
    other = bed.push(record(play(tenant_id="other"), stream="one-more"))
    assert other.letters == []


# -- duplicates, eligibility and profiles -----------------------------------------------------------


def test_duplicates_are_dropped_within_their_stream():
    bed = Bed()
    twice = [play(event_id="e"), play(event_id="e", ms_played=5)]
    seen = bed.push(
        *twice, record(twice[0], stream="import"), play(tenant_id="other", event_id="e")
    )
    assert seen.counts() == {(0, False): 1}
    assert seen.counts(stream="import") == {(0, False): 1}
    assert seen.counts("other|all{}") == {(0, False): 1}
    assert bed.count("events_dropped", "duplicate") == 1


def test_a_record_from_the_future_does_not_wipe_the_memory_of_ids():
    """Its timestamp counts as the present at most."""
    bed = Bed()
    bed.push(record(play(event_id="e"), timestamp=bed.now))
    bed.push(record(play(event_id="f"), timestamp=bed.now + 900 * DAY))
    bed.push(record(play(event_id="e"), timestamp=bed.now))
    assert bed.count("events_dropped", "duplicate") == 1


def test_eligible_plays_stand_beside_all_plays():
    """A duplicate uses up nothing; the eleventh long play and short ones are plays, not eligible."""
    bed = Bed()
    long = [play(T0 + i, event_id=f"e{i}") for i in range(11)]
    seen = bed.push(*long, long[0], *[play(ms_played=29_999)] * 4)
    (made,) = (p for (_, g, *_), p in seen.sums.items() if g == "demo|all{}")
    assert (made["n"], made["n:eligible"]) == (15, 10)
    assert {r: n for (name, r), n in bed.config.counters.items() if name == "plays_judged"} == {
        "eligible": 10, "over_daily_limit": 1, "too_short": 4,
    }  # fmt: skip


def test_an_old_offline_play_is_counted_with_its_eligibility_unknown():
    bed = Bed(now=T0 + 4 * DAY)
    grace = shipped(windows=(WindowSpec(60_000, 60_000, 9 * DAY, False, DAY),))
    bed.config = config(grace)
    seen = bed.push(play(T0 + 4 * DAY), play(T0, offline=True))
    assert bed.count("plays_judged", "unknown_too_old") == 1
    late = {k: p for k, p in seen.sums.items() if k[1] == "demo|all{}" and k[3]}
    ((_, made),) = late.items()
    assert made["n"] == 1
    assert "n:eligible" not in made


def test_each_listener_is_written_once_a_batch():
    bed = Bed()
    writes = []

    class Writes(dict):
        def __setitem__(self, key, value):
            writes.append(key)
            super().__setitem__(key, value)

        def update(self, new):
            for key, value in dict(new).items():
                self[key] = value

    bed.state["profiles"], bed.state["eligibility"] = Writes(), Writes()
    bed.push(*(play(T0 + i, listener_id=f"u{i % 3}", track_id=f"t{i}") for i in range(30)))
    day = T0 // DAY
    assert sorted(writes) == sorted(
        [f"demo:u{i}" for i in range(3)] + [f"{day}/demo:u{i}" for i in range(3)]
    )


def test_streams_do_not_share_profiles_or_counts():
    """A replay neither uses up the ten of the live stream nor shows in its listeners' profiles."""
    bed = Bed()
    bed.push(*(record(play(T0 + i), stream="replay") for i in range(10)))
    bed.push(play(T0))
    assert bed.count("plays_judged", "eligible") == 11
    assert set(bed.state["profiles"]) == {"demo:u1", "demo:u1\x1freplay"}


def test_an_odd_id_does_not_pass_for_another_streams():
    """Ending a stream deletes its own listeners only."""
    bed = Bed()
    bed.push(play(listener_id="u\x1fi"), record(play(listener_id="u"), stream="i"))
    bed.push(record(None, stream="i", headers=(("stream-end", b""),)))
    assert set(bed.state["profiles"]) == {"demo:u i"}


def test_old_state_is_swept_when_a_day_begins():
    """Counts after two days, profiles after 35, each by its own stream's clock."""
    bed = Bed()
    bed.push(play(T0), record(play(T0), stream="i"), play(T0, tenant_id="other"))
    bed.push(record(play(T0 + 3 * DAY), timestamp=T0 + 3 * DAY))
    days = {
        int(k.split("/")[0]) - T0 // DAY
        for k in bed.state["eligibility"]
        if "demo:" in k and "\x1f" not in k
    }
    assert days == {3}
    assert len(bed.state["eligibility"]) == 3
    bed.now = T0 + 40 * DAY
    bed.push(record(play(T0 + 40 * DAY, listener_id="u9"), timestamp=T0 + 40 * DAY))
    assert set(bed.state["profiles"]) == {"demo:u9", "demo:u1\x1fi", "other:u1"}


def test_a_sweep_goes_over_several_batches_and_then_looks_no_more(monkeypatch):
    """A flush has so many tombstones at most; without a new day no key is looked at."""

    class Scans(dict):
        scans = 0

        def __iter__(self):
            Scans.scans += 1
            return super().__iter__()

    monkeypatch.setattr("tables.plays.SWEPT_AT_ONCE", 2)
    bed = Bed()
    bed.state["eligibility"] = store = Scans()
    bed.push(*(play(T0, listener_id=f"u{i}") for i in range(5)))
    left = []
    for i in range(5):
        bed.push(record(play(T0 + 4 * DAY + i, listener_id="new"), timestamp=T0 + 4 * DAY))
        left.append(len(store))
    assert left == [4, 2, 1, 1, 1]
    assert Scans.scans == 3


def test_outputs_are_as_published(golden):
    """The outputs of a small batch, record by record: the contract with the window step."""
    bed = Bed(config(shipped(groups=((), ("country",))), partials=1))
    given = [
        record(play(T0 + 20_000, event_id="a"), 40),
        record(play(T0 + 31_000, event_id="b", country="FR", error="drm", startup_ms=None), 41),
        record(play(T0 + 31_000, event_id="b", country="FR"), 42),
        record(play(T0 + 1_000, listener_id="u2", skipped=True, ms_played=12_000), 43),
        record(b'{"tenant_id": 5}', 44),
        record(play(T0 - 2 * DAY), 45),
        record(play(T0), 46, stream="import"),
        record(None, 47, stream="import", key=b"demo", headers=(("stream-end", b"1"),)),
    ]
    lines = []
    for output in fold_plays(
        Batch("plays", 0, given, at_end=True), bed.state, T0 + HOUR, bed.config
    ):
        of = decode_flow(output.value) if output.topic == "partials" else json.loads(output.value)
        shown = {"topic": output.topic, "key": output.key.decode(), "partition": output.partition}
        lines.append({**shown, "value": msgspec.to_builtins(of)})
    golden("plays.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
