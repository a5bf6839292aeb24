"""``python -m bench``: which benchmarks there are, from their own first lines."""

import ast
from pathlib import Path


def main() -> None:
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py")):
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        print(f"python -m bench.{path.stem:14} {about.splitlines()[0] if about else ''}")


if __name__ == "__main__":
    main()
