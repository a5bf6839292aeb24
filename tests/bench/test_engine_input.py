"""The bench's input: what it says the windows come to is what its records hold, also from the file."""

import json

import numpy as np
import pytest
from aiokafka.record import MemoryRecords

from bench.engine.check import Found
from bench.engine.dataset import DISORDER, PANE, PARTITIONS, Dataset
from bench.engine.preload import batch_file, read_batches
from bench.engine.process import RunError

FIELDS = {"plays": ("listener_id", "started_at", "ms_played"), "metrics": ("host", "at", "value")}


def totals(dataset):
    """Counted once more, from the records themselves."""
    key, at, value = FIELDS[dataset.payload]
    found = dataset.empty()
    for _, _, _, body in dataset.records():
        event = json.loads(body)
        cell = int(event[key][1:]), event[at] // PANE - dataset.first_pane
        found.counts[cell] += 1
        found.sums[cell] += event[value]
    return found


@pytest.mark.parametrize("payload", FIELDS)
def test_the_expected_windows_are_those_of_the_records(payload):
    dataset = Dataset(payload, keys=30, events=50_000)
    assert dataset.expected.counts.sum() == 50_000
    assert totals(dataset).differences(dataset.expected) == 0


def test_records_are_late_but_never_by_more_than_the_disorder():
    newest, late, most = 0, 0, 0
    for _, at, _, _ in Dataset("metrics", 30, 50_000).records():
        late += at < newest
        most = max(most, newest - at)
        newest = max(newest, at)
    assert 500 < late < 1500
    assert DISORDER / 2 < most <= DISORDER


def test_another_seed_gives_other_events():
    one, other = (Dataset("metrics", 30, 1_000, seed) for seed in (1, 2))
    assert one.expected.differences(other.expected) > 0


def test_the_file_holds_every_record_in_order(tmp_path):
    dataset = Dataset("plays", 30, 5_000)
    read = [[] for _ in range(PARTITIONS)]
    path = batch_file(dataset, tmp_path)
    for partition, data in read_batches(path):
        records = MemoryRecords(data)
        while (batch := records.next_batch()) is not None:
            read[partition] += [(r.timestamp, bytes(r.key), bytes(r.value)) for r in batch]
    written = [[] for _ in range(PARTITIONS)]
    for partition, *record in dataset.records():
        written[partition].append(tuple(record))
    assert read == written
    assert batch_file(dataset, tmp_path) == path
    assert [*tmp_path.iterdir()] == [path]


def cells(dataset):
    for number, pane in np.argwhere(dataset.expected.counts):
        count, total = (table[number, pane] for table in dataset.expected)
        yield b"u%06d" % number, pane + dataset.first_pane, count, total


def test_one_event_too_few_is_found():
    dataset = Dataset("metrics", 30, 5_000)
    found = Found(dataset)
    found.take(cells(dataset))
    found.compare()
    name, pane, count, total = next(cells(dataset))
    found.take(iter([(name, pane, count - 1, total)]))
    with pytest.raises(RunError, match="1 windows are not as expected; 4999 events counted"):
        found.compare()
