"""Sources: parsed files of Python code, and the proof that the loaded code came from them."""

from __future__ import annotations

import ast
import functools
import linecache
import os
import sys
import time
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType
from typing import Any

from xxhash import xxh3_128_hexdigest

from memoflow.fingerprint.reads import Import, bound_by, reads_of

_LOADED = time.time()
_HARMLESS = frozenset({"logging", "print", "sys", "warnings"})  # they do not change results
_SKIPPED = frozenset({"ctx", "type_comment", "kind", "type_ignores"})
DECORATED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class SourceFile:
    """One file as read at one time.

    `changed` says that it was written after this process began, so that what was imported from
    it may be older.
    """

    def __init__(self, path: str, text: str, stamp: tuple[int, int] | None) -> None:
        self.path = path
        self.stamp = stamp
        self.changed = stamp is not None and stamp[0] > _LOADED * 1e9
        self.tree = ast.parse(text, path)
        self._text = text
        self._classes: dict[str, ast.ClassDef | None] = {}
        self._functions: dict[tuple[str, int], list[Function]] | None = None
        self._codes: dict[tuple[str, int], list[CodeType]] = {}

    def function(self, code: CodeType) -> Function | None:
        """Return the syntax that a loaded function was made from, or None unless it is certain."""
        if self._functions is None:
            self._functions = {}
            for node in ast.walk(self.tree):
                if isinstance(node, _DEFINITIONS):
                    key = getattr(node, "name", "<lambda>"), lines_of(node)[0]
                    self._functions.setdefault(key, []).append(node)
            module = compile(self.tree, self.path, "exec", dont_inherit=True)
            for inner in _codes(module):
                key = inner.co_name, inner.co_firstlineno
                self._codes.setdefault(key, []).append(inner)
        key = code.co_name, code.co_firstlineno
        nodes = self._functions.get(key, [])
        if len(nodes) == 1 and any(other == code for other in self._codes.get(key, ())):
            return nodes[0]
        return None

    @functools.cached_property
    def _lines(self) -> list[str]:
        return self._text.split("\n")

    def text(self, *nodes: ast.AST, shallow: bool = False) -> str:
        """Return the lines of statements, for people; `shallow` leaves out functions in a class."""
        kept: list[str] = []
        for node in nodes:
            first, last = lines_of(node)
            within = node.body if shallow and isinstance(node, ast.ClassDef) else ()
            for each in within:
                if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    start, end = lines_of(each)
                    kept += self._lines[first - 1 : start - 1]
                    first = end + 1
            kept += self._lines[first - 1 : last]
        return "\n".join(kept)

    def where(self, node: ast.AST) -> str:
        return f"{os.path.basename(self.path)}:{lines_of(node)[0]}"

    @functools.cached_property
    def qualnames(self) -> dict[int, str]:
        """The names that Python gives functions and classes by where they are written, by id."""
        found: dict[int, str] = {}
        todo: list[tuple[ast.AST, str]] = [(self.tree, "")]
        while todo:
            node, within = todo.pop()
            for child in ast.iter_child_nodes(node):
                inner = within
                if isinstance(child, (*_DEFINITIONS, ast.ClassDef)):
                    name = f"{within}{getattr(child, 'name', '<lambda>')}"
                    found[id(child)] = name
                    inner = f"{name}." if isinstance(child, ast.ClassDef) else f"{name}.<locals>."
                todo.append((child, inner))
        return found

    def class_(self, qualname: str) -> ast.ClassDef | None:
        """Return the one class statement of this name, `Outer.Inner` for a nested one."""
        if qualname in self._classes:
            return self._classes[qualname]
        body: list[ast.stmt] = self.tree.body
        found: ast.ClassDef | None = None
        for name in qualname.split("."):
            inner = [node for statement in body for node in _flat(statement)]
            classes = [each for each in inner if isinstance(each, ast.ClassDef)]
            named = [each for each in classes if each.name == name]
            found = named[0] if len(named) == 1 else None
            if found is None:
                break
            body = found.body
        self._classes[qualname] = found
        return found

    def class_named(self, name: str) -> ast.ClassDef | None:
        """Return the one class statement of this name, wherever it stands."""
        found = [each for each in self._all_classes if each.name == name]
        return found[0] if len(found) == 1 else None

    @functools.cached_property
    def _all_classes(self) -> list[ast.ClassDef]:
        return [each for each in ast.walk(self.tree) if isinstance(each, ast.ClassDef)]

    @functools.cached_property
    def classes_around(self) -> dict[int, ast.ClassDef]:
        """The class statements around functions and other statements, by id."""
        return {id(inner): each for each in self._all_classes for inner in each.body}

    @functools.cached_property
    def imported(self) -> frozenset[str]:
        """The top-level names that an import statement binds."""
        return frozenset(name for each in self._import_statements for name in bound_by(each))

    @functools.cached_property
    def imports(self) -> list[Import]:
        """The modules that importing this one imports; perhaps, if it stands in a block."""
        return sorted(reads_of(self._import_statements).ran, key=repr)

    @functools.cached_property
    def _import_statements(self) -> list[ast.Import | ast.ImportFrom]:
        statements = (inner for statement in self.tree.body for inner in _flat(statement))
        return [each for each in statements if isinstance(each, (ast.Import, ast.ImportFrom))]

    @functools.cached_property
    def certain_imports(self) -> list[Import]:
        """The modules that importing this one always imports."""
        plain = (each for each in self.tree.body if isinstance(each, (ast.Import, ast.ImportFrom)))
        return sorted(reads_of(plain).ran, key=repr)

    @functools.cached_property
    def definitions(self) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
        """The functions and classes at the top level that have decorators."""
        found = (each for each in self.tree.body if isinstance(each, DECORATED))
        return [each for each in found if each.decorator_list]

    @functools.cached_property
    def bindings(self) -> dict[str, list[ast.stmt]]:
        """Top-level name -> the statements that bind or change it, in their order."""
        bindings: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            if is_main_guard(statement):
                continue
            names = bound_by(statement)
            for inner in _flat(statement):
                root = _called_on(inner)
                if root and root not in self.imported:
                    names.add(root)
            for name in names:
                bindings.setdefault(name, []).append(statement)
        return bindings

    def registered(self, name: str) -> list[str]:
        """Return the functions and classes that their decorators may register in `name`."""
        definitions = [each for each in self.tree.body if isinstance(each, DECORATED)]
        fillers = {name}
        for each in definitions:
            if any(chain[0] == name for chain in reads_of([each]).names):
                fillers.add(each.name)
        decorated = ((each.name, set(map(root_of, each.decorator_list))) for each in definitions)
        return [name for name, roots in decorated if roots & fillers]

    @functools.cached_property
    def effects(self) -> list[ast.stmt]:
        """The top-level statements that act on something other than the names of this module.

        `np.random.seed(0)` or `os.environ["X"] = "1"`; not what only tells or logs.
        """
        body = (each for each in self.tree.body if not is_main_guard(each))
        return [each for each in body if any(map(self._is_effect, _flat(each)))]

    def _is_effect(self, statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            root = root_of(statement.value)
            on_itself = root in self.bindings and bool(_called_on(statement))
            return root not in _HARMLESS and (root in self.imported or not on_itself)
        if isinstance(statement, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete)):
            changed = (ast.Attribute, ast.Subscript)
            roots = {root_of(each) for each in _targets(statement) if isinstance(each, changed)}
            return bool((roots & self.imported) - _HARMLESS)
        return False


