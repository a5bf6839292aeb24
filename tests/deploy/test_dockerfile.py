"""The image, as far as it can be held without a container engine.

The linter, the parts that a linter cannot know, and the real application started from exactly the
files that would enter the image.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
IGNORE = ROOT / "deploy" / "Dockerfile.dockerignore"
NOT_SHIPPED = {"bench", "deploy", "docs", "tests"}


def instructions(name: str) -> list[str]:
    """Return the arguments of each instruction `name` of the last stage."""
    joined = re.sub(r"\\\n\s*", " ", DOCKERFILE.read_text())
    last_stage = re.split(r"^FROM ", joined, flags=re.MULTILINE)[-1]
    return re.findall(rf"^{name} (.*)$", last_stage, re.MULTILINE)


def shipped() -> list[str]:
    """Return what the ignore file lets into the image."""
    lines = IGNORE.read_text().splitlines()
    assert "*" in lines, "everything is left out unless it is named"
    return [line[1:] for line in lines if line.startswith("!")]


def test_the_linter_finds_nothing():
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def test_packages_are_checked_against_their_hashes():
    assert re.search(r"pip install .*--require-hashes .*requirements\.lock", DOCKERFILE.read_text())


def test_it_runs_as_an_unprivileged_user_by_number():
    assert instructions("USER") == ["10001:10001"]


def test_the_command_is_the_worker_without_a_shell():
    (command,) = instructions("CMD")
    assert json.loads(command) == [
        "faust",
        "-A",
        "faust_app",
        "worker",
        "-l",
        "info",
        "--without-web",
    ]


def test_the_health_check_fails_where_nothing_answers():
    (check,) = instructions("HEALTHCHECK")
    python, *arguments = json.loads(check[check.index("[") :])
    assert python == "python"
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Connection refused" in done.stderr


def test_every_package_of_ours_is_shipped():
    ours = {p.parent.name for p in ROOT.glob("*/__init__.py")} - NOT_SHIPPED
    assert ours <= set(shipped())


@pytest.mark.slow
@pytest.mark.parametrize("module", ["faust_app", "api.app", "cli.__main__"])
def test_it_imports_from_the_shipped_files_alone(tmp_path, module):
    path = module.replace(".", "/")
    if not (ROOT / f"{path}.py").exists():
        pytest.skip(f"{path}.py is not written yet")
    for name in shipped():
        if (ROOT / name).is_dir():
            skip = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(ROOT / name, tmp_path / name, ignore=skip)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
