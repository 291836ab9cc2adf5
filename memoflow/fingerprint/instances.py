"""Instances: the meaning of an instance is the state that pickle would keep."""

from __future__ import annotations

import copyreg
import gc
import re
import sys
import types
from typing import Any

from memoflow.fingerprint.encoding import EncoderInterface, Unstable, text_bytes
from memoflow.fingerprint.modules import find
from memoflow.fingerprint.ownership import LIBRARIES, owner_of_class

_PICKLED = re.compile(rb"\x80[\x04\x05]\x95.{6}\0\0\x8c", re.S)  # protocol, frame and a text
_NO_POINTER = 1 << 20  # below any address
# Attributes that hold an id() beside what it is the id of, to see whether that was replaced:
# they differ in each process, survive pickling, and decide on nothing but a warning.
# By name and the module of the class: the number alone may be anything, such as a row's key.
_IDENTITIES = {"_stop_words_id": "sklearn.feature_extraction.text"}


def reduced(encoder: EncoderInterface, value: Any) -> bytes:
    """Encode an instance as pickle would keep it: class, arguments and state."""
    if encoder.live and _is_of_library(value):
        return encoder.node(b"singleton", (encoder.named(type(value)),))
    if encoder.opaque is None:
        return _reduced(encoder, value)
    return encoder.instance(value, _reduced)


def _is_of_library(value: Any) -> bool:
    """Say whether the library that an object is of keeps it for all, as NumPy its generator."""
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
    if encoder.live and any(map(_holds_pickle, (*arguments, state))):
        raise Unstable(f"a {kind.__module__}.{kind.__qualname__} keeps code as bytes")
    pieces = [encoder.named(kind), _maker(encoder, make)]
    pieces += [_argument(encoder, argument) for argument in arguments]
    pieces.append(_state(encoder, value, state))
    if items is not None:
        pieces.append(encoder.sequence(b"items", list(items)))
    if pairs is not None:
        pieces.append(encoder.mapping(b"pairs", pairs))
    return encoder.node(b"reduced", pieces)


def _holds_pickle(data: Any) -> bool:
    """Say whether bytes hold something pickled, by which a library keeps functions it was given."""
    return isinstance(data, bytes) and _PICKLED.search(data) is not None


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


def _maker(encoder: EncoderInterface, make: Any) -> bytes:
    name = getattr(make, "__qualname__", None)
    if name is None or name.count("<"):
        return encoder.encode(make)
    return text_bytes(f"{make.__module__}:{name}")


def _argument(encoder: EncoderInterface, argument: Any) -> bytes:
    # A class here says what to make: its name counts, as for any other instance, not its code.
    return encoder.named(argument) if isinstance(argument, type) else encoder.encode(argument)


def _state(encoder: EncoderInterface, value: Any, state: Any) -> bytes:
    if type(state) is dict:
        if not encoder.live and _IDENTITIES.keys().isdisjoint(state):
            meaningful = state
        else:
            meaningful = _meaningful(value, state, live=encoder.live)
        own = not hasattr(type(value), "__setstate__") or _are_attributes(value, state)
        return encoder.attributes(meaningful) if own else encoder.encode(state)
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        return _state(encoder, value, state[0]) + _state(encoder, value, state[1])
    return encoder.encode(state)


def _are_attributes(value: Any, state: dict[Any, Any]) -> bool:
    """Tell whether a state consists of an instance's attributes, in any order.

    A class that reads its state by itself may as well keep a dict there that is its data.
    """
    own = attributes_of(value)
    return not state or any(name in own for name in state)


def _meaningful(value: Any, state: dict[Any, Any], *, live: bool) -> dict[Any, Any]:
    """Return attributes without those that say only where in memory something is.

    In this process, which made a `live` value, an address can be told by what is there.
    """
    rubbish = {name for name, module in _IDENTITIES.items() if name in state and _of(value, module)}
    if live:
        numbers = [k for k, v in state.items() if type(v) is int and v > _NO_POINTER]
        places = {id(value), *map(id, state.values())} if numbers else set()
        rubbish.update(name for name in numbers if state[name] in places)
    return {k: v for k, v in state.items() if k not in rubbish} if rubbish else state


def _of(value: Any, module: str) -> bool:
    return any(cls.__module__ == module for cls in type(value).__mro__)


def attributes_of(value: Any) -> dict[str, Any]:
    """Return the attributes that an instance has of its own, also those in slots."""
    state = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                state[slot] = getattr(value, slot)
    return state
