"""The house's own rules, as far as the linters do not hold them: each is a number to go down."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("memoflow", "metaflow_extensions")

# The most that may be. Whoever needs one less lowers it.
LAZY_IMPORTS = 30
LAZY_IMPORTS_WITHOUT_REASON = 0


def modules(*packages: str) -> Iterator[tuple[str, ast.Module]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def is_ours(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] == "memoflow"
    names = node.names if isinstance(node, ast.Import) else []
    return any(each.name.partition(".")[0] == "memoflow" for each in names)


def lazy_imports() -> list[tuple[str, int]]:
    """Return where functions of the product import its modules: file and line."""
    return sorted(
        {
            (name, node.lineno)
            for name, tree in modules(*PRODUCT)
            for function in ast.walk(tree)
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
            for node in ast.walk(function)
            if is_ours(node)
        }
    )


def has_reason(name: str, line: int) -> bool:
    """Tell whether a comment stands beside an import, or above those that it is one of."""
    lines = (ROOT / name).read_text().splitlines()
    if "#" in lines[line - 1]:
        return True
    while line > 1 and lines[line - 2].lstrip().startswith(("from memoflow", "import memoflow")):
        line -= 1
    return lines[line - 2].lstrip().startswith("#") or "#" in lines[line - 1]


def test_modules_of_ours_are_imported_at_the_top() -> None:
    assert len(lazy_imports()) <= LAZY_IMPORTS, lazy_imports()


def test_each_import_in_a_function_says_why() -> None:
    silent = [each for each in lazy_imports() if not has_reason(*each)]
    assert len(silent) <= LAZY_IMPORTS_WITHOUT_REASON, silent


# Those that only flows in subprocesses reach: each is to leave this list.
UNTESTED: set[str] = set()


def test_each_module_of_flow_is_imported_by_a_test() -> None:
    imported: set[str] = set()
    for _, tree in modules("tests"):
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                imported |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
            elif isinstance(node, ast.Import):
                imported |= {each.name for each in node.names}
    known = {
        name.removesuffix(".py").replace("/", ".")
        for name, _ in modules("memoflow/flow")
        if not name.endswith("__init__.py")
    }
    assert known - imported == UNTESTED
