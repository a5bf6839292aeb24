"""What the worker says of a configuration it cannot use, as it is started: one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "faust", "-A", "faust_app", "worker", "--without-web"],
        cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, check=False,
        timeout=100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("BACKBEAT_RULES_CONFIG", "no/rules.toml", "rules no/rules.toml: [Errno 2]"),
        ("BACKBEAT_PARTITIONS", "many", "BACKBEAT_PARTITIONS: Input should be a valid integer"),
    ],
)
def test_a_worker_that_cannot_work_says_why_in_one_line(name, value, reason):
    done = run({name: value})
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"backbeat: {reason}")


@pytest.mark.integration
def test_a_worker_that_does_not_fit_its_broker_says_why_in_one_line(tansu_server, unique_name):
    broker = {"BACKBEAT_BROKER": tansu_server.url, "BACKBEAT_TOPIC_PREFIX": f"{unique_name}-"}
    done = run({**broker, "BACKBEAT_FLUSH": "transactions", "BACKBEAT_METRICS_PORT": "0"})
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "CRITICAL" in last
    assert "BACKBEAT_FLUSH=transactions, but the broker is tansu" in last
    assert "Traceback" not in done.stderr
