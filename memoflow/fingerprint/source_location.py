"""Source locations: the file, line and text that bind a name; for people, never in a digest."""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from memoflow.fingerprint import source
from memoflow.fingerprint.reads import bound_by
from memoflow.fingerprint.source import SourceFile


def written(name: str, namespace: Mapping[str, Any], otherwise: str) -> tuple[str, str]:
    """Return "file:line" and text of the statement that binds `name` or `module.name`.

    `otherwise` and no text if that cannot be told, as for what a closure holds.
    """
    module, _, top = name.rpartition(".")
    home = vars(sys.modules[module]) if module in sys.modules else {} if module else namespace
    file = _file(home.get("__file__"))
    return _first(file, file.bindings.get(top, ()) if file else (), otherwise)


def written_in_class(cls: type, name: str) -> tuple[str, str]:
    """Return "file:line" and text of the statement that binds `name` in a class, if known."""
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    file = _file(path)
    node = file.class_(cls.__qualname__) if file else None
    bound = [each for each in (node.body if node else ()) if name in bound_by(each)]
    return _first(file, bound, os.path.basename(str(path or "")))


def _file(path: object) -> SourceFile | None:
    file = source.loaded(path) if isinstance(path, str) else None
    # What was written since need not be what made the value.
    return None if file is None or file.changed else file


def _first(
    file: SourceFile | None, statements: Sequence[ast.stmt], otherwise: str
) -> tuple[str, str]:
    if file is None or not statements:
        return otherwise, ""
    return file.place(statements[0]), file.text(*statements)
