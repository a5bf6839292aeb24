"""The InfluxDB sink: batches, repeats, refused lines, policies; on a double and on the server."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from models.errors import StorageError, StorageUnavailableError
from models.records import Value, Window
from storage.influxdb import BATCH, InfluxSink
from storage.influxdb_queries import InfluxQueries
from storage.influxql import InfluxQL, identifier
from storage.protocols import Rows
from tests.storage.influx_double import TAKEN, Answer, InfluxDouble
from tests.storage.rows import (
    CONFIG,
    DAY,
    HOUR,
    MINUTE,
    T0,
    alert,
    finding,
    metric,
    plays,
    rows,
    series,
    window,
)  # fmt: skip
from tests.support.influxdb import InfluxDBServer
from tests.support.process import ServerUnavailableError

REFUSED = (400, {}, '{"code":"invalid","message":"partial write: field type conflict dropped=1"}')


@pytest.fixture
async def double() -> AsyncIterator[InfluxDouble]:
    async with InfluxDouble().serving() as server:
        yield server


@pytest.fixture
async def sink(double: InfluxDouble) -> AsyncIterator[InfluxSink]:
    sink = InfluxSink(double.url, "u:p", CONFIG, retry_for=5.0)
    await sink.open()
    yield sink
    await sink.close()


def many(number: int) -> list[Window]:
    return [metric(T0 + n * 10_000, float(n), tags={}) for n in range(number)]


async def test_lines_go_out_in_bounded_batches_one_request_at_a_time(double, sink):
    await sink.write(Rows(windows=many(2 * BATCH + 1)))
    assert [len(lines) for lines in double.requests] == [BATCH, BATCH, 1]
    assert double.most_in_flight == 1


def scripted(*answers: Answer | None) -> Callable[[list[str]], Answer | None]:
    left = list(answers)
    return lambda _: left.pop(0) if left else TAKEN


@pytest.mark.parametrize("answer", [(429, {}, ""), (503, {}, "busy"), (500, {}, "{}"), None])
async def test_what_may_pass_is_tried_again(double, sink, answer):
    double.answer = scripted(answer, answer)
    await sink.write(Rows(windows=many(3)))
    assert len(double.requests) == 3
    assert double.requests[0] == double.requests[2]
    assert not sink.rejected


async def test_the_servers_wish_to_wait_is_heeded(double, sink):
    double.answer = scripted((503, {"Retry-After": "0.5"}, ""))
    began = time.monotonic()
    await sink.write(Rows(windows=many(1)))
    assert time.monotonic() - began >= 0.5


async def test_after_a_while_it_gives_up_and_says_that_it_may_pass(double):
    double.answer = lambda _: (503, {}, "no room")
    sink = InfluxSink(double.url, None, CONFIG, retry_for=0.3)
    await sink.open()
    with pytest.raises(
        StorageUnavailableError, match=r"has not taken 2 lines for 0.3 s: 503 no room"
    ):
        await sink.write(Rows(windows=many(2)))
    double.answer = lambda _: TAKEN
    await sink.write(Rows(windows=many(2)))
    await sink.close()


@pytest.mark.parametrize("status", [401, 403, 404, 413])
async def test_what_will_not_pass_is_not_tried_again(double, sink, status: int):
    double.answer = lambda _: (status, {}, '{"message":"no"}')
    with pytest.raises(StorageError, match=str(status)) as caught:
        await sink.write(Rows(windows=many(1)))
    assert not isinstance(caught.value, StorageUnavailableError)
    assert len(double.requests) == 1


async def test_only_refused_lines_are_left_out_and_counted(double, sink):
    taken: list[str] = []

    def answer(lines: list[str]) -> Answer:
        if any("value=13.0" in line or "value=700.0" in line for line in lines):
            return REFUSED
        taken.extend(lines)
        return TAKEN

    double.answer = answer
    await sink.write(Rows(windows=many(1000)))
    assert len(taken) == 998
    assert len(set(taken)) == 998
    assert dict(sink.rejected) == {"refused": 2}
    assert len(double.requests) < 50


async def test_where_every_line_is_refused_the_sink_stops(double, sink):
    double.answer = lambda _: REFUSED
    with pytest.raises(StorageError, match="line after line"):
        await sink.write(Rows(windows=many(1000)))
    assert len(double.requests) < 200


async def test_lines_past_their_retention_are_counted_and_not_sent_again(double, sink):
    text = '{"message":"partial write: points beyond retention policy dropped=7"}'
    double.answer = lambda _: (400, {}, text)
    await sink.write(Rows(windows=many(10)))
    assert len(double.requests) == 1
    assert dict(sink.rejected) == {"retention": 7}


async def test_no_server_is_unavailable():
    sink = InfluxSink("http://127.0.0.1:9", None, CONFIG)
    with pytest.raises(StorageUnavailableError, match="does not answer"):
        await sink.open()
    await sink.close()
    with pytest.raises(StorageError, match="not open"):
        await sink.write(rows(window()))
    queries = InfluxQueries("http://127.0.0.1:9", None, CONFIG)
    with pytest.raises(StorageUnavailableError):
        await queries.windows("acme", series(), "live", 0, 1, None, None, 1)
    await queries.close()


# On the server.


@pytest.fixture
async def real(influxdb_server, unique_name) -> AsyncIterator[tuple]:
    sink = InfluxSink(influxdb_server.url, influxdb_server.token, CONFIG, unique_name)
    await sink.open()
    influxql = InfluxQL(influxdb_server.url, influxdb_server.token, 10.0)

    async def told(statement: str) -> list[dict]:
        tables = await influxql.ask(statement, database=unique_name)
        return [row for table in tables for row in table.rows]

    yield sink, told
    await told(f"DROP DATABASE {identifier(unique_name)}")
    await influxql.close()
    await sink.close()


async def test_there_is_a_policy_for_every_retention(real):
    _, told = real
    policies = {p["name"]: p["duration"] for p in await told("SHOW RETENTION POLICIES")}
    assert policies == {"autogen": "0s", "bb_2d": "48h0m0s", "bb_400d": "9600h0m0s"}


async def test_only_full_hours_are_kept_long(real):
    sink, told = real
    hours = [window(T0 + n * MINUTE, size=HOUR, slide=MINUTE, count=1) for n in range(61)]
    await sink.write(Rows(windows=[*hours, window()]))
    counts = {}
    for policy in ("bb_2d", "bb_400d"):
        rows_ = await told(f'SELECT count("value") FROM {policy}."window" WHERE "size" = \'1h\'')
        counts[policy] = rows_[0]["count"]
    assert counts == {"bb_2d": 59, "bb_400d": 2}


async def test_a_live_window_of_long_ago_is_counted_as_past_retention(real):
    sink, _ = real
    await sink.write(rows(window(T0 - 30 * DAY), window(T0)))
    assert dict(sink.rejected) == {"retention": 1}


async def test_a_replay_of_long_ago_is_kept(real, influxdb_server, unique_name):
    sink, _ = real
    past = T0 - 4000 * DAY
    await sink.write(rows(window(past, stream="import", count=5)))
    queries = InfluxQueries(influxdb_server.url, influxdb_server.token, CONFIG, unique_name)
    (point,) = await queries.windows("acme", series(), "import", 0, T0, None, None, 10)
    assert (point.start, point.value) == (past, 5.0)
    await queries.close()


async def test_incidents_are_events(real):
    sink, told = real
    await sink.write(rows(alert(), alert(), alert(revision=1, state="resolved"), finding()))
    found = await told('SELECT "id", "revision", "state" FROM "alert" ORDER BY time')
    assert [(a["id"], a["revision"], a["state"]) for a in found] == [
        ("a1", 0, "firing"),
        ("a1", 1, "resolved"),
    ]
    (change,) = await told('SELECT "incident", "rule" FROM "finding"')
    assert (change["incident"], change["rule"]) == ("a1", "silent")


async def test_a_line_that_conflicts_is_left_out_and_the_rest_is_stored(real):
    sink, told = real
    client = sink._client
    assert client is not None
    # Somebody wrote our measurement with another type; the shard remembers.
    foreign = f'window value="text" {T0}'
    await client.write_api().write(f"{sink._bucket.database}/bb_2d", "-", foreign, "ms")
    numbers = {"plays": Value(None, 4.0), "error_rate": plays(0.5)}
    await sink.write(rows(window(values=numbers)))
    assert dict(sink.rejected) == {"refused": 1}
    stored = await told('SELECT "weight" FROM bb_2d."window" WHERE "measure" = \'plays\'')
    assert [row["weight"] for row in stored] == [4.0]


async def test_opening_again_with_another_retention_adds_its_policy(real, influxdb_server):
    sink, told = real
    longer = [msgspec.structs.replace(w, retention=9 * DAY) for w in CONFIG.windows]
    config = msgspec.structs.replace(CONFIG, windows=tuple(longer))
    database = sink._bucket.database
    again = InfluxSink(influxdb_server.url, influxdb_server.token, config, database)
    await again.open()
    await again.close()
    assert "bb_9d" in {p["name"] for p in await told("SHOW RETENTION POLICIES")}


async def test_with_a_password_and_after_a_restart(tmp_path: Path):
    server = InfluxDBServer(tmp_path, password="s3cret")
    try:
        await asyncio.to_thread(server.start)
    except ServerUnavailableError as error:
        pytest.skip(str(error))
    try:
        wrong = InfluxSink(server.url, "backbeat:wrong", CONFIG)
        with pytest.raises(StorageError, match="401"):
            await wrong.open()
        sink = InfluxSink(server.url, server.token, CONFIG, retry_for=0.5)
        queries = InfluxQueries(server.url, server.token, CONFIG)
        asked = ("acme", series(), "live", 0, 2 * T0, None, None, 10)
        with pytest.raises(StorageUnavailableError, match="database not found"):
            await queries.windows(*asked)
        await sink.open()
        await sink.write(rows(window()))
        await asyncio.to_thread(server.kill)
        with pytest.raises(StorageUnavailableError, match="has not taken"):
            await sink.write(rows(window(T0 + 10_000)))
        with pytest.raises(StorageUnavailableError):
            await queries.windows(*asked)
        await asyncio.to_thread(server.start)
        await sink.write(rows(window(T0 + 10_000)))
        assert len(await queries.windows(*asked)) == 2
        await sink.close()
        await queries.close()
    finally:
        if server.process is not None:
            await asyncio.to_thread(server.stop)
