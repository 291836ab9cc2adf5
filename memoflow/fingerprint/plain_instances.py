"""Plain instances: a class and a dict of attributes, and nothing else that pickle would keep."""

from __future__ import annotations

import abc
import copyreg
import operator
import types
from typing import Any

from xxhash import xxh3_128_digest

from memoflow.fingerprint.encoding import EncoderInterface, Handler, are_texts, attribute_names
from memoflow.fingerprint.instances import IDENTITIES, maker, reduced

_make: Any = vars(copyreg)["__newobj__"]
_slots: Any = vars(copyreg)["_slotnames"]


class _Bare:
    pass


_METHODS = ("__reduce_ex__", "__reduce__", "__getstate__", "__getattribute__")
_ABSENT = ("__getattr__", "__getnewargs__", "__getnewargs_ex__", "__setstate__")
_LAYOUT = ("__basicsize__", "__itemsize__", "__dictoffset__", "__weakrefoffset__")
# Pickle looks for some of these names in the instance, too; `reduced` leaves others out.
_NAMES = frozenset({*_METHODS, *_ABSENT, *IDENTITIES})


def plain_handler(encoder: EncoderInterface, kind: type) -> Handler | None:
    """Return an encoder for instances of `kind` with the bytes of `reduced`, but without pickle.

    None if there may be more to their state than a dict of attributes.
    """
    if not _is_plain(kind):
        return None
    name = encoder.named(kind)
    head = b"reduced\0" + name + maker(encoder, _make) + name
    names: tuple[str, ...] = ()
    order: list[tuple[str, bytes]] = []

    def handler(encoder: EncoderInterface, value: object) -> bytes:
        nonlocal names, order
        state = value.__dict__
        # Of an empty dict pickle keeps nothing, from Python 3.11 on.
        if type(state) is not dict or not state:
            return reduced(encoder, value)
        # Names that are the same objects as before need no look at their types.
        if len(state) != len(names) or not all(map(operator.is_, state, names)):
            if not _NAMES.isdisjoint(state) or not are_texts(state):
                return reduced(encoder, value)
            names = tuple(state)
            order = attribute_names(names)
        return b"#" + xxh3_128_digest(head + encoder.attributes(state, order))

    return handler


def _is_plain(kind: type) -> bool:
    return (
        type(kind) in (type, abc.ABCMeta)
        and kind not in copyreg.dispatch_table
        and all(getattr(kind, name, None) is getattr(object, name, None) for name in _METHODS)
        and not any(hasattr(kind, name) for name in _ABSENT)
        and all(getattr(kind, name) == getattr(_Bare, name) for name in _LAYOUT)
        and all(_dict_of(each) for each in kind.__mro__)
        and not _slots(kind)
    )


def _dict_of(cls: type) -> bool:
    """Return whether a class leaves the attribute `__dict__` as Python makes it."""
    return isinstance(vars(cls).get("__dict__"), (type(None), types.GetSetDescriptorType))
