"""What ``backbeat replay`` sends, folded by the worker's own steps: a file's last window comes out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Self

import pytest
from typer.testing import CliRunner

import cli.replay
from cli.main import app
from models.records import Window, decode_window
from tests.support import small
from tests.support.pipeline import PARTITIONS, Pipeline, Schedule, shipped_steps
from tests.support.plays import DAY, Sent, partition_of

BEGIN = datetime(2026, 1, 2, tzinfo=UTC)
NOW = int(BEGIN.timestamp() * 1000) + 30 * DAY


class Recorder:
    """Stands in for the publisher: keeps what a command sends, as the broker would."""

    sent: list[Sent]

    def __init__(self, *_: Any) -> None:
        Recorder.sent = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send(self, messages: Any) -> None:
        self.sent += [
            Sent("sample", partition_of(m.key, PARTITIONS), NOW, m.key, m.value, m.headers)
            for m in messages
        ]

    async def send_to_all(self, key: bytes, headers: Any) -> None:
        self.sent += [Sent("end", p, NOW, key, None, headers) for p in range(PARTITIONS)]


@pytest.fixture
def replayed(tmp_path, monkeypatch):
    """What the command sends for a file of so many samples, a minute apart."""

    async def partitions(*_):
        return PARTITIONS

    monkeypatch.setattr(cli.replay, "partitions_of", partitions)
    monkeypatch.setattr(cli.replay, "Publisher", Recorder)
    monkeypatch.setenv("BACKBEAT_BROKER", "kafka://nowhere:1")

    def replay(samples: int) -> list[Sent]:
        rows = [f"{(BEGIN + timedelta(minutes=i)).isoformat()},{i}" for i in range(samples)]
        path = tmp_path / "disk.csv"
        path.write_text("\n".join(["timestamp,value", *rows]))
        result = CliRunner().invoke(app, ["replay", str(path), "--metric", "disk.three"])
        assert result.exit_code == 0, result.output
        return Recorder.sent

    return replay


def folded(sent: list[Sent]) -> Pipeline:
    pipeline = Pipeline(shipped_steps(small.SERIES, small.RULES, small.TENANTS), NOW)
    pipeline.send("metrics", sent)
    pipeline.run(Schedule(1, (1, 20)))
    return pipeline


def windows_of(pipeline: Pipeline) -> list[Window]:
    windows = [w for w in map(decode_window, pipeline.values("windows")) if w.size == 60_000]
    return sorted(windows, key=lambda w: w.start)


def test_a_replay_is_published_to_its_last_window_and_ends(replayed):
    pipeline = folded(replayed(20))
    found = windows_of(pipeline)
    assert pipeline.values("dead-letters") == []
    first = int(BEGIN.timestamp() * 1000)
    assert [w.start for w in found] == [first + i * 60_000 for i in range(20)]
    assert found[-1].values["value"].value == 19.0
    assert pipeline.left_of("replay-disk") == set()


def test_a_replay_too_short_to_know_its_spacing_is_published_too(replayed):
    pipeline = folded(replayed(2))
    assert [w.values["value"].value for w in windows_of(pipeline)] == [0.0, 1.0]
