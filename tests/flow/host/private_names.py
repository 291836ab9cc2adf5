"""Uses of Metaflow's private names in a module, found in its text.

Types are unknown there, so a name counts as Metaflow's if Metaflow's own sources define it and the
object that is asked for it is none of the module's own.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import metaflow

_NAMED_TUPLE = {"_asdict", "_field_defaults", "_fields", "_make", "_replace"}  # public, as Python's
_ATTRIBUTE_CALLS = {"attrgetter", "delattr", "getattr", "getattr_static", "hasattr", "setattr"}
_PATCHES = {"delattr", "setattr"}


@cache
def of_metaflow() -> frozenset[str]:
    """Return the private names that the installed Metaflow defines: attributes and modules."""
    root = Path(metaflow.__file__).parent
    found = {"_vendor"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how a text in there is written
        for path in root.rglob("*.py"):
            if "_vendor" not in path.relative_to(root).parts:
                found.add(path.stem)
                found.update(_defined(ast.parse(path.read_text())))
    return frozenset(name for name in found if is_private(name)) - _NAMED_TUPLE


def is_private(name: str) -> bool:
    is_special = name.startswith("__") and name.endswith("__")
    return name.startswith("_") and not is_special and name.strip("_") != ""


def uses(text: str) -> list[tuple[int, str]]:
    """Return the lines of a module that use a private name of Metaflow's, or patch it."""
    return sorted(set(_Module(ast.parse(text)).uses()))


class _Module:
    def __init__(self, tree: ast.Module) -> None:
        self._tree = tree
        self._metaflows = {
            (alias.asname or alias.name).partition(".")[0]
            for node in ast.walk(tree)
            for alias in _imported(node)
        }
        self._classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}

    def uses(self) -> Iterator[tuple[int, str]]:
        yield from self._in_scope(self._tree, mine=set(), foreign=frozenset())

    def _in_scope(
        self, scope: ast.AST, *, mine: set[str], foreign: frozenset[str]
    ) -> Iterator[tuple[int, str]]:
        """Yield the uses below a node.

        `mine` are the names of objects of the module's own classes there, `foreign` the names that
        even those have from Metaflow.
        """
        for node in ast.iter_child_nodes(scope):
            yield from self._use(node, mine, foreign)
            inner, theirs = mine, foreign
            if isinstance(node, ast.ClassDef):
                is_metaflows = any(_root(base) in self._metaflows for base in node.bases)
                theirs = of_metaflow() - set(_defined(node)) if is_metaflows else frozenset()
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                given = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
                own = {each.arg for each in node.args.args[: isinstance(scope, ast.ClassDef)]}
                inner = (mine - given) | own | self._annotated(node.args)
                inner |= _aliases(node, inner)
            yield from self._in_scope(node, mine=inner, foreign=theirs)

    def _use(
        self, node: ast.AST, mine: set[str], foreign: frozenset[str]
    ) -> Iterator[tuple[int, str]]:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in _imported(node):
                of = node.module or "" if isinstance(node, ast.ImportFrom) else ""
                path = f"{of}.{alias.name}".strip(".")
                if any(map(is_private, path.split("."))):
                    yield node.lineno, path
        elif isinstance(node, ast.Attribute) and node.attr in of_metaflow():
            is_own = isinstance(node.value, ast.Name) and node.value.id in mine
            if not is_own or node.attr in foreign:
                yield node.lineno, node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if re.fullmatch(r"[\w.]+", node.value):
                for name in node.value.split("."):
                    if name in of_metaflow():
                        yield node.lineno, name
        elif isinstance(node, ast.Call):
            yield from self._call(node)
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete)):
            one = [] if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]
            targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else one
            for target in targets:
                if isinstance(target, ast.Attribute) and _root(target) in self._metaflows:
                    yield node.lineno, f"{ast.unparse(target)} = "

    def _call(self, node: ast.Call) -> Iterator[tuple[int, str]]:
        called = ast.unparse(node.func).rpartition(".")[2]
        if called not in _ATTRIBUTE_CALLS:
            return
        if called in _PATCHES and node.args and _root(node.args[0]) in self._metaflows:
            yield node.lineno, f"{called}({ast.unparse(node.args[0])}, ...)"
        for part in ast.walk(node.args[-1] if called == "attrgetter" else node):
            if isinstance(part, (ast.JoinedStr, ast.BinOp)):  # A name that is put together.
                texts = [each for each in ast.walk(part) if isinstance(each, ast.Constant)]
                if texts and str(texts[0].value).startswith("_"):
                    yield node.lineno, ast.unparse(part)

    def _annotated(self, arguments: ast.arguments) -> set[str]:
        """Return the parameters that are said to be of a class of the module."""
        return {
            node.arg
            for node in ast.walk(arguments)
            if isinstance(node, ast.arg)
            and node.annotation is not None
            and ast.unparse(node.annotation).strip("'\"") in self._classes
        }


def _aliases(function: ast.AST, mine: set[str]) -> set[str]:
    """Return the other names that a function gives to these objects."""
    return {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Name)
        and node.value.id in mine
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _imported(node: ast.AST) -> list[ast.alias]:
    """Return what an import statement takes from Metaflow."""
    if isinstance(node, ast.ImportFrom):
        return node.names if (node.module or "").partition(".")[0] == "metaflow" else []
    if isinstance(node, ast.Import):
        return [alias for alias in node.names if alias.name.partition(".")[0] == "metaflow"]
    return []


def _defined(tree: ast.AST) -> Iterator[str]:
    """Yield the names that classes, functions and assignments below a node define."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def _root(node: ast.AST) -> str:
    """Return the name that an expression begins with, "" for a call and the like."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
