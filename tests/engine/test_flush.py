"""Outputs go to the partition that any Kafka client's default partitioner gives their key."""

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from engine.flush import partition_of


@given(st.binary(min_size=0, max_size=40), st.integers(1, 64))
def test_partition_is_kafkas_default(key, partitions):
    everything = list(range(partitions))
    assert partition_of(key, partitions) == DefaultPartitioner()(key, everything, everything)


def test_without_a_key_the_first_partition():
    assert partition_of(None, 8) == 0
