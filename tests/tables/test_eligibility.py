"""Eligibility: thirty seconds, ten a day, in offset order, and unknown where counts are gone."""

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import StateError
from models.events import Play, times
from tables import eligibility
from tables.eligibility import DAY, judge

D = 1_760_000_000_000 // DAY
"""A UTC day."""


def play(at, listener="u1", track="t1", ms=30_000):
    return Play("demo", listener, track, "a", at, ms, 200_000, "ios", "DE", "search", "free")


def tracks_of(plays):
    return [crc32(p.track_id.encode()) for p in plays]


def verdicts(plays, store=None, top=None):
    """Judge plays whose clock is their running maximum, or ``top``."""
    tops, running = [], 0
    for p in plays:
        running = max(running, p.started_at)
        tops.append(top or running)
    listeners = [f"demo:{p.listener_id}" for p in plays]
    return judge(
        plays, times(plays), listeners, tracks_of(plays), tops, {} if store is None else store
    )


def test_thirty_seconds_are_enough_and_less_are_not():
    assert verdicts([play(D * DAY, ms=29_999), play(D * DAY, ms=30_000)]) == [
        "too_short",
        "eligible",
    ]


def test_the_first_ten_of_a_day_are_eligible():
    assert (
        verdicts([play(D * DAY + i) for i in range(12)])
        == ["eligible"] * 10 + ["over_daily_limit"] * 2
    )


def test_short_plays_use_up_nothing():
    plays = [play(D * DAY + i, ms=29_999 if i % 2 else 30_000) for i in range(22)]
    assert verdicts(plays).count("eligible") == 10
    assert verdicts(plays)[-2:] == ["over_daily_limit", "too_short"]


def test_the_ten_are_each_listeners_each_tracks_and_each_days():
    """Another listener, track or UTC day counts for itself; midnight UTC divides days."""
    full = [play(D * DAY + DAY - 1) for _ in range(10)]
    others = [
        play(D * DAY + DAY - 1, listener="u2"),
        play(D * DAY + DAY - 1, track="t2"),
        play(D * DAY + DAY),
    ]
    assert verdicts([*full, *others, play(D * DAY)]) == ["eligible"] * 13 + ["over_daily_limit"]


def test_it_is_the_order_of_offsets_that_counts():
    """An older play that arrives as the eleventh is over the limit."""
    plays = [play(D * DAY + 100) for _ in range(10)]
    assert verdicts([*plays, play(D * DAY)])[-1] == "over_daily_limit"


@pytest.mark.parametrize(("days", "reason"), [(2, "eligible"), (3, "unknown_too_old")])
def test_counts_are_kept_for_two_days_before_the_clocks(days, reason):
    now = D * DAY + 5
    old = play(now - days * DAY)
    store = {}
    assert verdicts([play(now), old], store) == ["eligible", reason]
    assert len(store) == (2 if reason == "eligible" else 1)


def test_an_unknown_play_counts_nothing_and_a_short_one_is_known_anyway():
    assert verdicts([play((D - 9) * DAY, ms=5)], top=D * DAY) == ["too_short"]


def test_one_value_a_listener_and_day_four_bytes_a_play():
    store = {}
    verdicts([play(D * DAY + i, track=f"t{i % 30}") for i in range(60)], store)
    assert list(store) == [f"{D}/demo:u1"]
    assert len(store[f"{D}/demo:u1"]) == 60 * 4


def test_a_day_is_bounded_whoever_plays():
    """An id that stands for everyone stops being counted, and says so."""
    store = {}
    plays = [play(D * DAY + i, track=f"t{i}") for i in range(5000)]
    result = verdicts(plays, store)
    assert result == ["eligible"] * 4096 + ["unknown_too_many"] * 904
    assert len(store[f"{D}/demo:u1"]) == eligibility.MAX_DAY_BYTES


def test_bytes_that_straddle_two_entries_are_no_play():
    """A track's hash that appears across a border between others does not count as played."""
    track = crc32(b"t1").to_bytes(4, "little")
    straddling = (b"xx" + track + b"yy") * 12
    store = {f"{D}/demo:u1": straddling}
    assert verdicts([play(D * DAY)], store) == ["eligible"]


def test_expired_keys_are_those_of_days_that_are_not_kept():
    keys = [f"{D - ago}/demo:u" for ago in range(5)] + [
        f"{D - 9}/other:u",
        f"{D - 9}/demo:u\x1fimport",
    ]
    assert eligibility.expired(keys, "demo", "live", D) == [f"{D - 3}/demo:u", f"{D - 4}/demo:u"]
    assert eligibility.expired(keys, "demo", "import", None) == [f"{D - 9}/demo:u\x1fimport"]


def test_foreign_bytes_are_refused():
    with pytest.raises(StateError, match="4"):
        eligibility.STORE.decode(b"12345")


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("ab"), st.sampled_from("xyz"), st.booleans()),
        max_size=120,
    ),
    st.integers(0, 120),
)
def test_it_is_what_counting_says_however_it_is_cut(given_plays, cut):
    """Against a dictionary of counters, with a restart at any place."""
    plays = [
        play((D + d) * DAY, who, what, 30_000 if long else 5) for d, who, what, long in given_plays
    ]
    counts, top, expected = {}, 0, []
    for p in plays:
        top, key = max(top, p.started_at), (p.started_at // DAY, p.listener_id, p.track_id)
        if p.ms_played < 30_000:
            expected.append("too_short")
        elif key[0] < top // DAY - 2:
            expected.append("unknown_too_old")
        else:
            counts[key] = counts.get(key, 0) + 1
            expected.append("eligible" if counts[key] <= 10 else "over_daily_limit")
    tops = [max(p.started_at for p in plays[: i + 1]) for i in range(len(plays))]
    listeners = [f"demo:{p.listener_id}" for p in plays]
    store = {}
    tracks = tracks_of(plays)
    at = times(plays)
    found = judge(plays[:cut], at[:cut], listeners[:cut], tracks[:cut], tops[:cut], store)
    store = {k: eligibility.STORE.decode(eligibility.STORE.encode(v)) for k, v in store.items()}
    found += judge(plays[cut:], at[cut:], listeners[cut:], tracks[cut:], tops[cut:], store)
    assert found == expected
