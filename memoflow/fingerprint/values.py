"""Values: a typed canonical encoding, the same for the same value in every process.

Each value becomes bytes that say where they end: a scalar is written out, a container is a tag
and the digest of its items. So no two values share an encoding by moving a boundary.
"""

from __future__ import annotations

import collections
import enum
import functools
import itertools
import logging
import os
import pathlib
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint.arrays import array_handler
from memoflow.fingerprint.encoding import (
    SCALARS,
    Handler,
    Unstable,
    are_texts,
    attribute_names,
    attributes_head,
    blob,
    class_name,
    flat,
    length_bytes,
    short_texts,
    text_bytes,
)
from memoflow.fingerprint.instances import Opaque, attributes_of, reduced
from memoflow.fingerprint.plain_instances import plain_handler
from memoflow.fingerprint.project import Anchors
from memoflow.fingerprint.transparent import Transparent

_DEEPEST = 200  # levels of three frames; Python allows a thousand, and not all are ours
_REVISITS = 100_000  # of values on cycles, whose encodings cannot be remembered
_REVISITS_OPAQUE = 10_000  # of those where something stands for what cannot be encoded
_NOWHERE = sys.maxsize
_BATCH = 1024  # encodings that are joined before they are hashed
_FEW = 8  # pairs, of which a look at their types would not pay

CODE_TYPES: tuple[type, ...] = (
    Transparent,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.ModuleType,
    functools.partial,
    functools.partialmethod,
    functools.cached_property,
    functools.singledispatchmethod,
    type(functools.lru_cache(len)),
    staticmethod,
    classmethod,
    property,
    type,
)


