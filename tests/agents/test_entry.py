"""What the worker says of a configuration it cannot use, as it is started: one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("BACKBEAT_RULES_CONFIG", "no/rules.toml", "rules no/rules.toml: [Errno 2]"),
        ("BACKBEAT_PARTITIONS", "many", "BACKBEAT_PARTITIONS: Input should be a valid integer"),
    ],
)
def test_a_worker_that_cannot_work_says_why_in_one_line(name, value, reason):
    done = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "faust_app", "worker", "--without-web"],
        cwd=ROOT, env={**os.environ, name: value}, capture_output=True, text=True, check=False,
        timeout=100,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"backbeat: {reason}")
