"""What import-linter cannot see: private names of libraries, and how full the folders are."""

import ast
import re
from pathlib import Path

from tests.support.program import ROOT

LAYERS = ("search", "training", "models", "data", "objectives")
PRIVATE = ("search/storage/optuna_private.py", "search/dashboard/private.py")


def private_imports(path: Path) -> list[ast.ImportFrom]:
    """List the imports of private modules or names of Optuna and optuna-dashboard in a file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and re.match(r"optuna(_dashboard)?(\.|$)", node.module or ""):
            names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
            if any(name.startswith("_") for name in names):
                found.append(node)
    return found


def test_private_names_of_libraries_are_imported_in_two_files() -> None:
    """An upgrade of Optuna or of its dashboard has two files to check."""
    files = [path for layer in LAYERS for path in (ROOT / layer).rglob("*.py")]
    importing = {str(path.relative_to(ROOT)) for path in files if private_imports(path)}
    assert importing == set(PRIVATE)


def test_each_private_import_has_its_reason() -> None:
    """A comment stands above each group of private imports."""
    for name in PRIVATE:
        lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
        nodes = sorted(private_imports(ROOT / name), key=lambda node: node.lineno)
        assert nodes
        for before, node in zip([None, *nodes], nodes, strict=False):
            follows = before is not None and before.end_lineno == node.lineno - 1
            assert follows or lines[node.lineno - 2].startswith("#"), f"{name}:{node.lineno}"


def test_at_most_eight_modules_lie_directly_in_search() -> None:
    """A newcomer sees packages, not a heap of files."""
    assert len(list((ROOT / "search").glob("*.py"))) <= 8


def test_every_package_says_what_is_in_it() -> None:
    """Each __init__ has a docstring of two sentences or more."""
    for layer in LAYERS:
        for init in (ROOT / layer).rglob("__init__.py"):
            text = ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))) or ""
            assert text.count(".") >= 2, init
