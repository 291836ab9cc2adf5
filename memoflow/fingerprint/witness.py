"""Witness: the objects behind a fingerprint, compared with those in memory now.

To take a fingerprint anew costs milliseconds, to compare this some microseconds. A name counts by
the object that it is bound to, and what can be changed by its content.
"""

from __future__ import annotations

import functools
import os
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from memoflow.fingerprint.flows import BOOKKEEPING

MISSING = object()  # the value of a name that is not bound
_CONSTANT = frozenset(
    {bool, int, float, complex, str, bytes, type(None), type(...), type, range,
     types.FunctionType, types.BuiltinFunctionType, types.ModuleType}
)  # fmt: skip

Digest = Callable[[Any, str, Mapping[str, Any]], str]


class Witness:
    """The names, functions, classes and values that one walk has come across."""

    def __init__(self) -> None:
        self._names: dict[tuple[int, str], tuple[Mapping[str, Any], str, Any]] = {}
        self._functions: dict[int, tuple[types.FunctionType, tuple[Any, ...]]] = {}
        self._classes: dict[int, tuple[type, tuple[Any, ...]]] = {}
        self._mappings: dict[int, tuple[Mapping[Any, Any], tuple[Any, ...]]] = {}
        self._subclasses: dict[int, tuple[type, tuple[type, ...]]] = {}
        self._unloaded: set[str] = set()
        self._contents: dict[int, tuple[Any, str, Mapping[str, Any]]] = {}
        self._files: dict[str, tuple[int, ...] | None] = {}
        self._digest: Digest | None = None
        self._digests: list[tuple[Any, str, Mapping[str, Any], str]] = []

    def name(self, namespace: Mapping[str, Any], name: str) -> None:
        """Note the object that a name is bound to, or that it is not bound."""
        found = namespace, name, namespace.get(name, MISSING)
        self._names.setdefault((id(namespace), name), found)

    def module(self, name: str) -> None:
        """Note a module, which may be loaded later."""
        if name in sys.modules:
            self.name(sys.modules, name)
        else:
            self._unloaded.add(name)

    def function(self, f: types.FunctionType) -> None:
        """Note the code, the defaults and the closure of a function."""
        self._functions.setdefault(id(f), (f, _state_of_function(f)))

    def class_(self, cls: type) -> None:
        """Note the bases and attributes of a class."""
        self._classes.setdefault(id(cls), (cls, _state_of_class(cls)))

    def mapping(self, found: Mapping[Any, Any]) -> None:
        """Note the keys and values of a registry."""
        self._mappings[id(found)] = found, (*found, *found.values())

    def subclasses(self, cls: type) -> None:
        """Note the subclasses of a class."""
        self._subclasses[id(cls)] = cls, tuple(type.__subclasses__(cls))

    def content(self, value: Any, name: str, namespace: Mapping[str, Any]) -> None:
        """Note a value whose content counts, unless nothing can change that."""
        if not _is_constant(value):
            self._contents.setdefault(id(value), (value, name, namespace))

    def file(self, path: str) -> None:
        """Note the state of a file that stands for a module which is not loaded."""
        self._files.setdefault(path, _state_of_file(path))

    def settle(self, digest: Digest) -> None:
        """Keep the digests of the values, as `digest` gives them from now on."""
        self._digest = digest
        self._digests = [(*each, digest(*each)) for each in self._contents.values()]
        self._contents.clear()

    def held(self) -> Iterator[Any]:
        """Yield the globals that the functions read, their defaults and constants."""
        for _, _, value in self._names.values():
            yield value
        for f, state in self._functions.values():
            yield from state
            yield from _constants(f.__code__)

    @property
    def has_loaded(self) -> bool:
        """True after the loading of a module that counted by its file."""
        return not self._unloaded.isdisjoint(sys.modules)

    def change(self) -> str | None:
        """Return the first difference, a name or path; None without one."""
        return next(self.changes(), None)

    def changes(self) -> Iterator[str]:
        """Yield each name or path that differs."""
        for namespace, name, value in self._names.values():
            if namespace.get(name, MISSING) is not value:
                yield name
        for f, of_function in self._functions.values():
            if not _are_same(_state_of_function(f), of_function):
                yield f.__qualname__
        for cls, of_class in self._classes.values():
            if not _are_same(_state_of_class(cls), of_class):
                yield cls.__qualname__
        for found, held in self._mappings.values():
            if not _are_same((*found, *found.values()), held):
                yield "a registry"
        for cls, derived in self._subclasses.values():
            if not _are_same(tuple(type.__subclasses__(cls)), derived):
                yield f"subclasses of {cls.__qualname__}"
        for path, of_file in self._files.items():
            if _state_of_file(path) != of_file:
                yield path
        for value, name, namespace, before in self._digests:
            assert self._digest is not None
            if self._digest(value, name, namespace) != before:
                yield name


def _note_nothing(*_: Any) -> None:
    pass


class NoWitness(Witness):
    """A witness of a walk that is taken once: it looks at nothing."""

    name = module = function = class_ = _note_nothing  # type: ignore[assignment]
    mapping = subclasses = content = file = _note_nothing  # type: ignore[assignment]


def _state_of_function(f: types.FunctionType) -> tuple[Any, ...]:
    defaults, keyed = f.__defaults__ or (), f.__kwdefaults__ or {}
    return (
        f.__code__, f.__dict__.get("__wrapped__"), f.__name__, f.__qualname__, f.__doc__,
        len(defaults), *defaults, *keyed, *keyed.values(), *map(_content, f.__closure__ or ()),
    )  # fmt: skip


def _constants(code: types.CodeType) -> Iterator[Any]:
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            yield from _constants(each)
        else:
            yield each


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return MISSING


def _state_of_class(cls: type) -> tuple[Any, ...]:
    own = {name: value for name, value in vars(cls).items() if name not in BOOKKEEPING}
    return cls.__name__, cls.__qualname__, cls.__doc__, *cls.__bases__, *own, *own.values()


def _are_same(now: tuple[Any, ...], before: tuple[Any, ...]) -> bool:
    return len(now) == len(before) and all(map(_is, now, before))


def _is(one: Any, other: Any) -> bool:
    return one is other or (type(one) is type(other) is str and one == other)


def _state_of_file(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _is_constant(value: Any) -> bool:
    kind = type(value)
    if kind in _CONSTANT:
        return True
    if kind in (tuple, frozenset):
        return all(map(_is_constant, value))
    if kind is functools.partial:
        return not value.keywords and _is_constant(value.args) and _is_constant(value.func)
    return False