def root_of(node: ast.AST) -> str:
    """Return the name that a chain of attributes, items and calls starts from, or ""."""
    while True:
        if isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, (ast.Attribute, ast.Subscript)):
            node = node.value
        else:
            return str(node.id) if isinstance(node, ast.Name) else ""


def _targets(statement: ast.stmt) -> list[Any]:
    return getattr(statement, "targets", None) or [getattr(statement, "target", None)]


def _called_on(statement: ast.stmt) -> str:
    """Return NAME for a statement `NAME.method(...)`, "" for any other."""
    call = statement.value if isinstance(statement, ast.Expr) else None
    is_method = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
    return root_of(call) if call and is_method else ""


def _flat(statement: ast.stmt) -> Iterator[ast.stmt]:
    """Yield a statement and those in its blocks, but nothing inside functions and classes."""
    yield statement
    if not isinstance(statement, (*_DEFINITIONS, ast.ClassDef)):
        for child in ast.iter_child_nodes(statement):
            if isinstance(child, ast.stmt):
                yield from _flat(child)
            elif isinstance(child, ast.ExceptHandler):
                for inner in child.body:
                    yield from _flat(inner)


def lines_of(node: ast.AST) -> tuple[int, int]:
    """Return the first line of a statement, with its decorators, and its last."""
    statement: Any = node
    lines = [each.lineno for each in getattr(node, "decorator_list", ())]
    return min([statement.lineno, *lines]), statement.end_lineno


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def is_main_guard(statement: ast.stmt) -> bool:
    """Return whether this is `if __name__ == "__main__":`."""
    test = statement.test if isinstance(statement, ast.If) else None
    sides = (test.left, *test.comparators) if isinstance(test, ast.Compare) else ()
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)


