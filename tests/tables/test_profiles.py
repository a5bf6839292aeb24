"""Listener profiles: what they hold, that they stay small, and that cuts do not show."""

import random
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import StateError
from models.events import Play
from tables import listeners, profiles
from tables.profiles import DAY, HOUR, read, update

T = 1_760_000_000_000 // DAY * DAY
"""Midnight UTC."""


def play(at, ms=200_000, **changes):
    fields = {
        "tenant_id": "demo", "listener_id": "u1", "track_id": "t1", "artist_id": "a",
        "started_at": at, "ms_played": ms, "track_ms": 200_000, "platform": "ios", "country": "DE",
        "source": "search", "plan": "free", **changes,
    }  # fmt: skip
    return Play(**fields)


def row(play, top, eligible=True):
    return play, crc32(play.track_id.encode()), eligible, top


def profile(plays, eligible=True):
    top, rows = 0, []
    for p in plays:
        top = max(top, p.started_at)
        rows.append(row(p, top, eligible))
    return read(update(None, rows))


def test_counters_count():
    p = profile(
        [
            play(T),
            play(T + HOUR, ms=31_000, skipped=True, offline=True),
            play(T + 2 * HOUR, ms=180_000, error="drm"),
        ]
    )
    assert (p.plays, p.eligible, p.skips, p.completes) == (3, 3, 1, 2)
    assert (p.errors, p.offline, p.brief, p.ms_played) == (1, 1, 1, 411_000)
    assert (p.first_seen, p.last_seen) == (T, T + 2 * HOUR)


def test_rates_halve_in_their_half_lives():
    p = profile([play(T), play(T + HOUR)])
    assert p.plays_per_hour == pytest.approx(1.5)
    assert p.plays_per_day == pytest.approx(1 + 0.5 ** (1 / 24))


def test_the_order_of_arrival_does_not_matter_to_rates():
    """An offline play that arrives later adds what is left of it."""
    times = [T, T + HOUR, T + 3 * HOUR]
    straight, turned = profile([play(t) for t in times]), profile([play(t) for t in times[::-1]])
    assert straight.plays_per_hour == pytest.approx(turned.plays_per_hour)
    assert (turned.first_seen, turned.last_seen) == (T, T + 3 * HOUR)


def test_histograms_name_what_they_know_and_gather_the_rest():
    p = profile(
        [
            play(T + 5 * HOUR, source="album"),
            play(T + 5 * HOUR + 1, source="zzz", platform="fridge"),
        ]
    )
    assert (p.sources["album"], p.sources["other"], sum(p.sources.values())) == (1, 1, 2)
    assert (p.platforms["ios"], p.platforms["other"]) == (1, 1)
    assert p.hours[5] == sum(p.hours) == 2


def test_a_full_histogram_halves_and_the_others_do_not():
    """Cells are one byte; shares are kept when one is full, and later plays weigh more."""
    night, day = [play(T + HOUR) for _ in range(200)], [play(T + 9 * HOUR) for _ in range(300)]
    p = profile([*night, *day])
    assert (p.hours[1], p.hours[9]) == (100, 127 + 45)
    assert p.plays == 500


@pytest.mark.parametrize(
    ("seconds", "cell"),
    [(1, 0), (7.9, 0), (8, 1), (11, 1), (12, 2), (16, 3), (31, 4), (1024, 15), (10**6, 15)],
)
def test_gaps_between_starts_fall_into_half_octaves(seconds, cell):
    p = profile([play(T), play(T + int(seconds * 1000))])
    assert p.gaps[cell] == sum(p.gaps) == 1
    assert p.gap_mean == pytest.approx(seconds)


def test_even_gaps_deviate_little_and_uneven_ones_do():
    even = profile([play(T + i * 31_000) for i in range(50)])
    uneven = profile([play(T + i * 31_000 + i % 2 * 20_000) for i in range(50)])
    assert even.gap_deviation == 0
    assert uneven.gap_deviation > 5


def test_distinct_tracks_are_of_the_utc_day():
    today = [play(T + DAY + i, track_id=f"t{i % 40}") for i in range(80)]
    p = profile([*(play(T + i, track_id=f"x{i}") for i in range(10)), *today])
    assert p.day == (T + DAY) // DAY
    assert p.tracks_today == pytest.approx(40, abs=4)
    assert p.tracks_yesterday == pytest.approx(10, abs=1)
    assert profile([play(T), play(T + 2 * DAY)]).tracks_yesterday == 0


def test_a_play_of_an_earlier_day_leaves_todays_tracks_alone():
    assert profile([play(T), play(T - HOUR, track_id="t2")]).tracks_today == 1


def test_moves_between_countries_are_kept_the_latest_first():
    p = profile(
        [play(T + i, country=c) for i, c in enumerate(["DE", "DE", "FR", "DE", "US", "BR", "BR"])]
    )
    assert p.countries == ("BR", "US", "DE", "FR")
    assert profile([play(T)]).countries == ("DE",)


