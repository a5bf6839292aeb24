"""The bounds and routes of ingest: cardinality limits, misrouted records, names that blur keys."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Limits
from models.errors import ConfigurationError
from models.records import to_json
from tables import groups, routes
from tests.tables.ingest_bed import DAY, T0, Bed, config, play, record, shipped

# -- cardinality ------------------------------------------------------------------------------------


def limited(groups_per_tenant, *tags):
    return config(shipped(limits=Limits(groups_per_tenant, 10), groups=((), *tags)))


def test_instances_beyond_the_limit_are_left_out_of_their_group_alone():
    """The total still counts them; the first ones by offset are kept, and stay."""
    bed = Bed(limited(3, ("country",)))
    countries = ["DE", "FR", "US", "BR", "DE", "US"]
    for batch in (countries, reversed(countries)):
        seen = bed.push(*(play(country=c) for c in batch))
        kept = {g for _, g, *_ in seen.sums}
        assert kept == {"demo|all{}", "demo|country{country=DE}", "demo|country{country=FR}"}
        assert seen.counts() == {(0, False): 6}
    assert bed.count("groups_refused", "country") == 6
    assert bed.state["groups"]["demo"] == 3


def test_the_limit_is_each_tenants():
    bed = Bed(limited(2, ("country",)))
    seen = bed.push(play(country="DE"), play(country="FR"), play(country="FR", tenant_id="other"))
    assert {g for _, g, *_ in seen.sums} == {
        "demo|all{}", "demo|country{country=DE}", "other|all{}", "other|country{country=FR}",
    }  # fmt: skip


def test_the_limit_survives_a_restart():
    bed = Bed(limited(2, ("country",)))
    bed.push(play(country="DE"))
    spec = groups.STORE
    bed.state["groups"] = {k: spec.decode(spec.encode(v)) for k, v in bed.state["groups"].items()}
    assert {g for _, g, *_ in bed.push(play(country="FR")).sums} == {"demo|all{}"}


# -- misrouted records ------------------------------------------------------------------------------


def test_a_misrouted_record_is_forwarded_once():
    """To the partition of its key, as it was, with where it came from; there it is folded."""
    owner = routes.partition_of("demo:u1", 4)
    config_ = config(forwarding=True)
    wrong = Bed(config_, partition=(owner + 1) % 4, offset=7)
    value = play()
    seen = wrong.push(record(value, stream="i"))
    (moved,) = seen.forwarded
    assert (moved.topic, moved.key, moved.value, moved.partition) == (
        "plays",
        b"demo:u1",
        value,
        owner,
    )
    assert dict(moved.headers) == {"stream": b"i", "forwarded": b"plays:%d:7" % wrong.partition}
    assert seen.flow == []
    assert not any(wrong.state.values())
    again = record(moved.value)._replace(headers=moved.headers)
    for partition in range(4):
        bed = Bed(config_, partition=partition)
        assert bed.push(again).counts(stream="i") == {(0, False): 1}


def test_nothing_is_forwarded_unless_it_is_on():
    for partition in range(4):
        assert Bed(partition=partition).push(play()).forwarded == []


def test_what_might_not_fit_with_one_more_header_stays():
    owner = routes.partition_of("demo:u1", 4)
    bed = Bed(config(forwarding=True), partition=(owner + 1) % 4)
    assert bed.push(play(pad="x" * 1_000_000)).counts() == {(0, False): 1}


def test_a_late_event_fits_a_record():
    """Of an event with a huge unknown field, what is known of it is kept."""
    bed = Bed(now=T0 + 9 * DAY)
    (late,) = bed.push(play(T0 + 9 * DAY), play(T0, pad="x" * 900_000)).late
    kept = json.loads(late.value)
    assert (kept["started_at"], kept["listener_id"]) == (T0, "u1")
    assert len(to_json(late)) < 100_000


@pytest.mark.parametrize(
    ("key", "unsigned"),
    # org.apache.kafka.common.utils.Utils.murmur2, from Kafka's own UtilsTest
    [
        (b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971), (b"abc", 479470107),
    ],
)  # fmt: skip
def test_keys_hash_as_kafkas_own_clients_hash_them(key, unsigned):
    assert routes.murmur2(key) == unsigned % 2**32


def test_keys_hash_as_aiokafka_hashes_them():
    murmur2 = pytest.importorskip("aiokafka.partitioner").murmur2
    rng = random.Random(1)
    for length in range(60):
        key = rng.randbytes(length)
        assert routes.murmur2(key) == murmur2(key) % 2**32


# -- configuration ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", ["", "a:b", "a|b", "a{", "a\x1fb", "a,b"])
def test_a_tenant_whose_name_would_blur_keys_is_refused(tenant):
    with pytest.raises(ConfigurationError, match="cannot be a part of keys"):
        config(tenants=frozenset({tenant}))


@given(st.lists(st.text(max_size=12), max_size=30), st.integers(1, 64), st.integers(0, 3))
def test_partitions_of_many_keys_are_those_of_each(keys, partitions, more):
    """Keys of one length are hashed together where there are many; letters beyond ASCII never."""
    many = [f"acme:{'x' * (n % 5)}{n:04}" for n in range(more * routes.WORTH_AN_ARRAY)]
    for asked in (keys, many, [*keys, *many]):
        one_by_one = [routes.partition_of(key, partitions) for key in asked]
        assert list(routes.partitions_of(asked, partitions)) == one_by_one