_SOURCES: dict[str, SourceFile | None] = {}


def loaded(path: str) -> SourceFile | None:
    """Return the source at `path` as first read in this process, or None if there is none."""
    return _SOURCES[path] if path in _SOURCES else current(path)


def of_namespace(namespace: Mapping[str, Any]) -> SourceFile | None:
    """Return the source of a module as first read in this process, or None if there is none."""
    path = namespace.get("__file__")
    return loaded(path) if isinstance(path, str) else None


def current(path: str) -> SourceFile | None:
    """Return the source at `path` as it is now, or None if it cannot be read or parsed."""
    stamp = _stamp(path)
    known = _SOURCES.get(path)
    if known is not None and known.stamp == stamp:
        return known
    try:
        if stamp is None:
            # What a notebook ran; linecache is where it leaves the text for tracebacks.
            lines = linecache.cache.get(path, ())
            source = SourceFile(path, "".join(lines[2]), None) if len(lines) == 4 else None
        else:
            with tokenize.open(path) as file:
                source = SourceFile(path, file.read(), stamp)
    except (OSError, SyntaxError, ValueError, UnicodeError):
        source = None
    _SOURCES[path] = source
    return source


def _stamp(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def function_source(path: str, code: CodeType) -> tuple[SourceFile, Function] | None:
    """Return the file at `path` and the syntax that `code` was made from, None unless certain."""
    source = loaded(path)
    node = source.function(code) if source else None
    if node is None and source is not None and source.stamp != _stamp(path):
        source = current(path)
        node = source.function(code) if source else None
    return None if source is None or node is None else (source, node)


def syntax_digest(
    *nodes: ast.AST,
    decorators: bool = True,
    shallow: bool = False,
    without: frozenset[str] = frozenset(),
) -> str:
    """Digest syntax: no positions, no comments, no docstrings.

    `shallow` leaves out the functions in a class body, and the values that its body gives to
    the names in `without`: those are parts of their own.
    """
    out: list[str] = []
    for node in nodes:
        if shallow and isinstance(node, ast.ClassDef):
            _write_class(node, out, without)
        elif not decorators and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            _write(node, out, skip="decorator_list")
        else:
            _write(node, out)
    return xxh3_128_hexdigest("".join(out).encode("utf-8", "surrogatepass"))


def _write(node: object, out: list[str], *, skip: str = "") -> None:
    if isinstance(node, ast.AST):
        out.append(type(node).__name__)
        out.append("(")
        for name in node._fields:
            if name not in _SKIPPED and name != skip:
                _write(getattr(node, name, None), out)
        out.append(")")
    elif isinstance(node, list):
        out.append("[")
        for child in node:
            # A text or number that stands alone is a docstring or a comment.
            if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
                _write(child, out)
        out.append("]")
    else:
        out.append(repr(node) if not isinstance(node, frozenset) else repr(sorted(node)))
        out.append(",")


def _write_class(node: ast.ClassDef, out: list[str], without: frozenset[str]) -> None:
    _write([node.name, *node.bases, *node.keywords, *node.decorator_list], out)
    for statement in node.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and bound_by(statement) <= without:
            _write([*_targets(statement), getattr(statement, "annotation", None)], out)
        else:
            _write(statement, out)


def written(name: str, namespace: Mapping[str, Any], otherwise: str) -> tuple[str, str]:
    """Return "file:line" and text of the statement that binds `name` or `module.name`.

    `otherwise` and no text if that cannot be told, as for what a closure holds.
    """
    module, _, top = name.rpartition(".")
    home = vars(sys.modules[module]) if module in sys.modules else {} if module else namespace
    file = _unchanged(home)
    return _first(file, file.bindings.get(top, ()) if file else (), otherwise)


def written_in_class(cls: type, name: str) -> tuple[str, str]:
    """Return "file:line" and text of the statement that binds `name` in a class, if known."""
    path = getattr(sys.modules.get(cls.__module__), "__file__", None)
    file = _unchanged({"__file__": path})
    node = file.class_(cls.__qualname__) if file else None
    bound = [each for each in (node.body if node else ()) if name in bound_by(each)]
    return _first(file, bound, os.path.basename(str(path or "")))


def _unchanged(namespace: Mapping[str, Any]) -> SourceFile | None:
    file = of_namespace(namespace)
    # What was written since need not be what made the value.
    return None if file is None or file.changed else file


def _first(
    file: SourceFile | None, statements: Sequence[ast.stmt], otherwise: str
) -> tuple[str, str]:
    if file is None or not statements:
        return otherwise, ""
    return file.where(statements[0]), file.text(*statements)
