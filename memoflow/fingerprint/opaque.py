"""Opaque constants: objects of libraries that cannot be encoded, and count by their class.

A lock, a console or a client is made anew in each process. It holds no data of the user's, so
its class, the version of what provides that, and the user's code that it was given stand for it.
"""

from __future__ import annotations

import gc
import logging
import os
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from memoflow.fingerprint.encoding import class_name
from memoflow.fingerprint.modules import Place, place_named
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

    def __init__(self, home: Callable[[str], Place], code: Callable[[Any], str]) -> None:
        self.described: list[tuple[str, str]] = []
        self._may: dict[type, bool] = {}
        self._home = home
        self._code = code

    def may(self, cls: type) -> bool:
        known = self._may.get(cls)
        if known is None:
            owner = place_named(cls.__module__).owner
            known = owner != "user" and owner != "missing" and cls.__module__ not in _TRANSPARENT
            self._may[cls] = known
        return known

    def token(self, value: Any) -> str:
        cls = type(value)
        held = sorted(map(self._code, _code_in(value)))
        described = _described(cls, self._home(cls.__module__))
        if value is not os.environ:  # What is read of it is seen when it is.
            self.described.append((class_name(cls), described))
        return digest_of(class_name(cls), _file_name(value), *held)


def _described(cls: type, place: Place) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if place.owner != "installed" or not place.path:
        return name
    provided = providers(place.name.partition(".")[0], place.path)
    return f"{name} of {', '.join(' '.join(each) for each in provided)}"


def _file_name(value: Any) -> str:
    """Return the name of an open file; which one it is does count."""
    if type(value).__module__ != "_io":
        return ""
    name = getattr(value, "name", "")
    return os.path.basename(name) if isinstance(name, str) else ""


def _code_in(value: Any) -> Iterator[Any]:
    """Yield the user's functions and classes that an object holds, such as its callbacks."""
    seen = {id(value)}
    todo = deque([value])
    while todo and len(seen) < _MOST_VISITED:
        each = todo.popleft()
        if isinstance(each, _CODE):
            if place_named(str(each.__module__)).owner == "user":
                yield each
                continue
            inner = _held_by(each) if isinstance(each, types.FunctionType) else []
        elif type(each).__module__.partition(".")[0] in OURS:
            continue
        else:
            inner = gc.get_referents(each)
        for one in inner:
            if id(one) not in seen and not isinstance(one, _LEFT_OUT):
                seen.add(id(one))
                todo.append(one)


def _held_by(f: types.FunctionType) -> list[Any]:
    """Return what a function holds besides the module that it is in."""
    return [*(f.__closure__ or ()), *(f.__defaults__ or ()), *(f.__kwdefaults__ or {}).values()]
