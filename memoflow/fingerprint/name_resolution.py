"""Name resolution: chains of names, as the code that reads them sees them."""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

from memoflow.dataclass import dataclass
from memoflow.errors import NoFingerprintError
from memoflow.fingerprint import modules, source
from memoflow.fingerprint.flows import MISSING, NAMES_OF_CLASS, TELLING
from memoflow.fingerprint.literals import kept
from memoflow.fingerprint.modules import location_named, location_of, owner_of
from memoflow.fingerprint.parts import digest_of
from memoflow.fingerprint.reads import Chain, NamesRead, imports_in, reads_of
from memoflow.fingerprint.source import SourceFile, syntax_digest, written, written_in_class
from memoflow.fingerprint.static import candidates, effects_part
from memoflow.fingerprint.values import CODE_TYPES
from memoflow.fingerprint.walk import Walk

_SCRIPTS = ("__main__", "__mp_main__")
_MODULE_NAMES = frozenset(
    {
        "__annotations__", "__builtins__", "__cached__", "__file__", "__loader__", "__name__",
        "__package__", "__path__", "__spec__",
    }
)  # fmt: skip


@dataclass(frozen=True)
class CodeUnit:
    """A piece of code: its namespace for names, and its label for people."""

    shown: str
    module: str
    namespace: Mapping[str, Any]
    cells: Mapping[str, Any]
    path: str
    where: str
    lenient: bool = False  # about names that mean nothing
    within: Mapping[str, Any] = field(default_factory=dict)  # the attributes of its class

    def named(self, name: str) -> str:
        return dotted(self.module, name)


def meanings(held: Mapping[str, str]) -> str:
    """Return the meaning of each name as text: the source of a part of the kind "names"."""
    return "\n".join(f"{name}\t{token!r}" for name, token in sorted(held.items()))


def dotted(module: str, name: str) -> str:
    return name if module == "__main__" else f"{module}.{name}"


def cells_of(f: types.FunctionType) -> dict[str, Any]:
    cells = {}
    for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
        try:
            cells[name] = cell.cell_contents
        except ValueError:
            cells[name] = MISSING
    return cells


def follow_names(walk: Walk, reads: NamesRead, body: CodeUnit) -> dict[str, str]:
    """Follow the names that are read; return their tokens."""
    held: dict[str, str] = {}
    for chain in sorted(reads.names):
        token = _meaning(walk, chain, body)
        if token is not None:
            held[".".join(chain)] = token
    return held


def _meaning(walk: Walk, chain: Chain, f: CodeUnit) -> str | None:
    """Return the token of a chain of names in a function; follow its object."""
    root, *rest = chain
    if root not in f.cells:
        walk.witness.name(f.namespace, root)
    if root in f.cells:
        value, name = f.cells[root], f"{f.shown}.{root}"
        if value is MISSING:
            return "empty"
    elif root in f.namespace:
        if root in _MODULE_NAMES:
            return None
        value, name = f.namespace[root], f.named(root)
        origin = None if isinstance(value, CODE_TYPES) else _origin(walk, root, value, f)
        if origin is not None:
            owner, name = origin
            if owner != "user":
                return f"{name}.{'.'.join(rest)}"
    elif hasattr(builtins, root):
        return None
    else:
        if root in f.within:
            return None  # `@prop.setter`: what a class defines counts with the class.
        if not f.lenient:
            walk.add("code", f.named(root), "missing", f.where)
        return "missing"
    return follow(walk, value, name, rest, f)


def follow(walk: Walk, value: Any, name: str, rest: list[str], f: CodeUnit) -> str | None:
    """Return the token of the attribute `rest` of a value of this name; follow it."""
    namespace = f.namespace
    value = walk.behind(value)
    while isinstance(value, types.ModuleType):
        if rest:
            walk.witness.name(vars(value), rest[0])
        location = walk.home(value)
        inside = rest and rest[0] in vars(value)
        if location.owner != "user" and not (
            location.owner == "installed" and not location.path and inside
        ):
            return f"{value.__name__}.{'.'.join(rest)}{_injected(walk, value, rest)}"
        follow_import(walk, location.name, vars(value))
        namespace = vars(value)
        if not rest:
            return walk.code(value)
        if rest[0] not in namespace:
            walk.static.name(value.__name__, rest[0])
            return f"{value.__name__}.{'.'.join(rest)}"
        first, *rest = rest
        if first in _MODULE_NAMES:
            return None
        name, value = dotted(value.__name__, first), walk.behind(namespace[first])
    if walk.ignores(name):
        return "ignored"
    if walk.flow and any(value is each for each in walk.flow.classes):
        return _flow_class(walk, value, rest, f)
    if isinstance(value, CODE_TYPES):
        if rest and isinstance(value, types.FunctionType):
            walk.witness.name(vars(value), rest[0])
        attribute = getattr(value, "__dict__", {}).get(rest[0]) if rest else None
        if rest and rest[0] == "__doc__":
            attribute = value.__doc__
        known = isinstance(value, type) and rest[:1] != ["__doc__"]
        if attribute is None or known or isinstance(attribute, CODE_TYPES):
            return walk.code(value)
        inner = walk.constant_part(attribute, f"{name}.{rest[0]}", namespace, f.where)
        return f"{walk.code(value)} {inner}"
    if owner_of(type(value)) == "installed":
        made = _made_by_library(walk, value, name, namespace)
        if made is not None:
            return made
    token = walk.constant_part(value, name, namespace, *written(name, namespace, f.where))
    _follow_making(walk, name, namespace)
    return token


