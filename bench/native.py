"""What compiling the hot modules with mypyc gives: ``bench.steps`` on them as C and as Python, in turns.

    python -m bench.native [--pairs N] [--rate R] [--plays N] [--batch B] [--tests] [--json OUT]

Makes two copies of the tree in a temporary folder, one compiled (needs the development lock and a C
compiler; a minute and a half), runs ``bench.steps --rate`` in both N times by turns and prints CPU µs a play
by step, of each pair and of the quietest, and the ratio. The tree itself is not touched. ``--tests`` first
runs the tests of ``tables`` on the compiled copy: a figure of wrong sums would be worth nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.machine import about

ROOT = Path(__file__).parents[1]

MODULES = (
    "engine/flush", "models/series", "tables/cells", "tables/dedupe", "tables/directory",
    "tables/eligibility", "tables/fields", "tables/groups", "tables/histograms", "tables/ingest",
    "tables/intake", "tables/listeners", "tables/panes", "tables/parts", "tables/plays",
    "tables/profiles", "tables/publications", "tables/returning", "tables/rolling", "tables/routes",
    "tables/shelves", "tables/sketches", "tables/waiting", "tables/walking", "tables/windowing",
)  # fmt: skip
"""Those on the way of a play that mypyc takes. Not those that define ``msgspec.Struct``s: it drops a
class's keywords (``frozen``, ``tag``, ``array_like``) without a word, and what annotations say."""

EDITS = (
    # "Cannot determine type", though mypy can.
    (r"(?m)^STORE = ", "STORE: StoreSpec = ", ("groups", "eligibility", "profiles", "clocks")),
    # An internal error: "bytearray is not a valid sequence".
    (r"for n in buffer\[begin:end\]", "for n in list(buffer[begin:end])", ("profiles",)),
    # The bounds of a slice are evaluated twice, and the second time the run is used up: compiled as it
    # is, no batch has a duplicate.
    (r" {8}part = hashes\[len\(fresh\) : len\(fresh\) \+ sum\(1 for _ in run\)\]",
     "        count = sum(1 for _ in run)\n        part = hashes[len(fresh) : len(fresh) + count]",
     ("dedupe",)),
)  # fmt: skip
"""What has to be written in another way: pattern, replacement, modules of ``tables``."""

BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup
modules = mypycify(["--ignore-missing-imports", *sys.argv[1:]], opt_level="3")
sys.argv[1:] = ["-q", "build_ext", "--inplace"]
setup(name="native", packages=[], py_modules=[], ext_modules=modules)
"""


def copied(folder: Path) -> Path:
    """A copy of the tree, without what is hidden in it."""
    hidden = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "docs", "build")
    return Path(shutil.copytree(ROOT, folder, ignore=hidden))


def run(tree: Path, *command: str) -> None:
    """Run Python in a tree, which has to work."""
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=tree, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)[:200]}:\n{(done.stdout + done.stderr)[-4000:]}")


def compile_in(tree: Path) -> None:
    """Compile the modules of a copy, so that it imports them instead of their source."""
    for pattern, replacement, names in EDITS:
        for name in names:
            path = tree / "tables" / f"{name}.py"
            text, found = re.subn(pattern, replacement, path.read_text())
            if not found:
                sys.exit(f"{path.name} has no {pattern!r} any more: see EDITS in {__file__}")
            path.write_text(text)
    run(tree, "-c", BUILD, *(f"{module}.py" for module in MODULES))
    if left := [m for m in MODULES if not list(tree.glob(f"{m}.*.so"))]:
        sys.exit(f"not compiled: {', '.join(left)}")


def steps(tree: Path, rate: float, plays: int, batch: int) -> dict[str, Any]:
    """What ``bench.steps`` finds in a tree."""
    found = tree / "steps.json"
    given = ["--rate", str(rate), "--plays", str(plays), "--batch", str(batch)]
    run(tree, "-m", "bench.steps", *given, "--json", str(found))
    result: dict[str, Any] = json.loads(found.read_text())["steps"]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--plays", type=int, default=100_000)
    parser.add_argument("--batch", type=int, default=5_000)
    parser.add_argument("--tests", action="store_true", help="test the compiled copy first")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    pairs = []
    with TemporaryDirectory() as folder:
        python, native = copied(Path(folder) / "python"), copied(Path(folder) / "native")
        compile_in(native)
        if args.tests:
            run(native, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/tables")
        for _ in range(args.pairs):
            load = os.getloadavg()[0]
            both = [steps(t, args.rate, args.plays, args.batch) for t in (python, native)]
            python_us, native_us = (found["cpu_us_per_play"] for found in both)
            ratios = {step: round(us / native_us[step], 2) for step, us in python_us.items()
                      if native_us[step]}  # fmt: skip
            pairs.append({"load": load, "python_us": python_us, "mypyc_us": native_us,
                          "python_over_mypyc": ratios})  # fmt: skip
            print(json.dumps(pairs[-1]), flush=True)
    result = {**about(), "modules": len(MODULES), "pairs": pairs,
              "quietest": min(pairs, key=lambda pair: pair["python_us"]["together"])}  # fmt: skip
    print(json.dumps({**result, "pairs": len(pairs)}, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
