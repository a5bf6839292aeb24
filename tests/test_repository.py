"""What must be true of the repository itself: its locks, its verbs, and what it never holds."""

import ast
import os
import re
import subprocess
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests import test_layers

ROOT = Path(__file__).parents[1]
LOCKS = ["requirements.lock", "requirements-dev.lock"]
PINNED = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>[\w.!+]+)(?: ; (?P<marker>[^\\]+))?", re.MULTILINE
)


def locked(lock: str) -> dict[str, str]:
    """Return the version of each package that a lock installs on this machine."""
    found = {}
    for entry in PINNED.finditer((ROOT / lock).read_text()):
        marker = entry["marker"]
        requirement = Requirement(f"x; {marker}" if marker else "x")
        if requirement.marker is None or requirement.marker.evaluate(default_environment()):
            found[canonicalize_name(entry["name"])] = entry["version"]
    return found


def direct(*groups: str) -> list[Requirement]:
    """Return the dependencies that pyproject.toml names, with those of the given groups."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names = list(project["project"]["dependencies"])
    for group in groups:
        names += project["dependency-groups"][group]
    return [Requirement(name) for name in names]


@pytest.mark.parametrize(
    ("lock", "groups"), [("requirements.lock", ["setup"]), ("requirements-dev.lock", ["setup", "dev"])]
)  # fmt: skip
def test_a_lock_holds_every_direct_dependency_in_the_range_asked_for(lock, groups):
    versions = locked(lock)
    missing = [
        str(wanted)
        for wanted in direct(*groups)
        if not wanted.specifier.contains(versions.get(canonicalize_name(wanted.name), "0a0"))
    ]
    assert missing == [], "run `make lock`"


def test_the_code_imports_only_what_is_declared():
    declared = {canonicalize_name(wanted.name) for wanted in direct()}
    distributions = packages_distributions()
    undeclared = set()
    for folder in test_layers.ARROWS:
        for path in [*(ROOT / folder).rglob("*.py"), *ROOT.glob(f"{folder}.py")]:
            for asked in test_layers.imports(str(path), ast.parse(path.read_text())):
                sources = {canonicalize_name(name) for name in distributions.get(asked.top, ())}
                if sources and not sources & declared:
                    undeclared.add(f"{path.relative_to(ROOT)}: {asked.module}")
    assert undeclared == set()


def test_the_development_lock_agrees_with_the_runtime_lock():
    assert locked("requirements.lock").items() <= locked("requirements-dev.lock").items()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_hash(lock):
    text = (ROOT / lock).read_text()
    entries = PINNED.findall(text)
    followed = re.findall(
        r"^[\w.-]+(?:\[[\w,-]+\])?==[^\n]*\\\n    --hash=sha256:", text, re.MULTILINE
    )
    assert len(followed) == len(entries) > 0


def test_the_tests_run_on_the_locked_versions():
    versions = locked("requirements.lock")
    installed = {canonicalize_name(r.name): version(r.name) for r in direct()}
    assert installed.items() <= versions.items(), "run `make setup`"


@pytest.mark.parametrize("lock", [*LOCKS, *(p.name for p in ROOT.glob("*/package-lock.json"))])
def test_a_lock_names_no_host(lock):
    text = (ROOT / lock).read_text()
    assert re.search(r"://|index-url|find-links|trusted-host", text) is None


def test_what_builds_the_project_names_no_host_but_its_own():
    own = r"(?:127\.0\.0\.1|localhost|\$|maven\.apache\.org/POM/|\w+:\d)"
    files = [ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / "tests" / "support").rglob("*.xml")]
    files += [p for p in (ROOT / "deploy").rglob("*") if p.name in ("Dockerfile", "compose.yaml")]
    foreign = {p.name: re.findall(rf"https?://(?!{own})\S+", p.read_text()) for p in files}
    assert not any(foreign.values()), foreign


@pytest.mark.parametrize(
    "verb", ["setup", "check", "test", "bench", "docs", "demo", "lock", "clean"]
)
def test_the_makefile_has_the_verb_and_its_help(verb):
    done = subprocess.run(
        ["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.search(rf"^make {verb} +\w", done.stdout, re.MULTILINE)


def test_the_ci_script_is_strict_executable_and_parses():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in script.read_text()
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("path", [".venv/x", ".cache/servers/x", ".env", "web/node_modules/x"])
def test_git_ignores_what_a_machine_makes(path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert (
        subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0
    )