class Encoder:
    """Encode values; hand functions, classes and modules found on the way to `code`.

    `code` returns the text that stands for such an object. `instance` is told the class of each
    instance, so that a caller can add its code. Texts that name paths below `anchors` count as
    relative to those. What cannot be encoded is Unstable, unless `opaque` has a token for it.
    `live` values were made in this process, and not loaded from what another one kept. `within`
    is the encoder that came across the code that holds these values.
    """

    def __init__(
        self,
        code: Callable[[Any], str],
        instance: Callable[[type], None] | None = None,
        *,
        anchors: Anchors | None = None,
        opaque: Opaque | None = None,
        live: bool = False,
        within: Encoder | None = None,
    ) -> None:
        self.live = live
        self._code = code
        self._instance = instance
        self._anchors = anchors
        self._scalars = {**SCALARS, str: self._located} if anchors else SCALARS
        self.opaque = opaque
        # Whether something may stand for what holds these values.
        self._in_opaque: bool = within is not None and within._in_opaque
        self._handlers: dict[type, Handler] = {}
        self._above: dict[int, int] = {}  # id -> depth of the values that contain this one
        self._known: dict[int, bytes] = within._known if within else {}
        # Keeps ids in `_known` from being given to others.
        self._alive: list[object] = within._alive if within else []
        self._lowest = _NOWHERE  # depth of the outermost value referred back to
        self._revisits: list[type] = within._revisits if within else []

    def encode(self, value: Any) -> bytes:
        """Return the bytes that stand for `value`; Unstable if nothing does."""
        kind = type(value)
        scalar = self._scalars.get(kind)
        if scalar is not None:
            return scalar(value)
        key = id(value)
        known = self._known.get(key)
        if known is not None:
            return known
        containers = self._above
        depth = len(containers)
        if key in containers:
            above = containers[key]
            self._lowest = min(self._lowest, above)
            return b"^" + length_bytes(depth - above)
        if depth >= _DEEPEST:
            raise Unstable(f"it is nested more than {_DEEPEST} levels deep")
        handler = self._handlers.get(kind)
        if handler is None:
            handler = self._handlers[kind] = self._handler(kind)
        outer, self._lowest = self._lowest, _NOWHERE
        containers[key] = depth
        try:
            encoded = handler(self, value)
        finally:
            del containers[key]
        if self._lowest >= depth:
            self._lowest = outer
            self._known[key] = encoded
            self._alive.append(value)
        else:
            # What it means depends on what contains it, so it is encoded anew at each place.
            self._lowest = min(self._lowest, outer)
            self._revisits.append(kind)
            if len(self._revisits) > (_REVISITS_OPAQUE if self._in_opaque else _REVISITS):
                raise Unstable(f"its {kind.__name__} objects refer to each other too often")
        return encoded

    def _handler(self, kind: type) -> Handler:
        handler = _HANDLERS.get(kind)
        if handler is None:
            handler = _HANDLERS[kind] = _find(kind)
        if handler is reduced and self._instance is None and not self.live and self.opaque is None:
            return plain_handler(self, kind) or reduced
        return handler

    def node(self, tag: bytes, pieces: Iterable[bytes]) -> bytes:
        """Return the encoding of a container with these encoded pieces."""
        hasher = xxh3_128(tag + b"\0")
        for piece in pieces:
            hasher.update(piece)
        return b"#" + hasher.digest()

    def sequence(self, tag: bytes, items: Any) -> bytes:
        """Encode a list or tuple; a flat one of one scalar type at the speed of its bytes."""
        pieces = flat(items, self._anchors) if len(items) > 8 else None
        if pieces is not None:
            return self.node(tag + b"*", pieces)
        hasher = xxh3_128(tag + b"\0" + length_bytes(len(items)))
        encoded: list[bytes] = []
        encode, scalars, append = self.encode, self._scalars, encoded.append
        i = -1
        try:
            for item in items:
                i += 1
                scalar = scalars.get(type(item))
                append(scalar(item) if scalar else encode(item))
                if len(encoded) == _BATCH:
                    hasher.update(b"".join(encoded))
                    encoded.clear()
        except Unstable as error:
            error.steps.append(f"[{i}]")
            raise
        hasher.update(b"".join(encoded))
        return b"#" + hasher.digest()

    def mapping(self, tag: bytes, items: Any) -> bytes:
        """Encode a dict or (key, value) pairs; their order counts, for results may follow it."""
        quick = type(items) is dict and len(items) > _FEW
        pairs = [] if quick else list(items.items() if isinstance(items, dict) else items)
        batches: Iterable[tuple[bytes, Iterable[Any]]]
        batches = self._batches(items) if quick else [(b"", pairs)]
        hasher = xxh3_128(tag + b"\0" + length_bytes(len(items if quick else pairs)))
        encoded: list[bytes] = []
        encode, scalars, append = self.encode, self._scalars, encoded.append
        key: Any = None
        try:
            for row, rest in batches:
                hasher.update(row)
                for key, item in rest:
                    scalar = scalars.get(type(key))
                    append(scalar(key) if scalar else encode(key))
                    scalar = scalars.get(type(item))
                    append(scalar(item) if scalar else encode(item))
                    if len(encoded) > _BATCH:
                        hasher.update(b"".join(encoded))
                        encoded.clear()
                hasher.update(b"".join(encoded))
                encoded.clear()
        except Unstable as error:
            error.steps.append(f"[{key!r}]" if type(key) in SCALARS else "[...]")
            raise
        return b"#" + hasher.digest()

    def _batches(self, items: dict[Any, Any]) -> Iterator[tuple[bytes, Iterable[Any]]]:
        """Yield the items of a dict in batches: bytes if all of one are scalars, else pairs."""
        keys, values = [*items], [*items.values()]
        for start in range(0, len(keys), _BATCH):
            some = keys[start : start + _BATCH], values[start : start + _BATCH]
            row: list[Any] = [None] * (2 * len(some[0]))
            row[::2], row[1::2] = some
            encoded = self._row(row)
            yield (encoded, ()) if encoded else (b"", zip(*some, strict=True))

    def _row(self, items: list[Any]) -> bytes | None:
        """Return the encodings of scalars one after another; None if not all are scalars."""
        kinds, scalars = set(map(type, items)), self._scalars
        if not kinds <= scalars.keys():
            return None
        joined = short_texts(items, self._anchors) if kinds == {str} else None
        return joined or b"".join([scalars[type(item)](item) for item in items])

    def attributes(
        self, state: dict[Any, Any], names: list[tuple[str, bytes]] | None = None
    ) -> bytes:
        """Encode attributes or keyword arguments, in any order.

        `names` are the `attribute_names` of all of them, where those are known.
        """
        if names is None and state and are_texts(state):
            names = attribute_names(tuple(state))
        encoded: list[bytes] = []
        encode, scalars, append = self.encode, self._scalars, encoded.append
        key: Any = None
        try:
            for key, before in names or ():
                append(before)
                scalar = scalars.get(type(item := state[key]))
                append(scalar(item) if scalar else encode(item))
            if names is None:
                for key, item in state.items():
                    append(encode(key) + encode(item))
                encoded = [attributes_head(len(encoded)), *sorted(encoded)]
        except Unstable as error:
            error.steps.append(f".{key}" if type(key) in SCALARS else "[...]")
            raise
        return b"#" + xxh3_128_digest(b"".join(encoded))

    def named(self, cls: type) -> bytes:
        """Encode the qualified name of a class, and report the class."""
        if self._instance is not None:
            self._instance(cls)
        return text_bytes(class_name(cls))

    def code(self, value: Any) -> bytes:
        return b"c" + text_bytes(self._code(value))

    def instance(self, value: Any, content: Handler) -> bytes:
        """Encode an instance by its content, or by its token if it has none.

        Of nested ones the outermost counts by its class, up to an instance of a class that may
        not: half a client would be no better than none, and differ in each process.
        """
        if self.opaque is None:
            return content(self, value)
        outer = self._in_opaque
        mine = self._in_opaque = self.opaque.may(type(value))
        try:
            return content(self, value)
        except (Unstable, NoFingerprintError, RecursionError):
            if outer or not mine:
                raise
            self._lowest = _NOWHERE  # Its token depends on nothing that contains it.
            return self.node(b"opaque", (text_bytes(self.opaque.token(value)),))
        finally:
            self._in_opaque = outer

    def _located(self, value: str) -> bytes:
        """Encode a text, with paths of the project as they are from the code that has them."""
        pieces = self._anchors.split(value) if self._anchors else None
        return self.node(b"located", map(text_bytes, pieces)) if pieces else text_bytes(value)


