"""Results of chaos runs: one file a scenario while they run, one table when they are done.

``make chaos`` keeps each result in ``.cache/chaos`` (ignored by git) and does not run again what has
passed with the same code, seed and size. The last results are merged into
``tests/chaos/results.json``, and ``docs/chaos.md`` is made of that.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.kafka import VERSION

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".cache" / "chaos"
TABLE = ROOT / "tests" / "chaos" / "results.json"
PAGE = ROOT / "docs" / "chaos.md"
CODE = ("engine/*.py", "tests/support/chaos_*.py", "tests/chaos/conftest.py")

Result = dict[str, Any]


def fingerprint(test: Path) -> str:
    """Of the code that a result depends on: with another engine or another test it is run again."""
    digest = hashlib.sha256()
    for path in [*(p for pattern in CODE for p in sorted(ROOT.glob(pattern))), test]:
        digest.update(path.name.encode() + b"\x00" + path.read_bytes())
    return digest.hexdigest()[:12]


def kept(scenario: str) -> Result | None:
    """The result of a scenario's last run on this machine."""
    path = KEPT / f"{scenario}.json"
    return json.loads(path.read_text()) if path.exists() else None


def keep(scenario: str, result: Result) -> None:
    """Remember a result."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{scenario}.json").write_text(json.dumps(result, indent=1) + "\n")


def merge() -> dict[str, Result]:
    """Take what was kept into the table that goes with the code; returns the table."""
    table: dict[str, Result] = json.loads(TABLE.read_text()) if TABLE.exists() else {}
    for path in sorted(KEPT.glob("*.json")):
        table[path.stem] = json.loads(path.read_text())
    known = dict(scenarios())
    table = {name: result for name, result in sorted(table.items()) if _scenario(name) in known}
    TABLE.write_text(json.dumps(table, indent=1) + "\n")
    return table


def scenarios() -> Iterator[tuple[str, str]]:
    """Every scenario and what it asserts: tests marked ``chaos``, and their docstrings' beginning."""
    for path in sorted((ROOT / "tests" / "chaos").glob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and _is_marked(node):
                text = (ast.get_docstring(node) or "").partition("\n\n")[0]
                yield node.name.removeprefix("test_"), " ".join(text.split())


def _is_marked(node: ast.FunctionDef) -> bool:
    marks = [d.func for d in node.decorator_list if isinstance(d, ast.Call)]
    return any(isinstance(m, ast.Attribute) and m.attr == "chaos" for m in marks)


HEAD = """\
# Chaos

What the engine promises, tried on Apache Kafka {version} with real processes that are killed, frozen and cut off.
`make chaos` runs every scenario at full size and writes this page; it goes on where it was interrupted
(`SCENARIO=name` runs one, `SEED=` and `EVENTS=` change the input). `make test` runs a part on fewer events.

A worker (`tests/support/chaos_app.py`) keeps count, sum and 10 s panes of 500 keys on 4 partitions, and writes
a ledger line for every key that a batch changes: its count before and after. The verdict is taken from what
a reader of committed records sees: the changelog must hold what a plain loop over the input gives, and the
ledger's lines must chain, each beginning where the key's last one ended. A gap is a loss, an overlap a repeat.
Faults at exact points of a flush come from patches of the client library (`tests/support/chaos_faults.py`).

Written by `make chaos` from `tests/chaos/results.json`; machine: {machine}.

| scenario | what must hold | last result |
|---|---|---|
"""

COMMAND = "`make chaos SCENARIO={}`"


def page(table: Mapping[str, Result]) -> str:
    """The text of ``docs/chaos.md``."""
    machines = sorted({_machine(r) for r in table.values()}) or ["not run yet"]
    rows = []
    for name, asserted in scenarios():
        results = [_told(result) for key, result in table.items() if _scenario(key) == name]
        told = "<br>".join(results) or "not run yet"
        rows.append(f"| {COMMAND.format(name)} | {asserted} | {told} |\n")
    return HEAD.format(version=VERSION, machine="; ".join(machines)) + "".join(rows)


def _scenario(name: str) -> str:
    return name.partition("[")[0]


def _machine(result: Result) -> str:
    about = result["about"]
    return f"{about['cpu']}, {about['cores']} cores, Python {about['python']}"


def _told(result: Result) -> str:
    about = result["about"]
    figures = ", ".join(f"{_number(v)} {k}" for k, v in result["figures"].items())
    verdict = "" if result["outcome"] == "passed" else f"**{result['outcome']}**: "
    when = f"({about['date']}, {about['commit']}, seed {result['seed']}, {result['seconds']:.0f} s)"
    return f"{verdict}{figures} {when}".strip()


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> None:
    """Merge what was kept and write the page."""
    PAGE.write_text(page(merge()))
    print(f"wrote {PAGE.relative_to(ROOT)} and {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
