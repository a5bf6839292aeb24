"""Record batches written many records at a time: the same bytes as one by one."""

from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from engine.batches import fill
from engine.store import Changes

NOW = 1_760_000_000_000
VALUES = st.one_of(st.none(), st.binary(max_size=200))
ENTRIES = st.lists(st.tuples(st.binary(min_size=1, max_size=20), VALUES), max_size=40)
CODEC = st.sampled_from([0, 3])


def one_by_one(entries, size, codec):
    """Batches as aiokafka's own builder fills them."""
    made, at = [], 0
    while at < len(entries):
        builder = BatchBuilder(size, codec)
        while at < len(entries):
            key, value, *headers = entries[at]
            if builder.append(timestamp=NOW, key=key, value=value, headers=list(*headers)) is None:
                break
            at += 1
        made.append((builder.record_count(), bytes(builder._build())))
    return made


def together(entries, size, codec):
    """The same with ``fill``."""
    made, at = [], 0
    while at < len(entries):
        builder = BatchBuilder(size, codec)
        at = fill(builder, entries, at, NOW)
        builder.close()
        made.append((builder.record_count(), bytes(builder._build())))
    return made


@given(ENTRIES, st.integers(100, 600), CODEC)
def test_changes_fill_batches_as_records_one_by_one_do(entries, size, codec):
    """If a record were left out where a batch is full, a restore would miss a key."""
    changes = Changes()
    changes.names, changes.values = [key for key, _ in entries], [value for _, value in entries]
    assert list(changes) == entries
    assert together(changes, size, codec) == one_by_one(entries, size, codec)


HEADERS = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=9)), min_size=1, max_size=2)
OUTPUTS = st.lists(
    st.one_of(
        st.tuples(st.binary(max_size=20), VALUES),
        st.tuples(st.binary(max_size=20), VALUES, HEADERS.map(tuple)),
    ),
    max_size=20,
)


@given(OUTPUTS, st.integers(100, 600), CODEC)
def test_outputs_fill_batches_as_records_one_by_one_do(entries, size, codec):
    assert together(entries, size, codec) == one_by_one(entries, size, codec)