def _members(encoder: Encoder, value: Any) -> list[bytes]:
    try:
        return sorted([encoder.encode(member) for member in list(value)])
    except Unstable as error:
        error.steps.append("{...}")
        raise


def _set(encoder: Encoder, value: Any) -> bytes:
    return encoder.node(type(value).__name__.encode(), _members(encoder, value))


def _subclass(content: Handler) -> Handler:
    def handler(encoder: Encoder, value: Any) -> bytes:
        extras = attributes_of(value)
        pieces = encoder.named(type(value)), content(encoder, value), encoder.attributes(extras)
        return encoder.node(b"subclass", pieces)

    return handler


def _dict(encoder: Encoder, value: Any) -> bytes:
    # By the methods of dict: those of a subclass may show anything else.
    return encoder.mapping(b"dict", dict.items(value))


def _default_dict(encoder: Encoder, value: Any) -> bytes:
    return encoder.encode(value.default_factory) + _dict(encoder, value)


def _memoryview(encoder: Encoder, value: Any) -> bytes:
    shape = repr((value.format, value.shape))
    return encoder.node(b"memoryview", (text_bytes(shape), blob(b"b", value.tobytes())))


def _enum(encoder: Encoder, value: Any) -> bytes:
    inner = encoder.encode(value._value_)
    return encoder.node(b"enum", (encoder.named(type(value)), text_bytes(str(value._name_)), inner))


def _zone(encoder: Encoder, value: Any) -> bytes:
    if value.key is None:
        raise Unstable("a ZoneInfo that was read from a file has no name")
    return encoder.node(b"zone", (encoder.named(type(value)), text_bytes(value.key)))


