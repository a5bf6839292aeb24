"""``python -m bench``: which benchmarks there are, from their own first lines."""

import ast
from pathlib import Path


def main() -> None:
    here = Path(__file__).parent
    for path in sorted([*here.glob("[a-z]*.py"), *here.glob("[a-z]*/__main__.py")]):
        name = path.parent.name if path.stem == "__main__" else path.stem
        about = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        print(f"python -m bench.{name:14} {about.splitlines()[0] if about else ''}")


if __name__ == "__main__":
    main()
