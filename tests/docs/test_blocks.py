"""Every code block in the documentation is checked, and every command that its text names exists.

Sybil finds the blocks. What can be run without a broker is run (Python), what is configuration or an
event goes through the code that reads it, and of a shell command its options are parsed.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import typer
from faust.cli.faust import cli as faust_cli
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser
from uvicorn.main import main as uvicorn_cli

from alerts.rules import parse_rules
from cli.main import app
from models.config import parse_series_config
from models.decoding import decode_metrics, decode_plays
from models.events import Rejected
from models.records import decode_alert, to_json
from models.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "deploy/README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\w*)", re.MULTILINE)
INLINE = re.compile(r"`((?:backbeat|make|faust|pytest|python -m|\.venv/bin/python -m) [^`]+)`")
BACKBEAT = typer.main.get_command(app)


# -- what is checked of each language --------------------------------------------------------------


def check_python(text: str) -> None:
    """It runs, as a user would run it from the checkout."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text], cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def check_json(text: str) -> None:
    """An event is taken by the code that takes events, an alert by that which reads alerts; anything
    else is at least JSON.
    """
    document = json.loads(text)
    for item in document if isinstance(document, list) else [document]:
        if "rule_version" in item:
            assert json.loads(to_json(decode_alert(text))) == item
            continue
        for field, decode in (("started_at", decode_plays), ("value", decode_metrics)):
            if field in item:
                (event,) = decode([json.dumps(item).encode()])
                assert not isinstance(event, Rejected), event


SHIPPED_SERIES = tomllib.loads((ROOT / "config" / "series.toml").read_text())
EXAMPLE_SERIES = SHIPPED_SERIES | {
    "plays": SHIPPED_SERIES["plays"]
    | {"groups": [*SHIPPED_SERIES["plays"]["groups"], ["release"]]},
    "joint": [{"name": "host_health", "metrics": ["cpu", "memory", "request_rate"], "tags": ["host"],
               "window": "1m"}],
}  # fmt: skip
"""What is shipped, and what examples ask for that is not switched on there."""


def check_toml(text: str) -> None:
    """Rules are read as rules, anything else as parts of the shipped series configuration."""
    given = tomllib.loads(text)
    if given.keys() & {"rules", "receivers"}:
        parse_rules({"rules": [], "receivers": [], **given}, parse_series_config(EXAMPLE_SERIES))
    else:
        parse_series_config({**SHIPPED_SERIES, **given})


def check_console(text: str) -> None:
    """What follows a prompt is a command."""
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    assert commands, "no line begins with a prompt"
    for command in commands:
        check_command(command)


def check_shell(text: str) -> None:
    """Every line is a command."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            check_command(line)


def check_nothing(_: str) -> None:
    """Diagrams and listings."""


CHECKS: dict[str, Callable[[str], None]] = {
    "python": check_python, "json": check_json, "toml": check_toml, "console": check_console,
    "bash": check_shell, "sh": check_shell, "text": check_nothing,
}  # fmt: skip


# -- commands --------------------------------------------------------------------------------------


def check_command(line: str) -> None:
    """It names a program, verb and options that there are."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        check_variable(words.pop(0))
    match words:
        case ["export", assignment]:
            check_variable(assignment)
        case ["make", *rest]:
            check_make(rest)
        case ["faust", "worker"]:
            pass  # its name in a sentence
        case ["backbeat", *rest] | [".venv/bin/python" | "python", "-m", "cli", *rest]:
            parse(BACKBEAT, rest)
        case [".venv/bin/python" | "python", "-m", "uvicorn", *rest]:
            parse(uvicorn_cli, rest)
            check_factory(next(word for word in rest if ":" in word))
        case [".venv/bin/faust" | "faust", *rest]:
            parse(faust_cli, rest)
            assert importlib.util.find_spec(rest[rest.index("-A") + 1])
        case [".venv/bin/python" | "python", "-m", module, *rest]:
            check_module(module, rest)
        case ["pytest", *rest]:
            pairs = zip(["", *rest], rest, strict=False)
            files = [w for before, w in pairs if not {before, w[:1]} & {"-k", "-m", "-"}]
            assert all((ROOT / file).exists() for file in files)
        case ["docker", *_]:
            pass  # not here; tests/deploy reads the files it is given
        case _:
            pytest.fail(f"nobody knows how to check: {line}")


def check_variable(assignment: str) -> None:
    """A setting of ours that accepts the value; other variables are the test suite's own."""
    name, _, value = assignment.partition("=")
    if not name.startswith("BACKBEAT_"):
        assert re.search(rf"\b{name}\b", sources("tests")), f"{name} is read nowhere"
        return
    field = name.removeprefix("BACKBEAT_").lower()
    assert field in Settings.model_fields, f"{name} is no setting"
    Settings(**{field: value})


