"""Series read from files, turned into records, and sent."""

import asyncio
import json
from itertools import pairwise

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from typer.testing import CliRunner

from cli.main import app
from importers.replays import Replay
from importers.river_sets import water_flow
from importers.series_csv import Sample, parse_series, read_series
from models.decoding import decode_metrics
from models.errors import ConfigurationError
from models.events import Metric

REPLAY = Replay("demo", "queue", {"host": "a b", "az": "1"}, "replay-queue")


def parse(text):
    return list(parse_series(text.splitlines(keepends=True), "x.csv"))


def test_times_without_an_offset_are_utc_and_offsets_count():
    text = "timestamp,value\n2014-04-01 00:00:00,1.5\n2014-04-01T02:00:00+02:00,-2\n"
    assert parse(text) == [Sample(1_396_310_400_000, 1.5, 2), Sample(1_396_310_400_000, -2.0, 3)]


def test_times_may_be_epoch_milliseconds_and_eight_digits_are_a_date():
    text = "timestamp,value\n1396310400000,1\n20140401,2\n"
    assert parse(text) == [Sample(1_396_310_400_000, 1.0, 2), Sample(1_396_310_400_000, 2.0, 3)]


def test_columns_may_be_in_any_order_and_blank_lines_are_skipped():
    text = "Value , other, timestamp\n\n1,x,2014-04-01T00:00:00Z\n"
    assert parse(text) == [Sample(1_396_310_400_000, 1.0, 3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "x.csv, line 1: the columns are []; it needs 'timestamp' and 'value'"),
        ("time,value\n", "line 1: the columns are ['time', 'value']"),
        ("timestamp,value\n2014-04-01 00:00:00,1\nyesterday,2\n", "line 3: timestamp 'yesterday'"),
        (
            "timestamp,value\n1396310400,1\n",
            "line 2: timestamp '1396310400' is not of 2000 to 9999",
        ),
        ("timestamp,value\n2014-04-01 00:00:00,\n", "line 2: value '' is not a number"),
        ("timestamp,value\n2014-04-01 00:00:00,nan\n", "line 2: value 'nan' is not finite"),
        ("timestamp,value\n2014-04-01 00:00:00\n", "line 2: 1 column(s), 2 are needed"),
    ],
)
def test_a_bad_line_is_named(text, message):
    with pytest.raises(ConfigurationError) as failure:
        parse(text)
    assert message in str(failure.value)


def test_a_file_that_is_no_text_or_not_there_is_named(tmp_path):
    path = tmp_path / "data.csv"
    with pytest.raises(ConfigurationError, match=r"there is no file .*data\.csv$"):
        list(read_series(path))
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        list(read_series(tmp_path))
    path.write_bytes(b"timestamp,value\n\xff\xfe,1\n")
    with pytest.raises(ConfigurationError, match=r"data\.csv cannot be read as UTF-8"):
        list(read_series(path))


def test_records_decode_to_the_samples_and_carry_key_stream_and_id():
    samples = [Sample(1_396_310_400_000, 1.5, 2), Sample(1_396_310_700_000, 2.5, 3)]
    records = list(REPLAY.records(samples))
    for sample, record in zip(samples, records, strict=True):
        (metric,) = decode_metrics([record.value])
        assert metric == Metric(
            *("demo", "queue", sample.value, sample.at, {"host": "a b", "az": "1"}),
            metric.event_id,
        )
        assert record.key == b"demo|queue{az=1,host=a b}"
        assert record.headers == (
            ("stream", b"replay-queue"),
            ("event_id", metric.event_id.encode()),
        )


def test_event_ids_repeat_on_the_same_stream_only():
    # The same time and value twice, as at the end of daylight saving.
    samples = [Sample(1_396_310_400_000, 1.5, 2), Sample(1_396_310_400_000, 1.5, 3)]

    def ids(replay):
        return [dict(r.headers)["event_id"] for r in replay.records(samples)]

    assert ids(REPLAY) == ids(REPLAY)
    assert len(set(ids(REPLAY))) == 2
    assert set(ids(REPLAY)).isdisjoint(ids(REPLAY._replace(stream="again")))


def test_the_live_stream_has_no_header():
    record = next(REPLAY._replace(stream="live").records([Sample(0, 1.0, 2)]))
    assert [name for name, _ in record.headers] == ["event_id"]


