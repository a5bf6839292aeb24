"""The import arrows, the purity of the core, and the sizes, held over every Python file.

Read off the syntax tree, so nothing is imported and a folder that does not exist yet is fine. The
second half shows that each rule can fail.
"""

import ast
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE, MAX_FUNCTION = 400, 50

CORE = {"models", "ml", "alerts", "tables", "storage"}
# What each folder may import of ours, itself apart. `agents` and `faust_app` are the only way into
# the engine; the API and the command line meet it on topics and as a process.
ARROWS: dict[str, set[str]] = {
    "models": set(),
    "ml": {"models"},
    "alerts": {"models"},
    "tables": {"models"},
    "storage": {"models"},
    "engine": {"models"},
    "agents": CORE | {"engine"},
    "faust_app": CORE | {"engine", "agents"},
    "backtest": CORE,
    "api": {"models", "ml", "alerts", "storage", "backtest"},
    "simulate": {"models"},
    "importers": {"models", "storage"},
    "cli": CORE | {"backtest", "api", "simulate", "importers", "agents", "web", "bench"},
    "web": {"models"},
}
# These measure and prove the others from outside: they may import anything, within the sizes.
OUTSIDE = {"tests", "bench", "docs", "deploy"}
OURS = ARROWS.keys() | OUTSIDE

FAUST = {"faust", "mode"}
MAY_USE_FAUST = {"engine", "agents", "faust_app"}

PURE = {"ml", "tables", "alerts", "backtest"}
IMPURE_PARTS = ("alerts/receivers/",)
CLIENTS = {
    "aiohttp", "aiokafka", "asyncio", "elasticsearch", "fastapi", "http", "httpx", "influxdb_client",
    "multiprocessing", "opensearchpy", "redis", "requests", "smtplib", "socket", "sqlite3", "ssl",
    "starlette", "subprocess", "threading", "urllib3", "uvicorn", "valkey",
}  # fmt: skip
CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "datetime.date.today",
    "datetime.datetime.now", "datetime.datetime.today", "datetime.datetime.utcnow",
}  # fmt: skip
SEEDED = {"random.Random", "random.SystemRandom"}

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "misc", "common"}


class Import(NamedTuple):
    """One imported module and the line that asks for it."""

    line: int
    module: str

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def breaches(path: str, source: str) -> list[str]:
    """Return every rule that the file at `path` (relative to the root) breaks, with its line."""
    tree = ast.parse(source, path)
    home = Path(path).parts[0].removesuffix(".py")
    found = [*vague_names(path), *sizes(source, tree)]
    if home not in OUTSIDE:
        found += arrows(home, imports(path, tree))
    if home in PURE and not path.startswith(IMPURE_PARTS):
        found += purity(path, tree)
    return [f"{path}:{line}: {what}" for line, what in found]


def imports(path: str, tree: ast.AST) -> Iterator[Import]:
    """Yield every module that a file asks for, wherever in the file, by whatever form."""
    package = path.split("/")[:-1]
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (Import(node.lineno, alias.name) for alias in node.names)
            case ast.ImportFrom(level=0):
                yield Import(node.lineno, node.module or "")
            case ast.ImportFrom():
                base = package[: len(package) - node.level + 1]
                yield Import(node.lineno, ".".join([*base, *filter(None, [node.module])]))
            case ast.Call(
                func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__"),
                args=[ast.Constant(value=str(module)), *_],
            ):  # fmt: skip
                yield Import(node.lineno, module)


def arrows(home: str, asked: Iterator[Import]) -> Iterator[tuple[int, str]]:
    """Yield imports that point the wrong way."""
    if home not in ARROWS:
        yield 1, f"{home} has no place among the import arrows; give it one in tests/test_layers.py"
        return
    for wanted in asked:
        if wanted.top in FAUST and home not in MAY_USE_FAUST:
            yield wanted.line, f"{home} imports {wanted.top}; only the engine and the agents may"
        elif wanted.top in OURS - {home} - ARROWS[home]:
            yield wanted.line, f"{home} imports {wanted.module}, against the arrows"


def purity(path: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield what ties the core to the outside world: clients, clocks, unseeded randomness."""
    for wanted in imports(path, tree):
        if wanted.top in CLIENTS or wanted.module == "urllib.request":
            yield wanted.line, f"imports {wanted.module}; the core does no I/O"
    for line, name in used_names(tree):
        if name in CLOCKS:
            yield line, f"reads {name}; in the core time is an argument"
        elif name.startswith("random.") and name not in SEEDED and name.count(".") == 1:
            yield line, f"uses {name}, the shared generator; take a seeded random.Random"


def used_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield each name in use with its line, under its full dotted name if it was imported."""
    full: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                full |= {a.asname or a.name.partition(".")[0]: a.name for a in node.names}
            case ast.ImportFrom(level=0):
                full |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute):
            first, _, rest = dotted(node).partition(".")
            if first in full:
                yield node.lineno, f"{full[first]}.{rest}".removesuffix(".")


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for a chain of attributes on a name, else an empty string."""
    match node:
        case ast.Name():
            return node.id
        case ast.Attribute():
            owner = dotted(node.value)
            return owner and f"{owner}.{node.attr}"
        case _:
            return ""


def sizes(source: str, tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield files and functions that grew too long."""
    lines = len(source.splitlines())
    if lines > MAX_FILE:
        yield 1, f"has {lines} lines, at most {MAX_FILE}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION:
                yield node.lineno, f"{node.name} has {length} lines, at most {MAX_FUNCTION}"


