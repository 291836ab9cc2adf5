"""Modules: their files and owners, found without running any of the user's code.

An owner is the user, a library or Python, by the files of the code. `__module__` is only a text:
decorators copy it, packages set it to the name under which they want to be known, and factories
leave their own.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from typing import Any, Literal

from memoflow.dataclass import dataclass

_STDLIB = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
_STDLIB_AS_NAMED = os.path.dirname(os.__file__) + os.sep
_SITES = ("site-packages", "dist-packages")
# Upgrading these must not empty the caches of the flows that run on them.
OURS = frozenset({"metaflow", "memoflow", "metaflow_extensions"})
Owner = Literal["ours", "stdlib", "installed", "user", "missing"]
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_OF_C_TYPES = (types.MethodDescriptorType, types.WrapperDescriptorType)
LIBRARIES = ("ours", "stdlib", "installed")


@dataclass(frozen=True, slots=True)
class ModuleLocation:
    """The owner and file of a module; `search` has the directories of a package."""

    name: str
    owner: Owner
    path: str = ""
    search: tuple[str, ...] = ()


def location_of(module: types.ModuleType) -> ModuleLocation:
    """Return the location of a loaded module."""
    # Not by attribute: a module's own __getattr__ is code of the user's.
    namespace = vars(module)
    path = namespace.get("__file__")
    search = tuple(namespace.get("__path__") or ())
    name = str(namespace.get("__name__", "?"))
    if path is None and not search and namespace.get("__spec__") is None and name != "__main__":
        return ModuleLocation(name, "user")  # Made by somebody's code and not by an import.
    return _location(name, path, search)


def location_named(name: str) -> ModuleLocation:
    """Return the location of a module by its loaded or importable name; import nothing."""
    module = sys.modules.get(name)
    return location_of(module) if isinstance(module, types.ModuleType) else locate(name)


def locate(name: str) -> ModuleLocation:
    """Return the location of the module that `import name` would load; import nothing."""
    top, *rest = name.split(".")
    if top in OURS:
        return ModuleLocation(name, "ours")
    if top == "__main__":
        main = sys.modules.get("__main__")
        return location_of(main) if main is not None else ModuleLocation(name, "missing")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        return ModuleLocation(name, "missing")
    path = spec.origin if spec.has_location else None
    location = _location(top, path, tuple(spec.submodule_search_locations or ()))
    for i, part in enumerate(rest, start=2):
        if location.owner not in ("user", "installed"):
            return location
        if location.owner == "installed" and location.path:
            return location
        location = _below(location, part, ".".join(name.split(".")[:i]))
    return location


def _below(package: ModuleLocation, part: str, name: str) -> ModuleLocation:
    for directory in package.search:
        inner = os.path.join(directory, part)
        for suffix in ("/__init__.py", ".py"):
            if os.path.isfile(inner + suffix):
                search = (inner,) if suffix == "/__init__.py" else ()
                return _location(name, inner + suffix, search)
        if os.path.isdir(inner):
            return _location(name, None, (inner,))
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            if os.path.isfile(inner + suffix):
                return _location(name, inner + suffix, ())
    return ModuleLocation(name, "missing")


def _location(name: str, path: str | None, search: tuple[str, ...]) -> ModuleLocation:
    if name.partition(".")[0] in OURS:
        return ModuleLocation(name, "ours")
    probe = path or (os.path.join(search[0], "x") if search else None)
    if is_stdlib(name, probe):
        return ModuleLocation(name, "stdlib")
    owner: Owner = "installed" if probe is not None and site_of(probe) else "user"
    return ModuleLocation(name, owner, path or "", search)


def package_of(location: ModuleLocation) -> str:
    """Return the package that relative imports in a module start from."""
    if location.name == "__main__":
        return getattr(sys.modules.get("__main__"), "__package__", None) or ""
    return location.name if location.search else location.name.rpartition(".")[0]


def absolute(module: str, level: int, package: str) -> str:
    """Return the absolute module name of a `from ..module import`."""
    if not level:
        return module
    names = package.split(".") if package else []
    base = ".".join(names[: len(names) - level + 1])
    return f"{base}.{module}" if base and module else base or module


def find(module: str | None, qualname: str) -> Any:
    """Return the object loaded under a name, without staticmethod or classmethod; or None."""
    value: Any = sys.modules.get(module or "")
    for name in qualname.split("."):
        value = getattr(value, "__dict__", {}).get(name)
    return value.__func__ if isinstance(value, (staticmethod, classmethod)) else value


def site_of(path: str) -> str | None:
    """Return the site directory a file lies in, or None if it was not installed there."""
    best = -1
    for site in _SITES:
        at = path.rfind(os.sep + site + os.sep)
        if at >= 0:
            best = max(best, at + 1 + len(site))
    return path[:best] if best > 0 else None


def is_stdlib(module: str, path: str | None) -> bool:
    """Return whether a module, loaded from `path` or built in, comes with Python."""
    if path is None or path.startswith("<frozen"):
        top = module.partition(".")[0]
        return top in sys.builtin_module_names or top in sys.stdlib_module_names
    if site_of(path) is not None:
        return False
    return path.startswith((_STDLIB, _STDLIB_AS_NAMED))


def owner_of_function(f: types.FunctionType) -> Owner:
    """Return the owner of a function; generated code counts as the user's."""
    module = str(f.__globals__.get("__name__", "?"))
    path = f.__code__.co_filename
    top = module.partition(".")[0]
    if top in OURS:
        directories = getattr(sys.modules.get(top), "__path__", None) or ()
        if path.startswith(("<", *directories)):
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


def owner_of_class(cls: type) -> Owner:
    """Return the owner of a class; "missing" if only its `__module__` names one."""
    if not isinstance(cls.__module__, str):  # Some libraries make classes of descriptions so.
        return location_named(type(cls).__module__).owner
    owner = location_named(cls.__module__).owner
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
    has_c = any(isinstance(each, _OF_C_TYPES) for each in cls.__dict__.values())
    made_in_c = has_c or not cls.__flags__ & _HEAP_TYPE
    return owner if made_there or made_in_c else "missing"


def owner_of(value: Any) -> Owner:
    """Return the owner of a module, function, class or instance."""
    if isinstance(value, types.ModuleType):
        return location_of(value).owner
    if isinstance(value, types.FunctionType):
        return owner_of_function(value)
    if isinstance(value, type):
        return owner_of_class(value)
    module = getattr(value, "__module__", None) if callable(value) else None
    if isinstance(module, str) and owner_of_class(type(value)) == "stdlib":
        return location_named(module).owner
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


def is_builtin(cls: type) -> bool:
    return cls.__module__ == "builtins" and not cls.__flags__ & _HEAP_TYPE
