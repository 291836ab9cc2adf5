"""Instances: the state that pickle would keep, or the class of an object that cannot be encoded.

A lock, a console or a client is made anew in each process. It holds no data of the user's, so its
class, the version of what provides that, and the user's code that it was given stand for it.
"""

from __future__ import annotations

import copyreg
import gc
import logging
import os
import re
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from memoflow.fingerprint.distributions import providers
from memoflow.fingerprint.encoding import EncoderInterface, Unstable, class_name, text_bytes
from memoflow.fingerprint.modules import (
    LIBRARIES,
    OURS,
    ModuleLocation,
    find,
    owner_of,
    owner_of_class,
)
from memoflow.fingerprint.parts import digest_of

_PICKLED = re.compile(rb"\x80[\x04\x05]\x95.{6}\0\0\x8c", re.S)  # protocol, frame and a text
_NO_POINTER = 1 << 20  # below any address
# Attributes that hold an id() beside what it is the id of, to see whether that was replaced:
# they differ in each process, survive pickling, and decide on nothing but a warning.
# By name and the module of the class: the number alone may be anything, such as a row's key.
IDENTITIES = {"_stop_words_id": "sklearn.feature_extraction.text"}
_MOST_VISITED = 10_000  # objects that one is made of; a client of a cloud has some thousands
# These hold data of the user's, or code.
_TRANSPARENT = frozenset({"argparse", "builtins", "collections", "types"})
_CODE = (types.FunctionType, type)
# Of these everything else can be reached.
_LEFT_OUT = (types.ModuleType, types.FrameType, types.CodeType, logging.Logger, logging.Handler)


def reduced(encoder: EncoderInterface, value: Any) -> bytes:
    """Encode an instance as pickle would keep it: class, arguments and state."""
    if encoder.live and _is_of_library(value):
        return encoder.node(b"singleton", (encoder.named(type(value)),))
    if encoder.opaque is None:
        return _reduced(encoder, value)
    return encoder.instance(value, _reduced)


def _is_of_library(value: Any) -> bool:
    """Return whether the library that an object is of keeps it for all, as NumPy its generator."""
    home = sys.modules.get(type(value).__module__)
    if home is None or not any(each is value for each in list(vars(home).values())):
        return False
    return owner_of_class(type(value)) in LIBRARIES


def _reduced(encoder: EncoderInterface, value: Any) -> bytes:
    kind = type(value)
    reduced = reduction(value)
    if isinstance(reduced, str):
        module = getattr(value, "__module__", None) or kind.__module__
        # Its name does not tell it if it is not found by that: `numpy.frompyfunc(f, 1, 1)`.
        held = gc.get_referents(value) if find(module, reduced) is not value else []
        code = [encoder.encode(each) for each in held if isinstance(each, types.FunctionType)]
        name = text_bytes(f"{module}:{reduced}")
        return encoder.node(b"global", (encoder.named(kind), name, *code))
    make, arguments, state, items, pairs = [*reduced, None, None, None][:5]
    texts = [each for each in (*arguments, state) if isinstance(each, bytes)]
    if encoder.live and any(map(_PICKLED.search, texts)):  # A library pickled what it was given.
        raise Unstable(f"a {kind.__module__}.{kind.__qualname__} keeps code as bytes")
    pieces = [encoder.named(kind), maker(encoder, make)]
    # A class here says what to make: its name counts, as for any other instance, not its code.
    pieces += [
        encoder.named(each) if isinstance(each, type) else encoder.encode(each)
        for each in arguments
    ]
    pieces.append(_state(encoder, value, state))
    if items is not None:
        pieces.append(encoder.sequence(b"items", list(items)))
    if pairs is not None:
        pieces.append(encoder.mapping(b"pairs", pairs))
    return encoder.node(b"reduced", pieces)


def reduction(value: Any) -> Any:
    """Return pickle's reduction of an instance; Unstable if it has none."""
    kind = type(value)
    try:
        reducer = copyreg.dispatch_table.get(kind)
        return reducer(value) if reducer else value.__reduce_ex__(4)
    except RecursionError:
        raise
    except Exception as error:
        raise Unstable(f"{kind.__module__}.{kind.__qualname__} keeps no state ({error})") from error


def maker(encoder: EncoderInterface, make: Any) -> bytes:
    name = getattr(make, "__qualname__", None)
    if name is None or name.count("<"):
        return encoder.encode(make)
    return text_bytes(f"{make.__module__}:{name}")


def _state(encoder: EncoderInterface, value: Any, state: Any) -> bytes:
    if type(state) is dict:
        if not encoder.live and IDENTITIES.keys().isdisjoint(state):
            meaningful = state
        else:
            meaningful = _meaningful(value, state, live=encoder.live)
        # A class that reads its state by itself may as well keep a dict there that is its data.
        own = not hasattr(type(value), "__setstate__") or not state
        own = own or not attributes_of(value).keys().isdisjoint(state)
        return encoder.attributes(meaningful) if own else encoder.encode(state)
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        return _state(encoder, value, state[0]) + _state(encoder, value, state[1])
    return encoder.encode(state)


def _meaningful(value: Any, state: dict[Any, Any], *, live: bool) -> dict[Any, Any]:
    """Return attributes without those that say only where in memory something is.

    In this process, which made a `live` value, an address can be told by what is there.
    """
    addresses = {
        name
        for name, module in IDENTITIES.items()
        if name in state and any(cls.__module__ == module for cls in type(value).__mro__)
    }
    if live:
        numbers = [k for k, v in state.items() if type(v) is int and v > _NO_POINTER]
        places = {id(value), *map(id, state.values())} if numbers else set()
        addresses.update(name for name in numbers if state[name] in places)
    return {k: v for k, v in state.items() if k not in addresses} if addresses else state


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes that an instance has of its own, also those in slots."""
    state = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                state[slot] = getattr(value, slot)
    return state


class Opaque:
    """Gives tokens to objects that cannot be encoded; `described` tells the class of each."""

    def __init__(
        self,
        home: Callable[[str], ModuleLocation],
        code: Callable[[Any], str],
        tokens: dict[int, tuple[Any, str]],
    ) -> None:
        self.described: list[tuple[str, str]] = []  # class, and the class with what provides it
        self._may: dict[type, bool] = {}
        self._tokens = tokens  # by id, with the object so that it stays the only one of that id
        self._home = home
        self._code = code

    def may(self, cls: type) -> bool:
        """Return whether objects of this class, and their contents, may count by class alone."""
        known = self._may.get(cls)
        if known is None:
            known = cls.__module__ not in _TRANSPARENT and owner_of_class(cls) in LIBRARIES
            self._may[cls] = known
        return known

    def token(self, value: Any) -> str:
        """Return the token of an object that counts by class, and note it."""
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


def _described(cls: type, location: ModuleLocation) -> str:
    name = f"{cls.__module__}.{cls.__qualname__}"
    if location.owner != "installed" or not location.path:
        return name
    provided = providers(location.name.partition(".")[0], location.path)
    return f"{name} of {', '.join(f'{each.name} {each.version}' for each in provided)}"


def _file_name(value: Any) -> str:
    """Return the name of an open file; which one it is does count."""
    if type(value).__module__ != "_io":
        return ""
    name = getattr(value, "name", "")
    return os.path.basename(name) if isinstance(name, str) else ""


def _code_in(value: Any) -> Iterator[Any]:
    """Yield the user's functions and classes that an object holds, such as its callbacks."""
    seen = {id(value)}
    level = [value]  # By levels: where it gets too much the same is left out in each process.
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
