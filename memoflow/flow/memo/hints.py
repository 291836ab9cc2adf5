"""Hints: what a step uses that its key does not have: the clock, chance, environment and files.

Told from the syntax of the user's functions that the step can reach by name, and from the files
that were opened while it ran. Nothing is replaced or slowed down for it. What libraries do inside
does not count: they read the clock and the environment all the time.
"""

from __future__ import annotations

import ast
import datetime
import functools
import os
import random
import stat
import sys
import tempfile
import time
import types
from collections.abc import Iterable, Mapping
from typing import Any

from memoflow.fingerprint.packages import OURS, is_stdlib, site_of
from memoflow.fingerprint.source import loaded
from memoflow.flow.memo.lookup import Memoized
from memoflow.store import Store

_MOST_FUNCTIONS = 2000
_MOST_NAMED = 5

# Not `monotonic` and `perf_counter`, which only tell how long something took.
_KNOWN = {
    "os": frozenset(["getpid", "urandom"]),
    "secrets": frozenset(["choice", "randbelow", "randbits", "token_bytes", "token_hex"]),
    "time": frozenset(["ctime", "gmtime", "localtime", "time", "time_ns"]),
    "uuid": frozenset(["uuid1", "uuid4"]),
}
_OF_CLASSES: Mapping[type, frozenset[str]] = {
    datetime.datetime: frozenset(["now", "today", "utcnow"]),
    datetime.date: frozenset(["today"]),
}
# In each of these, all draw from one state that was not given, unless something sets it.
_CHANCE = {
    "numpy.random": frozenset(
        ["choice", "normal", "permutation", "rand", "randint", "randn", "random", "random_sample",
         "shuffle", "standard_normal", "uniform"]
    ),
    "random": frozenset(
        ["betavariate", "choice", "choices", "expovariate", "gauss", "getrandbits", "normalvariate",
         "randbytes", "randint", "random", "randrange", "sample", "shuffle", "uniform"]
    ),
    "torch": frozenset(["normal", "rand", "randint", "randn", "randperm"]),
}  # fmt: skip
# A generator of chance that is made without a seed.
_MAKERS = {("numpy.random", "default_rng"), ("numpy.random", "RandomState"), ("random", "Random")}
_SEEDS = frozenset(["manual_seed", "seed", "seed_all", "seed_everything", "set_seed"])

Chain = tuple[str, ...]

# Imported before a step runs: what is written later is no input of it.
_STARTED = time.time()


def of_step(memoized: Memoized, opened: Iterable[str], store: Store, run_id: str) -> list[str]:
    """Return at most one hint, and none again in the same run on this machine."""
    found = {**of_code(memoized.shape.flow, memoized.step), **_files(opened)}
    declared = _declared(memoized)
    ignored = memoized.options.ignore | declared
    left = {
        name: where
        for name, where in found.items()
        if name not in ignored and name.partition("[")[0] not in ignored
    }
    if not left:
        return []
    fact = f"hint:{memoized.shape.flow.__name__}/{memoized.step}"
    if store.index.recall([fact]).get(fact) == run_id:
        return []
    store.index.remember({fact: run_id})
    named = [f"{name} ({where})" if where else name for name, where in left.items()]
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    plain = dict.fromkeys(name.partition("[")[0] for name in left)
    quoted = ", ".join(f'"{name}"' for name in plain)
    return [
        f"{memoized.step} uses {', '.join(named[:_MOST_NAMED])}{more}, which its key does not "
        "have: pass it in as an artifact or parameter, or set a ttl; "
        f"@memoize(ignore=[{quoted}]) if it does not matter"
    ]


def of_code(flow: type, step: str) -> dict[str, str]:
    """Return what the code of a step uses, as people write it, and where it first does."""
    reader = _Reader(flow)
    reader.follow(getattr(flow, step), bound=True)
    reader.read()
    if reader.seeded:
        return {name: where for name, where in reader.found.items() if name not in reader.chance}
    return reader.found


