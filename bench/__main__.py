"""``python -m bench [NAME …]``: which benchmarks there are, from their own first lines; or one of them."""

import ast
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent


def benchmarks() -> dict[str, Path]:
    """Each benchmark's file by its name; one of several files is a folder with a ``__main__``."""
    found = {path.stem: path for path in HERE.glob("[a-z]*.py")}
    return found | {path.parent.name: path for path in HERE.glob("*/__main__.py")}


def main() -> None:
    found = benchmarks()
    if len(sys.argv) > 1:
        name = sys.argv.pop(1)
        if name not in found:
            sys.exit(f"no benchmark {name}; there are: {', '.join(sorted(found))}")
        runpy.run_module(f"bench.{name}", run_name="__main__", alter_sys=True)
        return
    for name, path in sorted(found.items()):
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        print(f"python -m bench.{name:14} {about.splitlines()[0] if about else ''}")


if __name__ == "__main__":
    main()