def vague_names(path: str) -> Iterator[tuple[int, str]]:
    """Yield names of files and folders that say nothing of what is in them."""
    for part in Path(path).with_suffix("").parts:
        if part in VAGUE_NAMES:
            yield 1, f"is named {part}; name it after what lives there"


def python_files() -> list[str]:
    found = []
    for folder, below, files in os.walk(ROOT):
        below[:] = [d for d in below if not d.startswith(".") and d not in ("node_modules", "__pycache__")]  # fmt: skip
        found += [Path(folder, f).relative_to(ROOT).as_posix() for f in files if f.endswith(".py")]
    return sorted(found)


@pytest.mark.parametrize("path", python_files())
def test_every_file_keeps_the_rules(path):
    assert breaches(path, (ROOT / path).read_text()) == []


BROKEN = {
    "an arrow the wrong way": ("models/a.py", "import ml", "against the arrows"),
    "thresholds are arguments": ("alerts/a.py", "from ml.detect import x", "against the arrows"),
    "api without engine": ("api/a.py", "from engine.flush import x", "imports engine.flush"),
    "api without tables": ("api/a.py", "import tables", "against the arrows"),
    "api without faust": ("api/a.py", "import faust.sensors", "imports faust"),
    "cli without faust": ("cli/a.py", "def f():\n    from faust import App", "imports faust"),
    "cli without engine": ("cli/a.py", "import engine", "imports engine"),
    "the entry is imported by nothing": ("agents/a.py", "import faust_app", "against the arrows"),
    "tests stay outside": ("storage/a.py", "from tests.support import x", "against the arrows"),
    "types count too": (
        "ml/a.py", "if TYPE_CHECKING:\n    from tables import x", "against the arrows",
    ),
    "by name": ("cli/a.py", "importlib.import_module('engine.app')", "imports engine.app"),
    "relative, up and over": ("ml/a/b.py", "from ...engine import x", "imports engine"),
    "a new folder": ("extra/a.py", "", "no place among the import arrows"),
    "a client in the core": ("tables/a.py", "import sqlite3", "the core does no I/O"),
    "a client below a function": ("ml/a.py", "def f():\n    import redis.asyncio", "no I/O"),
    "web requests": ("backtest/a.py", "from urllib.request import urlopen", "no I/O"),
    "a clock": ("ml/a.py", "import time\ntime.time()", "reads time.time"),
    "a clock by another name": (
        "alerts/a.py", "from time import time as now\nx = now()", "reads time.time",
    ),
    "a clock handed on": (
        "tables/a.py", "import time\nfield(default_factory=time.time)", "reads time.time",
    ),
    "datetime": ("ml/a.py", "import datetime as dt\ndt.datetime.now(dt.UTC)", "datetime.now"),
    "datetime, from": ("ml/a.py", "from datetime import datetime\ndatetime.utcnow()", "utcnow"),
    "the shared generator": ("ml/a.py", "import random\nrandom.gauss(0, 1)", "random.gauss"),
    "a long file": ("models/a.py", "x = 1\n" * 401, "has 401 lines"),
    "a long function": ("tests/a.py", "def f():\n" + "    x = 1\n" * 50, "f has 51 lines"),
    "a vague file": ("api/helpers.py", "", "is named helpers"),
    "a vague folder": ("storage/utils/a.py", "", "is named utils"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "source", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_rule_is_found(path, source, message):
    found = breaches(path, source)
    assert len(found) == 1
    assert message in found[0]


KEPT = {
    "down the arrows": ("agents/a.py", "import engine, faust\nfrom models.events import Play"),
    "within a folder": ("ml/a.py", "from . import protocol\nfrom ml.protocol import x"),
    "the entry": ("faust_app.py", "from agents.topology import create_app"),
    "receivers do I/O": ("alerts/receivers/a.py", "import httpx, time\ntime.monotonic()"),
    "shells read clocks": ("api/a.py", "import time\ntime.time()"),
    "time as an argument": ("ml/a.py", "def f(now, time):\n    return time.time() < now"),
    "types of time": ("ml/a.py", "import datetime\ndef f(at: datetime.datetime): ..."),
    "seeded": ("ml/a.py", "import random\nrandom.Random(7).gauss(0, 1)"),
    "tests reach everywhere": ("tests/a.py", "import engine, faust, api, faust_app"),
    "at the limit": ("ml/a.py", "def f():\n" + "    x = 1\n" * 49 + "x = 1\n" * 350),
}


@pytest.mark.parametrize(("path", "source"), KEPT.values(), ids=KEPT.keys())
def test_a_kept_rule_is_let_pass(path, source):
    assert breaches(path, source) == []