def _declared(memoized: Memoized) -> set[str]:
    """Return the environment variables that @environment sets, which are in the key."""
    return {
        f"os.environ[{name!r}]"
        for deco in getattr(memoized.shape.flow, memoized.step).decorators
        if deco.name == "environment"
        for name in deco.attributes.get("vars") or ()
    }


class _Reader:
    """Reads the functions of the user's that one leads to."""

    def __init__(self, flow: type) -> None:
        self.found: dict[str, str] = {}
        self.chance: set[str] = set()
        self.seeded = False
        self._flow = flow
        self._todo: list[tuple[types.FunctionType, bool]] = []
        self._seen: set[int] = set()

    def follow(self, value: Any, *, bound: bool = False) -> None:
        """Read a function, or the methods of a class, if it is the user's."""
        value = getattr(value, "__func__", value)
        if isinstance(value, property):
            value = value.fget
        if id(value) in self._seen:
            return
        if isinstance(value, type):
            self._seen.add(id(value))
            path = getattr(sys.modules.get(value.__module__), "__file__", None)
            if _is_users(value.__module__, path or ""):
                for each in vars(value).values():
                    self.follow(each)
        elif isinstance(value, types.FunctionType):
            self._seen.add(id(value))
            if _is_users(str(value.__globals__.get("__name__")), value.__code__.co_filename):
                self._todo.append((value, bound))

    def read(self) -> None:
        for _ in range(_MOST_FUNCTIONS):
            if not self._todo:
                return
            self._function(*self._todo.pop())

    def _function(self, f: types.FunctionType, bound: bool) -> None:
        source = loaded(os.path.abspath(f.__code__.co_filename))
        node = None if source is None else source.function(f.__code__)
        if node is None:
            return
        names = _Names(f, node)
        first = node.args.args[0].arg if bound and node.args.args else None
        shown = os.path.basename(f.__code__.co_filename)
        for inner in ast.walk(node):
            if isinstance(inner, ast.Call):
                self._call(inner, names, f"{shown}:{inner.lineno}")
            if isinstance(inner, ast.Subscript):
                self._item(inner, names, f"{shown}:{inner.lineno}")
            if isinstance(inner, (ast.Name, ast.Attribute)):
                chain = _chain(inner)
                if chain and chain[0] == first and len(chain) > 1:
                    method = getattr(self._flow, chain[1], None)
                    if not hasattr(method, "is_step"):  # As `self.next` names them.
                        self.follow(method, bound=True)
                elif chain:
                    self._name(chain, names, f"{shown}:{inner.lineno}")

    def _name(self, chain: Chain, names: _Names, where: str) -> None:
        owner, value = names.find(chain)
        if value is None:
            return
        self.follow(value)
        for cls, known in _OF_CLASSES.items():
            if owner is cls and chain[-1] in known:
                self.found.setdefault(f"{cls.__name__}.{chain[-1]}", where)

    def _call(self, node: ast.Call, names: _Names, where: str) -> None:
        chain = _chain(node.func)
        if not chain:
            return
        owner, value = names.find(chain)
        self.seeded |= chain[-1] in _SEEDS and bool(node.args or node.keywords)
        module = _module(owner, value)
        name = getattr(value, "__name__", chain[-1])
        if module == "os" and name == "getenv":
            self._variable(node.args[:1], where)
        elif owner is os.environ and chain[-1] in ("copy", "get", "items", "keys", "values"):
            self._variable(node.args[:1] if chain[-1] == "get" else [], where)
        elif (module, name) in _MAKERS:
            if not node.args and not node.keywords:
                self.found.setdefault(f"{module}.{name}", where)
        elif name in _KNOWN.get(module, ()) or name in _CHANCE.get(module, ()):
            self.found.setdefault(f"{module}.{name}", where)
            if module in _CHANCE:
                self.chance.add(f"{module}.{name}")

    def _item(self, node: ast.Subscript, names: _Names, where: str) -> None:
        chain = _chain(node.value)
        if chain and isinstance(node.ctx, ast.Load) and names.find(chain)[1] is os.environ:
            self._variable([node.slice], where)

    def _variable(self, arguments: list[ast.expr], where: str) -> None:
        name = arguments[0].value if arguments and isinstance(arguments[0], ast.Constant) else None
        self.found.setdefault("os.environ" if name is None else f"os.environ[{name!r}]", where)


