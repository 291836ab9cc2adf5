"""Opaque constants: objects of libraries that cannot be encoded, and count by their class.

A lock, a console or a client is made anew in each process. It holds no data of the user's, so
its class, the version of what provides that, and the user's code that it was given stand for it.
"""

from __future__ import annotations

import gc
import logging
import os
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from memoflow.fingerprint.encoding import class_name
from memoflow.fingerprint.modules import ModuleLocation, find
from memoflow.fingerprint.ownership import LIBRARIES, owner_of, owner_of_class
from memoflow.fingerprint.packages import OURS, providers
from memoflow.fingerprint.parts import digest_of

_MOST_VISITED = 10_000  # objects that one is made of; a client of a cloud has some thousands
# These hold data of the user's, or code.
_TRANSPARENT = frozenset({"argparse", "builtins", "collections", "types"})
_CODE = (types.FunctionType, type)
# Of these everything else can be reached.
_LEFT_OUT = (types.ModuleType, types.FrameType, types.CodeType, logging.Logger, logging.Handler)


class Opaque:
    """Gives tokens to objects that cannot be encoded.

    `described` has (class, class and what provides it) of each of those.
    """

    def __init__(
        self,
        home: Callable[[str], ModuleLocation],
        code: Callable[[Any], str],
        tokens: dict[int, tuple[Any, str]],
    ) -> None:
        self.described: list[tuple[str, str]] = []
        self._may: dict[type, bool] = {}
        self._tokens = tokens  # by id, with the object so that it stays the only one of that id
        self._home = home
        self._code = code

    def may(self, cls: type) -> bool:
        known = self._may.get(cls)
        if known is None:
            known = cls.__module__ not in _TRANSPARENT and owner_of_class(cls) in LIBRARIES
            self._may[cls] = known
        return known

    def token(self, value: Any) -> str:
        cls = type(value)
        if id(value) not in self._tokens:
            name = class_name(cls)
            self._tokens[id(value)] = value, f"cycle {name}"  # What it holds may hold it.
            held = sorted(map(self._code, _code_in(value)))
            self._tokens[id(value)] = value, digest_of(name, _file_name(value), *held)
        described = _described(cls, self._home(cls.__module__))
        if value is not os.environ:  # What is read of it is seen when it is.
            self.described.append((class_name(cls), described))
        return self._tokens[id(value)][1]


def _described(cls: type, place: ModuleLocation) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if place.owner != "installed" or not place.path:
        return name
    provided = providers(place.name.partition(".")[0], place.path)
    return f"{name} of {', '.join(f'{each.name} {each.version}' for each in provided)}"


def _file_name(value: Any) -> str:
    """Return the name of an open file; which one it is does count."""
    if type(value).__module__ != "_io":
        return ""
    name = getattr(value, "name", "")
    return os.path.basename(name) if isinstance(name, str) else ""


def _code_in(value: Any) -> Iterator[Any]:
    """Yield the user's functions and classes that an object holds, such as its callbacks.

    Level by level, so that where it gets too much the same is left out in each process.
    """
    seen = {id(value)}
    level = [value]
    while level and len(seen) < _MOST_VISITED:
        following: list[Any] = []
        for each in level:
            if isinstance(each, _CODE) and _is_users(each):
                yield each
                continue
            for one in _inside(each):
                if id(one) not in seen and not isinstance(one, _LEFT_OUT):
                    seen.add(id(one))
                    following.append(one)
        level = following


def _is_users(code: Any) -> bool:
    owner = owner_of(code)
    made_by_library = isinstance(code, type) and owner == "installed"
    return owner == "user" or (made_by_library and find(code.__module__, code.__qualname__) is None)


def _inside(value: Any) -> list[Any]:
    """Return the objects that an object refers to; of a function, not its module."""
    if isinstance(value, types.FunctionType):
        wrapped = [value.__wrapped__] if hasattr(value, "__wrapped__") else []
        defaults = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
        return [*wrapped, *(value.__closure__ or ()), *defaults]
    if isinstance(value, type) or type(value).__module__.partition(".")[0] in OURS:
        return []
    if isinstance(value, weakref.ref):
        return [value()]
    if isinstance(value, weakref.finalize):
        return [value.peek()]
    return gc.get_referents(value)
