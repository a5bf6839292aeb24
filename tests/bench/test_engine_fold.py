"""The fold of our side of the engine's bench: windows as the events demand, wherever batches end."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from bench.engine.check import backbeat_cells
from bench.engine.dataset import DISORDER, PANE, START
from bench.engine.workers.columns import PIECE, decoded
from bench.engine.workers.folds import WINDOWS, count
from engine.store import PartitionState
from models.flow import Batch, Record, Records

PLAY = b'{"listener_id":"%s","started_at":%d,"ms_played":%d}'
MOST = 20
"""Records of a batch."""

EVENTS = st.lists(
    st.tuples(
        st.sampled_from([b"u1", b"u2", b"u3"]),
        st.integers(0, PANE // MOST),  # so that a batch spans at most a window, and its disorder
        st.integers(0, DISORDER) | st.just(0),
        st.integers(0, 300_000),
    ),
    max_size=100,
)


def records(events):
    """Plays whose time moves on by a step each, some of them late."""
    now = START
    for offset, (key, step, late, value) in enumerate(events):
        now += step
        at = now - late
        yield Record(offset, at, key, PLAY % (key, at, value)), (key, at // PANE, value)


@given(EVENTS, st.integers(1, MOST))
def test_windows_are_counted_and_summed_wherever_batches_end(events, size):
    """Every value that the changelog ever held counts: the last of each key and window is its result."""
    counts, sums = Counter(), Counter()
    batch, found = [], {}
    state = PartitionState([WINDOWS])

    def flush():
        count(Batch("plays", 0, Records.of(batch), at_end=False), state.stores, 0)
        for name, value in state.freeze(0, 0):
            for key, pane, number, total in backbeat_cells(name, value):
                found[key, pane] = number, total
        batch.clear()

    for record, (key, pane, value) in records(events):
        counts[key, pane] += 1
        sums[key, pane] += value
        batch.append(record)
        if len(batch) == size:
            flush()
    flush()
    assert found == {cell: (counts[cell], sums[cell]) for cell in counts}


def test_values_are_decoded_in_order_over_the_ends_of_pieces():
    values = [PLAY % (b"u", n, 2 * n) for n in range(2 * PIECE + 1)]
    found = [(event.at, event.value) for piece in decoded(values) for event in piece]
    assert found == [(n, 2 * n) for n in range(2 * PIECE + 1)]