def _follow_making(walk: Walk, name: str, namespace: Mapping[str, Any]) -> None:
    """Follow the statements that made a constant whose content does not count."""
    if name not in walk.by_class or name in walk.made:
        return
    walk.made.add(name)
    module, top, namespace = _home(name, namespace)
    found = source.of_namespace(namespace)
    for statement in found.bindings.get(top, ()) if found else ():
        _follow_leniently(walk, [statement], _body_of(found, statement, name, module, namespace))


def _body_of(
    found: SourceFile | None, node: ast.stmt, shown: str, module: str, namespace: Mapping[str, Any]
) -> CodeUnit:
    """Return the code unit of a top-level statement of a module."""
    assert found is not None
    return CodeUnit(shown, module, namespace, {}, found.path, found.where(node), True)


def _follow_leniently(walk: Walk, nodes: Sequence[ast.stmt], body: CodeUnit) -> None:
    """Follow the names that statements read, but for those without a stable meaning."""
    for chain in sorted(reads_of(nodes).names):
        with contextlib.suppress(NoFingerprintError):
            _meaning(walk, chain, body)


def _home(name: str, namespace: Mapping[str, Any]) -> tuple[str, str, Mapping[str, Any]]:
    """Return the module that binds the dotted name of a constant, its name there, and all else."""
    module, _, top = name.rpartition(".")
    home = sys.modules.get(module) if module else None
    if home is not None:
        return module, top, vars(home)
    return module or "__main__", top, namespace


def _injected(walk: Walk, module: types.ModuleType, rest: list[str]) -> str:
    """Return the token of the user's code bound by name in a library's module; else None."""
    value: Any = module
    for name in rest:
        if not isinstance(value, types.ModuleType):
            break
        walk.witness.name(vars(value), name)
        value = vars(value).get(name)
    if isinstance(value, (types.FunctionType, type)) and owner_of(value) == "user":
        return f" {walk.code(value)}"
    return ""


def _made_by_library(walk: Walk, value: Any, name: str, namespace: Mapping[str, Any]) -> str | None:
    """Return the token of an object that a library made of the user's code, or None.

    What the library keeps in it may differ in each process. What it was made of, and the
    statements that made it, are the user's.
    """
    try:
        wrapped = value.__wrapped__
    except Exception:  # Proxies may raise anything.
        wrapped = None
    module, top, namespace = _home(name, namespace)
    found = source.of_namespace(namespace)
    statements = [] if found is None or top in found.imported else found.bindings.get(top, [])
    defined = [each for each in statements if isinstance(each, source.DECORATED)]
    if not isinstance(wrapped, (types.FunctionType, type)):
        if not defined:
            return None
        wrapped = None
    known = walk.tokens.get(id(value))
    if known is not None:
        return known
    walk.tokens[id(value)] = f"cycle {name}"  # What it was filled with names it.
    tokens = [] if wrapped is None else [walk.code(wrapped)]
    if found is not None:
        filled = [node for node in found.definitions if node.name in found.registered(top)]
        for node in [*statements, *filled]:
            body = _body_of(found, node, dotted(module, top), module, namespace)
            tokens.append(follow_statement(walk, node, body))
    token = walk.tokens[id(value)] = f"{walk.code(type(value))}({','.join(tokens)})"
    return token


def follow_statement(walk: Walk, node: ast.stmt, body: CodeUnit) -> str:
    """Return the token of a statement, for a value that a library made when it ran."""
    found = source.loaded(body.path)
    origin = "changed since" if found is None or found.changed else "as loaded"
    held = follow_names(walk, reads_of([node]), body)
    names = (text for pair in sorted(held.items()) for text in pair)
    text = found.text(node) if found else ""
    digest = digest_of(origin, kept(text, syntax_digest(node), walk.mask), *names)
    walk.add("code", body.shown, digest, body.where, source=text)
    return f"made by {digest}"