def _by_name(encoder: Encoder, value: Any) -> bytes:
    return encoder.node(
        b"named", (text_bytes(class_name(type(value))), text_bytes(str(value.name)))
    )


def _compiled(encoder: Encoder, value: Any) -> bytes:
    # What Numba would pickle has the number of this very object in it.
    pieces = encoder.encode(value.py_func), encoder.encode(dict(value.targetoptions))
    return encoder.node(b"compiled", (encoder.named(type(value)), *pieces))


def _own(encoder: Encoder, value: Any) -> bytes:
    try:
        answer = value.__fingerprint__()
    except Exception as error:
        raise Unstable(f"{class_name(type(value))}.__fingerprint__ raised {error!r}") from error
    return encoder.node(b"own", (encoder.named(type(value)), encoder.encode(answer)))


def _refuse(encoder: Encoder, value: Any) -> bytes:
    kind = type(value)
    raise Unstable(f"a {kind.__module__}.{kind.__qualname__} is a handle, not a value")


def _path(encoder: Encoder, value: Any) -> bytes:
    pieces = encoder.named(type(value)), encoder.encode(str(value))
    return encoder.node(b"path", (*pieces, encoder.attributes(getattr(value, "__dict__", {}))))


def _find(kind: type) -> Handler:
    if any("__fingerprint__" in cls.__dict__ for cls in kind.__mro__):
        return _own
    if issubclass(kind, enum.Enum):
        return _enum
    if issubclass(kind, CODE_TYPES):
        return Encoder.code
    if issubclass(kind, pathlib.PurePath) and kind.__reduce__ is pathlib.PurePath.__reduce__:
        return _path
    if issubclass(kind, (logging.Logger, logging.Handler)):
        return _by_name
    zones = sys.modules.get("zoneinfo")
    if zones is not None and issubclass(kind, zones.ZoneInfo):
        return _zone
    if any(cls.__module__ == "numba.core.dispatcher" for cls in kind.__mro__):
        return _compiled
    special = array_handler(kind)
    if special is not None:
        return special
    reduces = (kind.__reduce_ex__, kind.__reduce__, getattr(kind, "__getstate__", None))
    for base, content in _BUILTINS.items():
        if issubclass(kind, base):
            plain = (base.__reduce_ex__, base.__reduce__, getattr(base, "__getstate__", None))
            return content if list(reduces) == list(plain) else reduced
    if kind is itertools.count or kind is type(os.environ):
        return lambda encoder, value: encoder.instance(value, _refuse)
    if hasattr(kind, "__next__") and kind.__module__ in _ITERATORS:
        return _refuse
    return reduced


_ITERATORS = ("builtins", itertools.__name__, "_collections_abc", "collections")
_BUILTINS: dict[type, Handler] = {
    collections.OrderedDict: _subclass(
        lambda encoder, value: encoder.mapping(b"ordered", collections.OrderedDict.items(value))
    ),
    collections.defaultdict: _subclass(_default_dict),
    dict: _subclass(_dict),
    set: _subclass(lambda encoder, value: encoder.node(b"set", _members(encoder, value))),
    frozenset: _subclass(lambda encoder, value: encoder.node(b"set", _members(encoder, value))),
    list: _subclass(lambda encoder, value: encoder.sequence(b"list", [*list.__iter__(value)])),
    tuple: _subclass(lambda encoder, value: encoder.sequence(b"tuple", [*tuple.__iter__(value)])),
}
_HANDLERS: dict[type, Handler] = {
    list: lambda encoder, value: encoder.sequence(b"list", value),
    tuple: lambda encoder, value: encoder.sequence(b"tuple", value),
    dict: lambda encoder, value: encoder.mapping(b"dict", value),
    set: _set,
    frozenset: _set,
    memoryview: _memoryview,
    types.MappingProxyType: lambda encoder, value: encoder.mapping(b"proxy", dict(value)),
}
