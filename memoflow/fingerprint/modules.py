"""Modules: their files and owners, found without running any of the user's code."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any, Literal

from memoflow.dataclass import dataclass
from memoflow.fingerprint.packages import OURS, is_stdlib, site_of

Owner = Literal["ours", "stdlib", "installed", "user", "missing"]


@dataclass(frozen=True, slots=True)
class ModuleLocation:
    """The owner and file of a module; `search` has the directories of a package."""

    name: str
    owner: Owner
    path: str = ""
    search: tuple[str, ...] = ()


def place_of(module: ModuleType) -> ModuleLocation:
    """Return the place of a loaded module."""
    # Not by attribute: a module's own __getattr__ is code of the user's.
    namespace = vars(module)
    path = namespace.get("__file__")
    search = tuple(namespace.get("__path__") or ())
    name = str(namespace.get("__name__", "?"))
    if path is None and not search and namespace.get("__spec__") is None and name != "__main__":
        return ModuleLocation(name, "user")  # Made by somebody's code and not by an import.
    return _place(name, path, search)


def place_named(name: str) -> ModuleLocation:
    """Return the place of a module by its loaded or importable name; import nothing."""
    module = sys.modules.get(name)
    return place_of(module) if isinstance(module, ModuleType) else locate(name)


def locate(name: str) -> ModuleLocation:
    """Return the location of the module that `import name` would load; import nothing."""
    top, *rest = name.split(".")
    if top in OURS:
        return ModuleLocation(name, "ours")
    if top == "__main__":
        main = sys.modules.get("__main__")
        return place_of(main) if main is not None else ModuleLocation(name, "missing")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        spec = None
    if spec is None:
        return ModuleLocation(name, "missing")
    path = spec.origin if spec.has_location else None
    place = _place(top, path, tuple(spec.submodule_search_locations or ()))
    for i, part in enumerate(rest, start=2):
        if place.owner not in ("user", "installed"):
            return place
        if place.owner == "installed" and place.path:
            return place
        place = _below(place, part, ".".join(name.split(".")[:i]))
    return place


def _below(package: ModuleLocation, part: str, name: str) -> ModuleLocation:
    for directory in package.search:
        inner = os.path.join(directory, part)
        for suffix in ("/__init__.py", ".py"):
            if os.path.isfile(inner + suffix):
                search = (inner,) if suffix == "/__init__.py" else ()
                return _place(name, inner + suffix, search)
        if os.path.isdir(inner):
            return _place(name, None, (inner,))
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            if os.path.isfile(inner + suffix):
                return _place(name, inner + suffix, ())
    return ModuleLocation(name, "missing")


def _place(name: str, path: str | None, search: tuple[str, ...]) -> ModuleLocation:
    if name.partition(".")[0] in OURS:
        return ModuleLocation(name, "ours")
    probe = path or (os.path.join(search[0], "x") if search else None)
    if is_stdlib(name, probe):
        return ModuleLocation(name, "stdlib")
    owner: Owner = "installed" if probe is not None and site_of(probe) else "user"
    return ModuleLocation(name, owner, path or "", search)


def package_of(place: ModuleLocation) -> str:
    """Return the package that relative imports in a module start from."""
    if place.name == "__main__":
        return getattr(sys.modules.get("__main__"), "__package__", None) or ""
    return place.name if place.search else place.name.rpartition(".")[0]


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