class _Names:
    """What the names in a function stand for: what it imports itself, then its globals."""

    def __init__(self, f: types.FunctionType, node: ast.AST) -> None:
        self._globals = f.__globals__
        self._local: dict[str, Any] = {}
        self._hidden = {*f.__code__.co_varnames, *f.__code__.co_cellvars}
        for inner in ast.walk(node):
            if isinstance(inner, ast.Import):
                for alias in inner.names:
                    top = alias.name if alias.asname else alias.name.partition(".")[0]
                    self._local[alias.asname or top] = sys.modules.get(top)
            elif isinstance(inner, ast.ImportFrom) and not inner.level:
                module = sys.modules.get(inner.module or "")
                for alias in inner.names:
                    self._local[alias.asname or alias.name] = _member(module, alias.name)
        cells = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
        for name, cell in cells:
            try:
                self._local.setdefault(name, cell.cell_contents)
            except ValueError:
                continue  # Not bound yet.

    def find(self, chain: Chain) -> tuple[Any, Any]:
        """Return what a chain of names ends at, and what that is an attribute of; None if unknown.

        Only modules and classes are looked into: to look into others may run code.
        """
        name, *rest = chain
        if name in self._hidden and name not in self._local:
            return None, None
        owner, value = None, self._local.get(name, self._globals.get(name))
        for attribute in rest:
            owner, value = value, _member(value, attribute)
        return owner, value


def _member(value: Any, name: str) -> Any:
    if isinstance(value, types.ModuleType):
        return vars(value).get(name)
    if isinstance(value, type):
        for cls in value.__mro__:
            if name in vars(cls):
                return vars(cls)[name]
    return None


def _module(owner: Any, value: Any) -> str:
    """Return the module that a function is known by: of the one it was taken from, else its own."""
    if isinstance(owner, types.ModuleType):
        return owner.__name__
    of = getattr(value, "__self__", None)
    if isinstance(of, types.ModuleType):
        return of.__name__  # A builtin, such as `time.time`.
    if isinstance(of, random.Random) and getattr(random, value.__name__, None) == value:
        return "random"
    return (
        str(getattr(value, "__module__", "") or "")
        if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, type))
        else ""
    )


def _chain(node: ast.expr) -> Chain:
    attributes = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else ()


@functools.cache
def _is_users(module: str, path: str) -> bool:
    if not path or path.startswith("<") or module.partition(".")[0] in OURS:
        return False
    return not site_of(path) and not is_stdlib(module, path)


def _files(opened: Iterable[str]) -> dict[str, str]:
    """Return the files that lay there before the task began, and are the user's."""
    folders = [sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/etc", "/usr"]
    temporary = os.path.realpath(tempfile.gettempdir())
    if os.path.commonpath([temporary, os.getcwd()]) != temporary:
        folders.append(temporary)
    folders += [os.path.realpath(folder) for folder in folders]
    libraries = tuple(folder + os.sep for folder in folders)
    return {_shown(path): "" for path in opened if _is_input(path, libraries)}


def _is_input(path: str, libraries: tuple[str, ...]) -> bool:
    # As it was named first: to look through links takes a while, and most are of libraries.
    if path.startswith(libraries) or site_of(path):
        return False
    real = os.path.realpath(path)
    if real.startswith(libraries) or site_of(real):
        return False
    # What is hidden is somebody's cache or configuration; Metaflow unpacks in "metaflow.s3...".
    if any(part.startswith((".", "metaflow.")) for part in real.split(os.sep)):
        return False
    try:
        state = os.stat(real)
    except OSError:
        return False
    return stat.S_ISREG(state.st_mode) and state.st_ctime < _STARTED


def _shown(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
