"""What the compiling benchmark says of the tree still holds: its modules are there, its edits apply."""

import ast
import re

import pytest

from bench.native import EDITS, MODULES, ROOT


@pytest.mark.parametrize("module", MODULES)
def test_a_module_that_is_compiled_defines_no_struct(module):
    """Its keywords would be dropped without a word, and it would be another type."""
    tree = ast.parse((ROOT / f"{module}.py").read_text())
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [c.name for c in classes if any("Struct" in ast.unparse(b) for b in c.bases)] == []


@pytest.mark.parametrize(
    ("pattern", "name"), [(pattern, name) for pattern, _, names in EDITS for name in names]
)
def test_what_is_edited_before_compiling_is_written_so(pattern, name):
    assert re.search(pattern, (ROOT / "tables" / f"{name}.py").read_text())
