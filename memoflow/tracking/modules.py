"""Modules: the user's code that modules loaded by a computed name import in turn."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Mapping

from memoflow.fingerprint import source
from memoflow.fingerprint.modules import absolute, place_of
from memoflow.fingerprint.reads import reads_of
from memoflow.fingerprint.static import candidates


def with_imports(code: Mapping[str, str]) -> dict[str, str]:
    """Return module names by file: those given, and all of the user's that they import.

    Only modules that are loaded: what was not did nothing.
    """
    found: dict[str, str] = {}
    ahead = list(code.items())
    while ahead:
        path, module = ahead.pop()
        if path in found:
            continue
        found[path] = module
        for name in _imports(path, module):
            home = sys.modules.get(name)
            if home is None or place_of(home).owner != "user":
                continue
            file = vars(home).get("__file__")
            if isinstance(file, str) and file.endswith(".py"):
                ahead.append((os.path.abspath(file), name))
    return found


def _imports(path: str, module: str) -> Iterator[str]:
    """Yield the names of the modules that the statements in a file may import."""
    parsed = source.current(path)
    if parsed is None:
        return
    is_package = os.path.basename(path) == "__init__.py"
    package = module if is_package else module.rpartition(".")[0]
    kinds = (ast.Import, ast.ImportFrom)
    statements = [node for node in ast.walk(parsed.tree) if isinstance(node, kinds)]
    for ran in reads_of(statements).ran:
        yield from candidates(ran, package)
        yield absolute(ran.module, ran.level, package)
