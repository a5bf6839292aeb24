"""What is asked of a batch as columns says what asking record by record says."""

from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from models.decoding import decode_metrics, decode_plays
from models.events import Rejected
from models.flow import Batch, Records
from models.records import LIVE
from tables import intake
from tables.clocks import Place
from tables.intake import Stretch, Turn
from tests.tables.ingest_bed import MINUTE, T0, config, metric, play, record, stores

FUTURE = config().series.time.future
"""How far (ms) ahead of its record's timestamp an event may be."""

TENANTS = frozenset({"demo", "other"})
mostly = {
    "tenant_id": st.sampled_from(["demo"] * 9 + ["other", "nobody"]),
    "at": st.just(T0) | st.sampled_from([T0 + FUTURE, T0 + FUTURE + 1]),
}
values = {
    "plays": (
        st.builds(play, **mostly)
        | st.builds(play, **mostly, ended_at=st.sampled_from([T0 + FUTURE, T0 + FUTURE + 1]))
    ),
    "metrics": st.builds(metric, **mostly),
}
streams = st.sampled_from([LIVE] * 9 + ["import", "x" * 65])
stamps = st.just(T0) | st.sampled_from([T0 - 1, T0 + 1, -1])


@st.composite
def batches(draw):
    """A source, and a few records of it, of which most have nothing odd."""
    source = draw(st.sampled_from(["plays", "metrics"]))
    value = values[source] if draw(st.booleans()) else values[source] | st.just(b"{")
    rows = draw(st.lists(st.tuples(value, streams, stamps), max_size=5))
    return source, [
        record(v, offset, stamp, stream) for offset, (v, stream, stamp) in enumerate(rows)
    ]


def decoded(source, records):
    decode = decode_plays if source == "plays" else decode_metrics
    return decode([r.value for r in records])


def is_plain(event, stream, latest):
    return (
        not isinstance(event, Rejected)
        and stream == LIVE
        and event.tenant_id in TENANTS
        and event.at <= latest
    )


@given(batches(), st.sampled_from([T0, T0 + FUTURE, T0 + FUTURE + 1]))
def test_a_batch_is_plain_if_each_of_its_records_is(given_batch, latest):
    events = decoded(*given_batch)
    its_streams = list(intake._streams(given_batch[1]))
    wanted = all(is_plain(*row, latest) for row in zip(events, its_streams, strict=True))
    assert intake._are_plain(events, its_streams, latest, TENANTS) is wanted


def taken(source, records):
    """Places of the events that are taken, the outputs of the others, what was counted."""
    rules = config()
    place = Place(source, 0, 2, rules.series.time, rules.series.time.pane)
    batch = Batch(source, 0, Records.of(records), at_end=False)
    turn = Turn(batch, stores(), T0 + MINUTE, rules, place, set())
    stretch = Stretch(batch.records, decoded(source, records), None)
    found, elsewhere = intake.take(stretch, turn, lambda events: [e.tenant_id for e in events])
    return list(found.places), elsewhere, rules.counters


@given(batches())
def test_what_is_refused_does_not_depend_on_whether_a_batch_is_asked_as_one(given_batch):
    at_once = taken(*given_batch)
    with patch.object(intake, "_are_plain", return_value=False):
        assert taken(*given_batch) == at_once