def test_rivers_water_flow_is_whole_and_in_order():
    samples = list(water_flow())
    assert len(samples) == 1_268
    assert samples[0] == Sample(1_647_770_400_000, 100.59, 2)
    assert all(a.at <= b.at for a, b in pairwise(samples))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs either a FILE or --river"),
        (["--river", "no-such"], "'no-such' is unknown; there is water-flow"),
        (["x.csv", "--metric", "m"], "there is no file x.csv"),
        (["--river", "water-flow", "--tag", "a"], "--tag 'a' is not of the form name=value"),
        (["--river", "water-flow", "--speed", "0"], "--speed '0' is neither 'max' nor"),
        (["--river", "water-flow", "--speed", "fast"], "--speed 'fast' is neither"),
    ],
)
def test_wrong_options_are_told(arguments, message):
    result = CliRunner().invoke(app, ["replay", *arguments])
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tenant", "nobody"], "(unknown_tenant): tenant 'nobody' is not configured"),
        (["--metric", "plays"], "(reserved_name): metric name 'plays' is a measure of plays"),
        (["--metric", "m" * 300], "(text_too_long): "),
        (["--stream", "s" * 65], "(bad_stream): "),
    ],
)
def test_what_the_worker_would_refuse_is_not_sent(arguments, message, monkeypatch):
    monkeypatch.setenv("BACKBEAT_BROKER", "kafka://127.0.0.1:9")
    result = CliRunner().invoke(app, ["replay", "--river", "water-flow", *arguments])
    assert result.exit_code == 1
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)


def test_times_that_are_to_come_are_not_sent(monkeypatch, tmp_path):
    monkeypatch.setenv("BACKBEAT_BROKER", "kafka://127.0.0.1:9")
    path = tmp_path / "cpu.csv"
    path.write_text("timestamp,value\n9014-04-01 00:00:00,1\n2014-04-01 00:00:00,1\n")
    result = CliRunner().invoke(app, ["replay", str(path), "--metric", "m"])
    assert "(far_future): " in str(result.exception)


def test_a_file_needs_a_metric_name(tmp_path):
    path = tmp_path / "cpu.csv"
    path.write_text("timestamp,value\n2014-04-01 00:00:00,1\n")
    result = CliRunner().invoke(app, ["replay", str(path)])
    assert "--metric NAME" in str(result.exception)


@pytest.mark.integration
async def test_a_file_is_sent_to_one_partition_and_its_end_to_all(
    tansu_server, unique_name, monkeypatch, tmp_path
):
    prefix = f"{unique_name}-"
    admin = AIOKafkaAdminClient(bootstrap_servers=tansu_server.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(f"{prefix}metrics", 3, 1)])
    await admin.close()
    monkeypatch.setenv("BACKBEAT_BROKER", tansu_server.url)
    monkeypatch.setenv("BACKBEAT_TOPIC_PREFIX", prefix)
    path = tmp_path / "CPU load (eu).csv"
    path.write_text("timestamp,value\n2014-04-01 00:00:00,1\n2014-04-01 00:05:00,2\n")

    arguments = ["replay", str(path), "--metric", "cpu", "--tag", "host=a", "--speed", "36000"]
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert result.exit_code == 0, result.output
    assert "replayed 2 samples of cpu-load-eu as demo|cpu{host=a}" in result.output

    consumer = AIOKafkaConsumer(bootstrap_servers=tansu_server.bootstrap)
    await consumer.start()
    try:
        partitions = [TopicPartition(f"{prefix}metrics", n) for n in range(3)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        records = [await asyncio.wait_for(consumer.getone(), 10) for _ in range(5)]
    finally:
        await consumer.stop()
    ends = [r for r in records if r.value is None]
    values = [r for r in records if r.value is not None]
    assert sorted(r.partition for r in ends) == [0, 1, 2]
    for end in ends:
        assert end.key == b"demo"
        assert dict(end.headers) == {
            "stream": b"replay-cpu-load-eu",
            "stream-end": b"replay-cpu-load-eu",
        }
    assert [json.loads(r.value)["value"] for r in values] == [1.0, 2.0]
    assert len({r.partition for r in values}) == 1
    last = max(r.offset for r in records if r.partition == values[0].partition)
    assert next(r for r in ends if r.partition == values[0].partition).offset == last
