"""Groups of releases: which plays are in them, where they begin, and how many there may be."""

from collections import Counter

import pytest
from msgspec.structs import replace

from models.config import parse_series_config
from models.decoding import decode_plays
from models.flow import Batch, Record
from models.records import Partial, Watermark, decode_window, to_msgpack
from models.releases import HOUR, HOURS
from tables.fields import FIELDS
from tables.releases import beginning, is_release
from tables.windowing import WINDOW_STORES, WindowsConfig, fold_windows
from tests.support import released
from tests.tables.ingest_bed import T0, Bed, config, play, shipped

GROUP = "demo|release{release=t1@2025-10-09T09:00Z}"
SERIES = parse_series_config(released.SERIES)


def bed(**changes):
    return Bed(config(shipped(groups=((), ("release",), ("country", "release")), **changes)))


def test_plays_of_releases_have_groups_of_their_own_and_others_have_none():
    it = bed()
    values = [
        play(T0, released_at=T0), play(T0 + 1000, released_at="2025-10-09T09:00:30Z"),
        play(T0), play(T0, released_at=T0 + 60_000), play(T0, released_at=T0 - HOURS * HOUR),
        play(T0, released_at=T0, country="FR"),
    ]  # fmt: skip
    seen = it.push(*values)
    by_group = Counter()
    for (_, group, _, _), parts in seen.sums.items():
        by_group[group] += parts["n"]
    both = "demo|country_release{country=%s,release=t1@2025-10-09T09:00Z}"
    assert by_group == {"demo|all{}": 6, GROUP: 3, both % "DE": 2, both % "FR": 1}


def test_releases_do_not_take_the_room_of_other_groups():
    it = bed(limits=replace(shipped().limits, groups_per_tenant=1))
    values = [play(T0, released_at=T0, track_id=f"t{i}") for i in range(5)]
    seen = it.push(*values)
    assert len({group for (_, group, _, _) in seen.sums}) == 1 + 2 * 5


def test_a_column_of_plays_without_a_release_is_empty():
    plays = decode_plays([play(T0), play(T0, released_at=T0)])
    assert FIELDS["release"](plays) == [None, "t1@2025-10-09T09:00Z"]


@pytest.mark.parametrize(
    ("start", "expected"),
    [(T0, T0), (T0 + HOUR - 1, T0), (T0 + HOUR, T0 + HOUR), (T0 - 1, T0 - 1)],
)
def test_a_group_begins_with_its_release_if_it_is_played_in_its_first_hour(start, expected):
    assert beginning(GROUP, start, 60_000) == expected
    assert beginning("demo|release{release=odd}", start, 60_000) == start
    assert beginning("demo|all{}", start, 60_000) == start


def test_it_begins_where_windows_begin():
    group = GROUP.replace("09:00Z", "09:07Z")
    assert beginning(group, T0 + 8 * 60_000, 300_000) == T0 + 5 * 60_000


def test_only_groups_of_plays_are_releases():
    assert is_release(GROUP)
    assert is_release("demo|country_release{country=FR,release=x}")
    assert not is_release("demo|country{country=release}")
    assert not is_release("demo|metric:release{release=x}")


class Windows:
    """The windows step on plain dictionaries."""

    def __init__(self):
        self.counted = Counter()
        self.state = {spec.name: {} for spec in WINDOW_STORES}

    def count(self, name, reason, n=1):
        self.counted[name, reason] += n

    def take(self, *flow):
        records = [Record(i, T0, b"", to_msgpack(it)) for i, it in enumerate(flow)]
        settings = WindowsConfig(SERIES, {"plays": 1, "metrics": 1}, self)
        outputs = fold_windows(
            Batch("partials", 0, records, at_end=False), self.state, T0, settings
        )
        return [decode_window(o.value) for o in outputs if o.topic == "windows"]


def partial(group, pane, n=1, stream="live"):
    return Partial("demo", stream, group, 0, pane, 1_800_000, False, {"n": n})


def mark(at):
    return Watermark("demo", "live", "plays", 0, at)


def test_the_first_hour_is_published_whole_though_its_first_play_came_late_in_it():
    step = Windows()
    made = step.take(partial(GROUP, T0 + HOUR // 2, 3), mark(T0 + 2 * HOUR))
    assert [((w.start - T0) / HOUR, w.count) for w in made] == [(0.0, 3), (0.5, 3), (1.0, 0)]


def test_of_a_release_that_is_first_seen_later_only_whole_hours_are_published():
    step = Windows()
    first = T0 + 5 * HOUR + HOUR // 2
    made = step.take(partial(GROUP, first, 3), mark(T0 + 7 * HOUR))
    assert [(w.start - T0) / HOUR for w in made] == [5.5, 6.0]


def test_nothing_is_published_beyond_the_first_week():
    """Plays go on and are of no release any more: windows of noughts would say that they stopped."""
    step = Windows()
    end = T0 + HOURS * HOUR
    made = step.take(partial(GROUP, T0, 3), partial(GROUP, end - HOUR, 3), mark(end + 30 * HOUR))
    assert max(w.end for w in made) == end
    assert not step.state["instances"]


def test_a_replay_takes_no_room_of_the_live_stream():
    step = Windows()
    tracks = [GROUP.replace("t1", f"t{i}") for i in range(12)]
    step.take(*(partial(group, T0, stream=f"replay-{i}") for i, group in enumerate(tracks)))
    step.take(*(partial(group, T0) for group in tracks))
    assert step.counted == {}
    step.take(partial(GROUP, T0, stream="another"))
    assert step.counted == {("partials_refused", "over_limit"): 1}


def test_there_are_so_many_releases_and_so_many_other_groups():
    step = Windows()
    tracks = [GROUP.replace("t1", f"t{i}") for i in range(13)]
    others = [f"demo|country{{country={c}}}" for c in ("DE", "FR", "US")]
    step.take(*(partial(group, T0) for group in (*tracks, *others)))
    assert step.counted == {("partials_refused", "over_limit"): 2}
    assert len(step.state["instances"]) == 12 + 2
