"""Written classes: the statements that made a class, found by its name and by its functions."""

from __future__ import annotations

import ast
import dataclasses
import functools
import sys
from collections.abc import Mapping
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.fingerprint import source
from memoflow.fingerprint.modules import find, place_named
from memoflow.fingerprint.ownership import functions_of, owner_of_function
from memoflow.fingerprint.reads import bound_by
from memoflow.fingerprint.source import SourceFile, function_source


@dataclass(frozen=True)
class WrittenClass:
    """The statements that made a class.

    `node` is its class statement, or None if it has none that can be told; then `statements` are
    those that bind its name, if that is how it came to be.
    """

    module: str
    namespace: Mapping[str, Any]
    path: str
    file: SourceFile | None = None
    node: ast.ClassDef | None = None
    statements: tuple[ast.stmt, ...] = ()
    unnamed: bool = False  # whether its module made it, and by no statement that names it

    @functools.cached_property
    def assigned(self) -> frozenset[str]:
        """The names that the body of its statement binds."""
        body = self.node.body if self.node else ()
        return frozenset(name for statement in body for name in bound_by(statement))

    @functools.cached_property
    def defined(self) -> dict[str, ast.stmt]:
        """The functions and classes in the body of its statement that have decorators."""
        body = self.node.body if self.node else ()
        found = (each for each in body if isinstance(each, source.DECORATED))
        return {each.name: each for each in found if each.decorator_list}


def written_class(cls: type) -> WrittenClass:
    """Return the file and statements that made a user's class, as far as they are certain."""
    home = sys.modules.get(cls.__module__)
    if home is None or place_named(cls.__module__).owner != "user":
        return _by_functions(cls) or WrittenClass(cls.__module__, {}, "")
    namespace = vars(home)
    path = str(namespace.get("__file__") or "")
    file = source.loaded(path) if path else None
    known = WrittenClass(cls.__module__, namespace, path, file)
    if file is None:
        return known
    named = find(cls.__module__, cls.__qualname__) is cls
    node = file.class_(cls.__qualname__)
    if node is not None and (named or _fits(node, cls)):
        return dataclasses.replace(known, node=node)
    found = _by_functions(cls)
    if found is not None:
        return found
    node = file.class_named(cls.__name__)
    if node is not None and _fits(node, cls):
        return dataclasses.replace(known, node=node)
    if not named:
        return known
    top = cls.__qualname__.partition(".")[0]
    bindings = tuple(file.bindings.get(top, ()))
    unnamed = not any(_assigns(each, top) for each in bindings)
    return dataclasses.replace(known, statements=bindings, unnamed=unnamed)


def _assigns(statement: ast.stmt, name: str) -> bool:
    """Tell whether a statement binds a name, rather than changing the bound object."""
    nodes = [each for each in ast.walk(statement) if isinstance(each, (ast.Name, ast.alias))]
    stored = (each.id for each in nodes if isinstance(each, ast.Name) and _is_stored(each))
    imported = (each.asname or each.name for each in nodes if isinstance(each, ast.alias))
    return name in {*stored, *imported}


def _is_stored(node: ast.Name) -> bool:
    return isinstance(node.ctx, ast.Store)


def _fits(node: ast.ClassDef, cls: type) -> bool:
    """Tell whether a class has the definitions of a statement's body."""
    defined = {each.name for each in node.body if isinstance(each, source.DECORATED)}
    return node.name == cls.__name__ and defined <= cls.__dict__.keys()


def _by_functions(cls: type) -> WrittenClass | None:
    """Return the class statement around the functions of a class, under any name."""
    for _, f in functions_of(cls):
        path = f.__code__.co_filename
        if path.startswith("<") or owner_of_function(f) != "user":
            continue
        certain = function_source(path, f.__code__)
        node = certain[0].class_around(certain[1]) if certain else None
        if certain and node is not None and node.name == cls.__name__:
            module = str(f.__globals__.get("__name__", "?"))
            return WrittenClass(module, f.__globals__, path, certain[0], node)
    return None
