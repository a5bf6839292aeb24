"""What the bench makes of its samples, of changelogs of every system, and of its runs."""

import json
import os
import struct
import sys

import pytest

from bench.engine import check, rows
from bench.engine.cases import Case, cases
from bench.engine.process import Process, RunError, Sample, cpu_of_all, figures
from bench.engine.workers.progress import read

START = 176_000_000


def test_the_warm_up_and_what_comes_after_the_last_event_are_left_out():
    samples = [
        Sample(0, 0, 0, 0),
        Sample(9, 50, 5, 5),
        Sample(10, 100, 6, 7),
        Sample(15, 600, 7, 8),
        Sample(20, 1_000, 8, 9),
        Sample(50, 1_000, 80, 90),
    ]
    found = figures(samples, 1_000)
    assert found.events_per_s == 90
    assert found.cpu_us_per_event == pytest.approx(2e6 / 900)
    assert found.broker_us_per_event == pytest.approx(2e6 / 900)
    assert found.seconds == 10


@pytest.mark.parametrize("events", [[], [0, 999], [0, 1_000]])
def test_a_run_without_a_span_gives_no_figure(events):
    samples = [Sample(at, n, at, at) for at, n in enumerate(events)]
    with pytest.raises(RunError, match="no span to measure"):
        figures(samples, 1_000)


@pytest.mark.parametrize(
    ("decode", "key", "value"),
    [
        (check.backbeat_cells, b"windows\0u000007", struct.pack("<IIq", START, 3, 90)),
        (
            check.streams_cells,
            b"u000007" + struct.pack(">qi", START * 10_000, 0),
            struct.pack(">qq", 3, 90),
        ),
        (
            check.quix_cells,
            b"u000007|" + struct.pack(">QcQ", START * 10_000, b"|", START * 10_000 + 10_000),
            b'{"count/Count":3,"sum/Sum":90}',
        ),
        (check.faust_cells, b'["u000007",[1760000000.0,1760000009.9]]', b"[3,90]"),
    ],
)
def test_each_systems_changelog_is_understood(decode, key, value):
    assert [*decode(key, value)] == [(b"u000007", START, 3, 90)]


def test_a_key_of_ours_holds_all_its_panes_and_other_records_none():
    value = struct.pack("<IIqIIq", START, 3, 90, START + 1, 1, 7)
    assert len([*check.backbeat_cells(b"windows\0u1", value)]) == 2
    assert [*check.backbeat_cells(b"\0meta", b"\x93\x01\x02\x01")] == []


def test_a_process_is_watched_with_its_children_until_its_last_word(tmp_path):
    status = tmp_path / "status"
    code = (
        "import subprocess, sys\n"
        "burn = 'sum(i for i in range(10**7))'\n"
        "subprocess.run([sys.executable, '-c', burn])\n"
        f"open({str(status)!r}, 'w').write('5 100')\n"
    )
    with Process([sys.executable, "-c", code], os.environ, tmp_path / "log") as process:
        samples, peak = process.watch(lambda: read(status), 100, os.getpid(), 0.01)
    assert samples[-1].events == 100
    assert peak > 5
    assert max(sample.cpu for sample in samples) > 0.1
    assert cpu_of_all(os.getpid()) > 0


def test_a_worker_that_dies_fails_the_run_with_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no broker')"]
    with (
        Process(command, os.environ, tmp_path / "log") as process,
        pytest.raises(RunError, match=r"(?s)ended with code 1 after 0 of 10.*no broker"),
    ):
        process.watch(lambda: (0, 0), 10, os.getpid(), 0.01)


def run(speed, **more):
    return {
        "events": 10, "events_per_s": speed, "cpu_us_per_event": 5.0, "peak_mb": 70, "load": 1.0,
        "commit": "c", "date": "d", "seed": 1, **more,
    }  # fmt: skip


CASE = Case("backbeat", "windowed", "plain", 200_000)


def test_a_row_is_the_median_of_its_runs_and_the_worst(tmp_path):
    result = rows.Rows(tmp_path / "engine.json", {})
    for speed in (300, 100, 250):
        result.add(CASE, run(speed, restore_s=speed / 100))
    (row,) = json.loads(result.path.read_text())["rows"]
    assert (row["system"], row["job"], row["keys"], row["runs"]) == (
        "backbeat",
        "windowed",
        200_000,
        3,
    )
    assert (row["events_per_s"], row["events_per_s_worst"]) == (250, 100)
    assert row["restore_s"] == 2.5
    assert row["restore_records_per_s"] is None


def test_a_stopped_bench_goes_on_with_the_runs_it_has(tmp_path):
    rows.Rows(tmp_path / "engine.json", {}).add(CASE, run(300))
    result = rows.Rows(tmp_path / "engine.json", {})
    assert result.runs(CASE) == 1
    result.forget([CASE])
    assert result.runs(CASE) == 0


def test_the_table_replaces_what_stands_between_the_markers(tmp_path):
    result = rows.Rows(tmp_path / "engine.json", {})
    result.add(CASE, run(123_456))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{rows.BEGIN}\nold\n{rows.END}\nafter\n")
    rows.write_between(page, rows.table(result.rows()))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "| windowed | 200,000 | backbeat plain | 123,456 (123,456) | 5 |" in text
    assert "old" not in text
    with pytest.raises(ValueError, match="has no"):
        rows.write_between(result.path, "")


def test_cases_have_names_of_their_own_and_no_broker_does_what_it_cannot():
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names)
    assert not [c.name for c in cases() if c.broker == "tansu" and c.variant == "transactions"]
    assert {c.system for c in cases()} == {
        "backbeat", "faust", "aiokafka", "quix", "bytewax", "kafka-streams",
    }  # fmt: skip
