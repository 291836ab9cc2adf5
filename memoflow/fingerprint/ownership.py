"""Ownership: the user, a library or Python, by the files of the code.

`__module__` is only what somebody wrote there: decorators copy it, packages set it to the name
under which they want to be known, and factories leave their own.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

from memoflow.fingerprint.modules import Owner, find, place_named, place_of
from memoflow.fingerprint.packages import OURS, is_stdlib, site_of

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_OF_C_TYPES = (types.MethodDescriptorType, types.WrapperDescriptorType)
LIBRARIES = ("ours", "stdlib", "installed")


def owner_of_function(f: types.FunctionType) -> Owner:
    """Return the owner of a function; generated code counts as the user's."""
    module = str(f.__globals__.get("__name__", "?"))
    path = f.__code__.co_filename
    top = module.partition(".")[0]
    if top in OURS and path.startswith(("<", *_directories(top))):
        return "ours"
    return _owner_of_file(module, path)


@functools.lru_cache(maxsize=4096)
def _owner_of_file(module: str, path: str) -> Owner:
    if path.startswith("<frozen "):
        return "stdlib"
    if not path or path.startswith("<"):
        return "user"
    if site_of(path):
        return "installed"
    return "stdlib" if is_stdlib(module, path) else "user"


def _directories(top: str) -> tuple[str, ...]:
    return tuple(getattr(sys.modules.get(top), "__path__", None) or ())


def owner_of_class(cls: type) -> Owner:
    """Return the owner of a class; "missing" if only its `__module__` names one."""
    if not isinstance(cls.__module__, str):  # Some libraries make classes of descriptions so.
        return place_named(type(cls).__module__).owner
    owner = place_named(cls.__module__).owner
    if owner == "user":
        return owner
    functions = [(_certain_owner(f), f) for _, f in functions_of(cls)]
    made = [each for each, _ in functions if each is not None]
    if owner in LIBRARIES and find(cls.__module__, cls.__qualname__) is cls:
        return "user" if made[:1] == ["user"] else owner
    if "user" in made:
        return "user"
    top = cls.__module__.partition(".")[0]
    homes = [str(f.__globals__.get("__name__", "?")) for each, f in functions if each is not None]
    made_there = any(home.partition(".")[0] == top for home in homes)
    return owner if made_there or _is_made_in_c(cls) else "missing"


def owner_of(value: Any) -> Owner:
    """Return the owner of a module, function, class or instance."""
    if isinstance(value, types.ModuleType):
        return place_of(value).owner
    if isinstance(value, types.FunctionType):
        return owner_of_function(value)
    if isinstance(value, type):
        return owner_of_class(value)
    module = getattr(value, "__module__", None) if callable(value) else None
    if isinstance(module, str) and owner_of_class(type(value)) == "stdlib":
        return place_named(module).owner
    return owner_of_class(type(value))


def functions_of(cls: type) -> Iterator[tuple[str, types.FunctionType]]:
    """Yield the functions among the attributes of a class, in the order of their definition."""
    for name, value in cls.__dict__.items():
        inner: Any = value
        if isinstance(value, (staticmethod, classmethod)):
            inner = value.__func__
        elif isinstance(value, property):
            inner = value.fget
        elif isinstance(value, (functools.cached_property, functools.partialmethod)):
            inner = value.func
        if isinstance(inner, types.FunctionType):
            yield name, inner


def _certain_owner(f: types.FunctionType) -> Owner | None:
    """Return the owner of a function; None for generated code."""
    return None if f.__code__.co_filename.startswith("<") else owner_of_function(f)


def users_functions(cls: type) -> list[tuple[str, types.FunctionType]]:
    """Return the functions of the user's that were put on a class."""
    return [(name, f) for name, f in functions_of(cls) if _certain_owner(f) == "user"]


def _is_made_in_c(cls: type) -> bool:
    own = any(isinstance(each, _OF_C_TYPES) for each in cls.__dict__.values())
    return own or not cls.__flags__ & _HEAP_TYPE


def is_builtin(cls: type) -> bool:
    return cls.__module__ == "builtins" and not cls.__flags__ & _HEAP_TYPE