def _origin(walk: Walk, name: str, value: Any, f: CodeUnit) -> tuple[str, str] | None:
    """Return (owner, dotted name) of a constant that the module of `f` imported."""
    found = source.loaded(f.path) if f.path else None
    if found is None or name not in found.imported:
        return None
    for statement in found.bindings.get(name, ()):
        for target in imports_in(statement, name):
            package = str(f.namespace.get("__package__") or "")
            module = modules.absolute(target.module, target.level, package)
            home = sys.modules.get(module)
            attribute = name if target.name == "*" else target.name
            if home is None or attribute is None:
                continue
            if vars(home).get(attribute, MISSING) is value:
                location = walk.home(module)
                # A number counts by its value, an object of a library by the library.
                if location.owner != "user" and type(value).__module__ == "builtins":
                    return None
                return location.owner, dotted(module, attribute)
    return None


def _flow_class(walk: Walk, cls: type, rest: list[str], f: CodeUnit) -> str | None:
    """Follow an attribute of a flow class that code names."""
    assert walk.flow is not None
    if not rest:
        return walk.code(cls)
    if rest[0] in NAMES_OF_CLASS:
        walk.name_flow(cls)
    if rest[0] in TELLING:
        walk.escape(public=True)
    for each in cls.__mro__:
        if rest[0] in each.__dict__ and each in walk.flow.classes:
            value = each.__dict__[rest[0]]
            if isinstance(value, CODE_TYPES):
                return walk.code(value)
            where, text = written_in_class(each, rest[0])
            shown = f"{cls.__qualname__}.{rest[0]}"
            return walk.constant_part(value, shown, f.namespace, where, text)
    return None


def follow_loaded(walk: Walk, reads: NamesRead, body: CodeUnit, package: str) -> dict[str, str]:
    """Follow a function's repeated import of a loaded module: others may have put more there."""
    held: dict[str, str] = {}
    for target in sorted(reads.imports, key=repr):
        module = modules.absolute(target.module, target.level, package)
        if target.name == "*" or not _is_followed(walk, module, body):
            continue
        rest = [*([target.name] if target.name else []), *target.chain]
        # The file counts already; what is loaded need not have a meaning.
        with contextlib.suppress(NoFingerprintError):
            token = follow(walk, sys.modules[module], module, rest, body)
            if token is not None:
                held[f"import {module}.{'.'.join(rest)}"] = token
    return held


def _is_followed(walk: Walk, module: str, body: CodeUnit) -> bool:
    """Return whether the loaded form of a module counts, beside its file.

    In another process a step may have loaded more or less, so there only what its module has
    surely loaded does. A function that is called finds what this process has.
    """
    if not walk.is_called:
        return module in _closure(walk, body.module)
    home = sys.modules.get(module)
    return home is not None and location_of(home).owner == "user"


def _closure(walk: Walk, module: str) -> frozenset[str]:
    """Return the user's modules that a loaded one has loaded, however deep."""
    known = walk.closures.get(module)
    if known is not None:
        return known
    seen: set[str] = set()
    todo = [module, *([walk.flow.cls.__module__] if walk.flow else [])]
    while todo:
        home = sys.modules.get(name := todo.pop())
        walk.witness.module(name)
        if name in seen or home is None or location_of(home).owner != "user":
            continue
        seen.add(name)
        found = source.of_namespace(vars(home))
        package = str(vars(home).get("__package__") or "")
        for ran in found.certain_imports if found else ():
            todo += candidates(ran, package)
    walk.closures[module] = frozenset(seen)
    return walk.closures[module]


def follow_import(walk: Walk, module: str, namespace: Mapping[str, Any]) -> None:
    """Add the side effects of importing a user's module."""
    if module in walk.ran:
        return
    walk.ran.add(module)
    found = source.of_namespace(namespace)
    if found is None:
        return
    if found.effects and not (walk.is_called and module in _SCRIPTS):
        walk.parts.append(effects_part(found, module, walk.mask))
        body = _body_of(found, found.effects[0], f"import {module}", module, namespace)
        _follow_leniently(walk, found.effects, body)
    for node in found.definitions:
        if any(_registers(each, namespace) for each in node.decorator_list):
            value = namespace.get(node.name)
            shown, text = dotted(module, node.name), found.text(node)
            syntax = kept(text, syntax_digest(node), walk.mask)
            walk.add("code", shown, syntax, found.where(node), source=text)
            if isinstance(value, CODE_TYPES):
                walk.code(value)
    # What these define does not matter unless it is read, but they ran as well.
    for ran in found.imports:
        for name in candidates(ran, str(namespace.get("__package__") or "")):
            inner = sys.modules.get(name)
            if inner is not None and location_of(inner).owner == "user":
                walk.todo.append(functools.partial(follow_import, walk, name, vars(inner)))


def _registers(decorator: ast.expr, namespace: Mapping[str, Any]) -> bool:
    """Return whether a decorator registers its function with a library."""
    if "regist" not in ast.unparse(decorator).lower():
        return False
    value = namespace.get(source.root_of(decorator))
    home = value.__name__ if isinstance(value, types.ModuleType) else None
    home = home or getattr(value, "__module__", None) or type(value).__module__
    return location_named(str(home)).owner == "installed"
