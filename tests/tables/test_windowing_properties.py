"""Whatever the interleaving and the batches, windows come to what a plain computation over all gives."""

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from models.records import Partial, decode_window
from models.series import format_key
from tables.kinds import plays_plan
from tables.parts import Evaluator, merge_parts
from tests.support.window_timeline import T0, S, Timeline, play_parts, series_config

CONFIG = series_config(
    ("10s", "10s", "1h"), ("30s", "10s", "1h"), ("1m", "1m", "2h"), ("2m", "30s", "2h", True)
)
GROUPS = [format_key("acme", "country", {"country": c}) for c in ("SE", "DE", "BR")]
PANE = 10 * S


@st.composite
def histories(draw):
    """Per source partition, flushes: partials of its own then its watermark; and an interleaving."""
    sources = draw(st.integers(1, 3))
    flushes = []
    for source in range(sources):
        at = 0
        for _ in range(draw(st.integers(1, 5))):
            batch = []
            for _ in range(draw(st.integers(0, 4))):
                late = draw(st.booleans()) and draw(st.booleans()) and at >= PANE
                steps = draw(st.integers(-8, -1) if late else st.integers(0, 5))
                pane = max(0, at // PANE + steps) * PANE
                parts = play_parts(*draw(st.lists(st.integers(0, 30), min_size=1, max_size=4)))
                group = draw(st.sampled_from(GROUPS))
                noticed = T0 + at // PANE * PANE + PANE if late else None
                partial = Partial(
                    "acme", "live", group, source, T0 + pane, PANE, late, parts, noticed=noticed
                )
                batch.append(partial)
            at += draw(st.integers(0, 9)) * 7 * S
            flushes.append((source, batch, at))
    order = draw(st.permutations([source for source, _, _ in flushes]))
    return sources, flushes, order


def records(history):
    """The flows in the order of the interleaving; within a source partition, in its own."""
    sources, flushes, order = history
    queues = defaultdict(list)
    for source, batch, at in flushes:
        queues[source].append((batch, at))
    for source in order:
        batch, at = queues[source].pop(0)
        yield from batch
        yield source, at
    for source in range(sources):
        yield source, 20 * 60 * S


def push(line, flow):
    if isinstance(flow, Partial):
        line.push(flow)
    else:
        line.watermark(flow[1], flow[0])


def run(history, cuts, *, crash=False, **options):
    """All windows published, with a batch cut before each index in ``cuts``."""
    line = Timeline(CONFIG, sources=history[0], **options)
    for i, flow in enumerate(records(history)):
        if i in cuts:
            line.fold()
            if crash:
                line.crash()
        push(line, flow)
    line.fold()
    return line, [decode_window(o.value) for o in line.outputs]


def oracle(history):
    """(first publications, last revisions) by (group, size, slide, end), plainly computed."""
    on_time, late = defaultdict(dict), defaultdict(dict)
    for flow in records(history):
        if isinstance(flow, Partial):
            cells = (late if flow.late else on_time)[flow.group]
            merge_parts(cells.setdefault(flow.pane - T0, {}), flow.parts)
    evaluate, until = Evaluator(CONFIG.measures), 20 * 60 * S
    first, last = {}, {}
    for group in GROUPS:
        origin = min(on_time[group], default=None)
        for kind in plays_plan(CONFIG).kinds:
            for end in range(-(1 << 20) // kind.slide * kind.slide, until + 1, kind.slide):
                start = end - kind.size
                key = (group, kind.size, kind.slide, end)
                fits = origin is not None and start >= origin
                if origin is not None and end > origin and (kind.tumbling or fits):
                    first[key] = (0, content(on_time[group], start, end, evaluate))
                extra = sum(p["n"] for at, p in late[group].items() if start <= at < end)
                if extra and (kind.tumbling or fits):
                    both = content(on_time[group], start, end, evaluate, late[group])
                    last[key] = (extra, both)
    return first, {**first, **last}


def content(cells, start, end, evaluate, *more):
    parts = {}
    for source in (cells, *more):
        for at, found in source.items():
            if start <= at < end:
                merge_parts(parts, found)
    return parts.get("n", 0), evaluate(parts)


def by_window(windows):
    return {
        (w.group, w.size, w.slide, w.end - T0): (w.late, (w.count, w.values)) for w in windows
    }  # fmt: skip


@settings(max_examples=150)
@given(histories(), st.sets(st.integers(0, 40)))
def test_windows_are_what_a_plain_computation_gives(history, cuts):
    line, windows = run(history, cuts)
    first, last = oracle(history)
    assert by_window(w for w in windows if w.revision == 0) == first
    assert by_window(windows) == last
    assert {name for name, _ in line.counts} <= {"late_events_ignored"}


@settings(max_examples=60)
@given(histories(), st.sets(st.integers(0, 40)), st.randoms(use_true_random=False))
def test_cuts_and_interleavings_change_no_revision(history, cuts, rng):
    """Neither what is in them, nor between which first publications of their group they come."""
    sources, flushes, order = history
    other = rng.sample(order, len(order))
    plain, mixed = (run(h, cuts)[1] for h in (history, (sources, flushes, other)))
    assert by_group(mixed) == by_group(plain)


def by_group(windows):
    found = defaultdict(list)
    for window in windows:
        found[window.group].append(window)
    return found


@settings(max_examples=60)
@given(histories(), st.sets(st.integers(0, 40)))
def test_publications_come_in_order(history, cuts):
    _, windows = run(history, cuts)
    firsts, revisions = defaultdict(list), defaultdict(list)
    for w in windows:
        if w.revision == 0:
            firsts[w.group].append((w.end, w.size))
        revisions[w.id].append(w.revision)
    assert all(ends == sorted(ends) for ends in firsts.values())
    for numbers in revisions.values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert numbers[0] in {0, 1}  # 1: it had nothing on time, or began before the group


@settings(max_examples=60)
@given(histories(), st.sets(st.integers(0, 40)))
def test_a_crash_between_batches_changes_nothing(history, cuts):
    plain, _ = run(history, cuts)
    crashed, _ = run(history, cuts, crash=True)
    assert crashed.outputs == plain.outputs


@settings(max_examples=60)
@given(histories(), st.sets(st.integers(0, 40)), st.integers(1, 40), st.booleans())
def test_a_small_budget_puts_off_but_changes_nothing(history, cuts, budget, crash):
    line, _ = run(history, cuts, crash=crash, budget=budget)
    while line.fold():
        if crash:
            line.crash()
    windows = [decode_window(o.value) for o in line.outputs]
    first, last = oracle(history)
    assert by_window(w for w in windows if w.revision == 0) == first
    assert by_window(windows) == last