def test_a_profile_has_one_size_whatever_was_played():
    rows = [
        row(play(T + i * 7_777, track_id=f"t{i}", country="DE" if i % 2 else "FR"), T)
        for i in range(5000)
    ]
    packed = update(None, rows)
    assert len(packed) == profiles.SIZE == 188
    assert len(update(None, rows[:1])) == profiles.SIZE


def test_who_was_away_for_35_days_begins_anew():
    """By the stream's clock, whether or not the old profile was swept away by then."""
    old = update(None, [row(play(T), T)])
    later = T + 35 * DAY
    assert read(update(old, [row(play(later), later)])).plays == 2
    assert read(update(old, [row(play(later + 1), later + 1)])).plays == 1
    assert update(old, [row(play(later + 1), later + 1)]) == update(
        None, [row(play(later + 1), later + 1)]
    )


def test_expired_are_those_last_seen_35_days_before_the_clock():
    store = {
        "demo:a": update(None, [row(play(T), T)]),
        "demo:b": update(None, [row(play(T + 9 * DAY), T)]),
        "other:c": update(None, [row(play(T), T)]),
        "demo:d\x1fimport": update(None, [row(play(T), T)]),
    }
    assert profiles.expired(store, "demo", "live", T + 40 * DAY) == ["demo:a"]
    assert profiles.expired(store, "demo", "import", None) == ["demo:d\x1fimport"]


@pytest.mark.parametrize("data", [b"", b"\x01" * 5, bytes(profiles.SIZE)])
def test_foreign_bytes_are_refused(data):
    with pytest.raises(StateError, match="version 1 has 188"):
        profiles.STORE.decode(data)


some_plays = st.lists(
    st.builds(
        play,
        st.integers(T - 50 * DAY, T + 50 * DAY),
        st.integers(0, 300_000),
        track_id=st.sampled_from("abcdef"),
        country=st.sampled_from(["DE", "FR", "US"]),
        platform=st.sampled_from(["ios", "zzz"]),
        skipped=st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@given(some_plays, st.integers(0, 40))
def test_cutting_the_plays_gives_the_same_bytes(plays, cut):
    top, rows = 0, []
    for p in plays:
        top = max(top, p.started_at)
        rows.append(row(p, top, p.skipped))
    cut = min(cut, len(rows))
    whole = update(None, rows)
    part = update(None, rows[:cut]) if cut else None
    assert (update(part, rows[cut:]) if rows[cut:] else part) == whole
    assert read(whole).plays <= len(plays)


@pytest.mark.parametrize("elapsed", [0, 1, 83, 199_999, HOUR - 1, HOUR, 31 * HOUR, 900 * DAY])
def test_a_fade_is_half_after_a_half_life(elapsed):
    assert profiles.faded(elapsed, HOUR) == pytest.approx(0.5 ** (elapsed / HOUR), rel=1e-6)


def test_many_short_gaps_fade_as_much_as_one_long_one():
    """Or a loop of short plays would look ever faster."""
    left = 1.0
    for _ in range(2400):
        left *= profiles.faded(36_000, DAY)
    assert left == pytest.approx(0.5, rel=0.01)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 70, 400]))
def test_many_at_once_come_to_the_same_bytes_as_one_by_one(seed, listeners_):
    """Whatever the listeners have behind them, and however many plays each of them has."""
    rng = random.Random(seed)
    at, top, rows, whose = T, 0, [], []
    for _ in range(rng.choice([10, 100, 600])):
        at += rng.choice([0, 1, 5_000, 31_000, HOUR, 9 * HOUR, 36 * DAY * (rng.random() < 0.02)])
        when = at - rng.choice([0, 0, 0, 3, 2 * HOUR, 50 * DAY])
        top = max(top, when)
        some = play(
            when, rng.choice([0, 29_999, 31_000, 180_000]), track_id=f"t{rng.randrange(300)}",
            country=rng.choice(["DE", "FR", "US"]), source=rng.choice(["radio", "zzz"]),
            platform=rng.choice(["ios", "tv", "zzz"]), skipped=rng.random() < 0.5,
            offline=rng.random() < 0.5, error=rng.choice([None, "x"]), track_ms=rng.choice([0, 200_000]),
        )  # fmt: skip
        rows.append(row(some, top, eligible=rng.random() < 0.5))
        whose.append(rng.randrange(listeners_))
    full = bytes([254] * (profiles.COUNTRIES - profiles.HOURS))
    known = update(None, [row(play(T), T)])
    known = known[: profiles.HOURS] + full + known[profiles.COUNTRIES :]
    packed = [rng.choice([None, known]) for _ in range(listeners_)]
    expected = list(packed)
    for i, one in zip(whose, rows, strict=True):
        expected[i] = update(expected[i], [one])
    found = listeners.update(packed, whose, rows)
    for i in set(whose):
        assert found[i] == expected[i]
        assert profiles.read(found[i])