def check_make(words: list[str]) -> None:
    """The targets are verbs of the Makefile; of variables only those that it reads."""
    makefile = (ROOT / "Makefile").read_text()
    for word in words:
        name, is_variable, value = word.partition("=")
        pattern = rf"\$\({name}\)" if is_variable else rf"(?m)^{name}:.*## "
        assert re.search(pattern, makefile), f"make knows no {word}"
        if name == "ARGS" and "demo" in words:
            parse(BACKBEAT, ["up", *shlex.split(value)])


def parse(command: Any, words: list[str]) -> None:
    """Have the command's own parser read its options; nothing is run.

    ``command`` is of Click, or of the copy of it that Typer brings.
    """
    if not words:
        return  # the program is named, not called
    context = command.make_context(command.name, list(words))
    if hasattr(command, "resolve_command"):
        waiting = [*context._protected_args, *context.args]
        _, verb, rest = command.resolve_command(context, waiting)
        assert verb is not None
        parse(verb, rest)


def check_factory(place: str) -> None:
    module, _, name = place.partition(":")
    assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"


def check_module(module: str, words: list[str]) -> None:
    """The module is there, and its parser has the options."""
    found = importlib.util.find_spec(module)
    if found is not None and found.submodule_search_locations:
        found = importlib.util.find_spec(f"{module}.__main__")
    assert found is not None, f"there is no module {module}"
    assert found.origin is not None
    source = Path(found.origin).read_text()
    for option in (word.partition("=")[0] for word in words if word.startswith("--")):
        assert f'"{option}"' in source, f"python -m {module} has no option {option}"


@cache
def sources(folder: str) -> str:
    return "\n".join(path.read_text() for path in (ROOT / folder).rglob("*.py"))


# -- the tests -------------------------------------------------------------------------------------


def evaluate(language: str, example: Example) -> None:
    CHECKS[language](str(example.parsed))


SYBIL = Sybil([CodeBlockParser(name, partial(evaluate, name)) for name in CHECKS])


def blocks() -> list[Any]:
    return [
        pytest.param(example, id=f"{page.relative_to(ROOT)}:{example.line}")
        for page in PAGES
        for example in SYBIL.parse(page).examples()
    ]


def mentions() -> list[Any]:
    found = []
    for page in PAGES:
        for match in INLINE.finditer(page.read_text()):
            place = f"{page.relative_to(ROOT)}: {match[1]}"
            found.append(pytest.param(" ".join(match[1].split()), id=place))
    return found


@pytest.mark.parametrize("example", blocks())
def test_a_block_holds_what_it_says(example: Example):
    example.evaluate()


@pytest.mark.parametrize("command", mentions())
def test_a_command_in_the_text_exists(command: str):
    check_command(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_is_left_out(page: Path):
    """Neither for its language nor because Sybil did not see it."""
    languages = FENCE.findall(page.read_text())[::2]
    assert set(languages) <= CHECKS.keys()
    assert len(languages) == len(list(SYBIL.parse(page).examples()))


@pytest.mark.parametrize(
    ("language", "text", "says"),
    [
        ("python", "import nothing_of_that_name", "No module named"),
        ("json", '{"a": 1,}', "double quotes"),
        ("json", '{"started_at": 1, "tenant_id": "demo"}', "missing_field"),
        ("json", '[{"name": "cpu", "value": "high", "at": 1, "tenant_id": "demo"}]', "wrong_type"),
        ("toml", "[time]\npane = 10", "lacks"),
        ("toml", '[[rules]]\nid = "x"\nwhen = "plays > 1"', "rule 'x'"),
        ("console", "$ backbeat dance", "No such command"),
        ("console", "$ backbeat tail --loudly", "No such option"),
        ("console", "$ make coffee", "make knows no coffee"),
        ("console", "$ make demo ARGS='--sugar 2'", "No such option: --sugar"),
        ("console", "$ export BACKBEAT_BROKERS=kafka://h:1", "is no setting"),
        ("console", "$ BACKBEAT_PARTITIONS=many backbeat tail", "valid integer"),
        ("console", "$ python -m bench.latency --speed 3", "has no option --speed"),
        ("console", "$ faust -A faust_app worker --with-sugar", "No such option"),
        (
            "console",
            "$ python -m uvicorn --factory api.app:create_nothing",
            "has no create_nothing",
        ),
        ("console", "$ pytest tests/nowhere -k jump", "assert False"),
        ("console", "$ rm -rf /", "nobody knows"),
        ("console", "no prompt", "no line begins with a prompt"),
    ],
)
def test_a_wrong_block_is_noticed(language: str, text: str, says: str):
    with pytest.raises((Exception, pytest.fail.Exception), match=says):
        CHECKS[language](text)
