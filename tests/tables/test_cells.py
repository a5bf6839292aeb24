"""Parts made by column are those that the definitions make one value after the other."""

from hypothesis import given
from hypothesis import strategies as st

from models.events import Play
from tables import cells, parts
from tables.cells import hash64
from tests.support.plays import DAY

NAMES = (
    "n", "n:eligible", "n:failed", "n:skipped", "n:offline",
    "s:completion", "s:completion:failed", "s:ms_played", "s:startup_ms",
    "q:startup_ms", "q:completion", "q:ms_played:eligible", "d:listener_id", "d:track_id:skipped",
)  # fmt: skip
GROUPS = ((), ("country",), ("country", "platform"), ("source",), ("plan",))
spans = st.one_of(st.integers(0, 3), st.integers(0, DAY), st.sampled_from([0, 1, DAY - 1, DAY]))
ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=3)
plays = st.builds(
    Play, st.just("demo"), ids, ids, st.just("a"), st.just(0), spans, spans, ids, ids,
    st.sampled_from("xy"), st.sampled_from("pq"), st.none(), st.booleans(), st.booleans(),
    st.sampled_from([None, "E1"]), st.none() | spans,
)  # fmt: skip


def value(play, field):
    if field == "completion":
        return min(1.0, play.ms_played / play.track_ms) if play.track_ms else None
    return getattr(play, field)


def part(name, mine):
    """One part of (play, is eligible), written down naively; None if nothing is in it."""
    kind, field, where = parts.split_name(name)
    holds = {
        None: lambda _play, _eligible: True,
        "eligible": lambda _play, eligible: eligible,
        "failed": lambda play, _eligible: play.error is not None,
        "skipped": lambda play, _eligible: play.skipped,
        "offline": lambda play, _eligible: play.offline,
    }[where]
    chosen = [play for play, eligible in mine if holds(play, eligible)]
    if field is None:
        return len(chosen) or None
    values = [v for v in (value(play, field) for play in chosen) if v is not None]
    if not values:
        return None
    make = {"s": parts.moments, "q": parts.buckets, "d": parts.registers}[kind]
    return make(map(hash64, values) if kind == "d" else values)


@given(st.lists(st.tuples(plays, st.booleans(), st.sampled_from([0, 10_000, 7 << 48])), min_size=1))
def test_cells_are_those_of_counting_one_by_one(rows):
    many, eligible, slots = map(list, zip(*rows, strict=True))
    places = list(range(5, 5 + len(rows)))
    found = cells.fold(cells.Plays(many, eligible, places, slots), GROUPS, NAMES)
    for group in GROUPS:
        wanted = {}
        for i, (play, eligible, slot) in enumerate(rows):
            key = (slot, *(getattr(play, tag) for tag in group))
            wanted.setdefault(key, (i + 5, []))[1].append((play, eligible))
        assert [(key, cell.first) for key, cell in found[group].items()] == [
            (key, first) for key, (first, _) in wanted.items()
        ]
        for key, (_, mine) in wanted.items():
            made = {name: part(name, mine) for name in NAMES}
            assert found[group][key].parts == {k: v for k, v in made.items() if v is not None}


def test_more_combinations_than_fit_16_bits_are_kept_apart():
    """300 countries on 300 platforms: cells are numbered densely, and sorted as wider numbers."""
    many = [
        Play("demo", "u", "t", "a", 0, 1, 2, str(i % 300), str(i * 7 % 299), str(i), "p")
        for i in range(70_000)
    ]
    rows = cells.Plays(many, [True] * len(many), list(range(len(many))), [0] * len(many))
    found = cells.fold(rows, (("country", "platform"), ("source",)), ("n", "s:completion"))
    assert sum(cell.parts["n"] for cell in found["country", "platform"].values()) == len(many)
    assert len(found["source",]) == len(many)
    assert {cell.parts["s:completion"][4] for cell in found["source",].values()} == {0.5}


def test_more_combinations_than_fit_64_bits_are_kept_apart():
    """Four tags and the slot with 2**13 values each: counted in 64 bits, the last two would be one."""
    n = 1 << 13
    of = [*range(n), 0, 0]
    many = [Play("demo", "u", "t", "a", 0, 1, 2, f"p{i}", f"c{i}", f"s{i}", f"x{i}") for i in of]
    slots = [*range(n), 1, 1 + n // 2]
    rows = cells.Plays(many, [True] * len(many), list(range(len(many))), slots)
    tags = ("country", "plan", "platform", "source")
    found = cells.fold(rows, (tags,), ("n",))[tags]
    assert {key[0]: cell.parts["n"] for key, cell in found.items() if key[1] == "c0"} == {
        0: 1, 1: 1, 1 + n // 2: 1,
    }  # fmt: skip
    assert len(found) == len(many)
