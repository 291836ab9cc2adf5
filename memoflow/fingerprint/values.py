"""Values: a typed canonical encoding, the same for the same value in every process.

Each value becomes bytes that say where they end: a scalar is written out, a container is a tag
and the digest of its items. So no two values share an encoding by moving a boundary.
"""

from __future__ import annotations

import array
import collections
import copyreg
import enum
import functools
import itertools
import logging
import struct
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

from xxhash import xxh3_128, xxh3_128_digest

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint.arrays import array_handler

_DEEPEST = 200  # levels of three frames; Python allows a thousand, and not all are ours
_REVISITS = 100_000  # of values on cycles, whose encodings cannot be remembered
_NOWHERE = sys.maxsize

CODE_TYPES: tuple[type, ...] = (
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


class Unstable(Exception):
    """A value, or one inside it, has no stable meaning; `steps` lead to it, innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.steps: list[str] = []

    def at(self, name: str) -> NoFingerprintError:
        return NoFingerprintError(name + "".join(reversed(self.steps)), str(self))


def class_name(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


class Encoder:
    """Encode values; hand functions, classes and modules found on the way to `code`.

    `code` returns the text that stands for such an object. `instance` is told the class of each
    instance, so that a caller can add its code.
    """

    def __init__(
        self, code: Callable[[Any], str], instance: Callable[[type], None] = lambda cls: None
    ) -> None:
        self._code = code
        self._instance = instance
        self._above: dict[int, int] = {}  # id -> depth of the values that contain this one
        self._known: dict[int, bytes] = {}
        self._alive: list[object] = []  # keeps ids in `_known` from being given to others
        self._lowest = _NOWHERE  # depth of the outermost value referred back to
        self._revisits = 0

    def encode(self, value: Any) -> bytes:
        """Return the bytes that stand for `value`; Unstable if nothing does."""
        kind = type(value)
        scalar = _SCALARS.get(kind)
        if scalar is not None:
            return scalar(value)
        key = id(value)
        known = self._known.get(key)
        if known is not None:
            return known
        depth = len(self._above)
        above = self._above.get(key)
        if above is not None:
            self._lowest = min(self._lowest, above)
            return b"^" + struct.pack("<q", depth - above)
        if depth >= _DEEPEST:
            raise Unstable(f"it is nested more than {_DEEPEST} levels deep")
        handler = _HANDLERS.get(kind) or _handler(kind)
        outer, self._lowest = self._lowest, _NOWHERE
        self._above[key] = depth
        try:
            encoded = handler(self, value)
        finally:
            del self._above[key]
        if self._lowest >= depth:
            self._lowest = outer
            self._known[key] = encoded
            self._alive.append(value)
        else:
            # What it means depends on what contains it, so it is encoded anew at each place.
            self._lowest = min(self._lowest, outer)
            self._revisits += 1
            if self._revisits > _REVISITS:
                raise Unstable(f"its {kind.__name__} objects refer to each other too often")
        return encoded

    def node(self, tag: bytes, pieces: Iterable[bytes]) -> bytes:
        """Return the encoding of a container with these encoded pieces."""
        hasher = xxh3_128(tag + b"\0")
        for piece in pieces:
            hasher.update(piece)
        return b"#" + hasher.digest()

    def sequence(self, tag: bytes, items: Any) -> bytes:
        """Encode a list or tuple; a flat one of one scalar type at the speed of its bytes."""
        flat = _flat(items) if len(items) > 8 else None
        if flat is not None:
            return self.node(tag + b"*", flat)
        hasher = xxh3_128(tag + b"\0" + struct.pack("<q", len(items)))
        i = -1
        try:
            for item in items:
                i += 1
                hasher.update(self.encode(item))
        except Unstable as error:
            error.steps.append(f"[{i}]")
            raise
        return b"#" + hasher.digest()

    def mapping(self, tag: bytes, items: dict[Any, Any], *, step: str = "[{!r}]") -> bytes:
        """Encode a dict; the order of its items does not count."""
        hasher = xxh3_128(tag + b"\0" + struct.pack("<q", len(items)))
        key: Any = None
        try:
            if all(type(key) is str for key in items):
                for key in sorted(items):
                    hasher.update(_text(key) + self.encode(items[key]))
            else:
                pairs = []
                for key, item in items.items():
                    pairs.append((self.encode(key), self.encode(item)))
                for pair in sorted(pairs):
                    hasher.update(b"".join(pair))
        except Unstable as error:
            error.steps.append(step.format(key) if type(key) in _SCALARS else "[...]")
            raise
        return b"#" + hasher.digest()

    def attributes(self, state: dict[Any, Any]) -> bytes:
        return self.mapping(b"attributes", state, step=".{}")

    def named(self, cls: type) -> bytes:
        """Encode which class this is, by name, and report it."""
        self._instance(cls)
        return _text(class_name(cls))

    def extras(self, value: Any) -> bytes:
        """Encode what an instance of a subclass of a builtin holds besides its content."""
        state = dict(getattr(value, "__dict__", {}))
        for cls in type(value).__mro__:
            slots = cls.__dict__.get("__slots__", ())
            for slot in (slots,) if isinstance(slots, str) else slots:
                if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                    state[slot] = getattr(value, slot)
        return self.attributes(state)

    def code(self, value: Any) -> bytes:
        return b"c" + _text(self._code(value))


def _int(value: int) -> bytes:
    data = value.to_bytes((value.bit_length() + 8) // 8, "little", signed=True)
    return struct.pack("<cI", b"i", len(data)) + data


def _blob(tag: bytes, data: Any) -> bytes:
    size = len(data)
    if size > 64:
        return tag.upper() + struct.pack("<q", size) + xxh3_128_digest(data)
    return tag + struct.pack("<q", size) + bytes(data)


def _text(value: str) -> bytes:
    return _blob(b"s", value.encode("utf-8", "surrogatepass"))


_SCALARS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"N",
    type(Ellipsis): lambda value: b".",
    type(NotImplemented): lambda value: b"!",
    bool: lambda value: b"1" if value else b"0",
    int: _int,
    float: lambda value: struct.pack("<cd", b"f", value),
    complex: lambda value: struct.pack("<cdd", b"j", value.real, value.imag),
    str: _text,
    bytes: lambda value: _blob(b"b", value),
    bytearray: lambda value: _blob(b"y", value),
}


def _flat(items: Any) -> tuple[bytes, ...] | None:
    """Return the bytes of many floats, small ints or texts, or None for anything else."""
    kinds = set(map(type, items))
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind is float:
        return b"d", array.array("d", items).tobytes()
    if kind is int:
        try:
            return b"q", array.array("q", items).tobytes()
        except OverflowError:
            return None
    if kind is str:
        lengths = array.array("q", map(len, items)).tobytes()
        text = "".join(items).encode("utf-8", "surrogatepass")
        return b"s", struct.pack("<q", len(items)), lengths, text
    return None


def _members(encoder: Encoder, value: Any) -> list[bytes]:
    members = []
    for member in value:
        try:
            members.append(encoder.encode(member))
        except Unstable as error:
            error.steps.append("{...}")
            raise
    return sorted(members)


def _set(encoder: Encoder, value: Any) -> bytes:
    return encoder.node(type(value).__name__.encode(), _members(encoder, value))


def _subclass(content: Callable[[Encoder, Any], bytes]) -> Callable[[Encoder, Any], bytes]:
    def handler(encoder: Encoder, value: Any) -> bytes:
        pieces = encoder.named(type(value)), content(encoder, value), encoder.extras(value)
        return encoder.node(b"subclass", pieces)

    return handler


def _dict(encoder: Encoder, value: Any) -> bytes:
    return encoder.mapping(b"dict", dict(value.items()))


def _ordered_dict(encoder: Encoder, value: Any) -> bytes:
    pieces = [encoder.named(type(value))]
    for key, item in value.items():
        try:
            pieces += (encoder.encode(key), encoder.encode(item))
        except Unstable as error:
            error.steps.append(f"[{key!r}]" if type(key) in _SCALARS else "[...]")
            raise
    return encoder.node(b"ordered", [*pieces, encoder.extras(value)])


def _default_dict(encoder: Encoder, value: Any) -> bytes:
    factory = encoder.encode(value.default_factory)
    return encoder.node(
        b"defaultdict",
        (encoder.named(type(value)), factory, _dict(encoder, value), encoder.extras(value)),
    )


def _memoryview(encoder: Encoder, value: Any) -> bytes:
    shape = repr((value.format, value.shape))
    return encoder.node(b"memoryview", (_text(shape), _blob(b"b", value.tobytes())))


def _enum(encoder: Encoder, value: Any) -> bytes:
    inner = encoder.encode(value._value_)
    return encoder.node(b"enum", (encoder.named(type(value)), _text(str(value._name_)), inner))


def _zone(encoder: Encoder, value: Any) -> bytes:
    if value.key is None:
        raise Unstable("a ZoneInfo that was read from a file has no name")
    return encoder.node(b"zone", (encoder.named(type(value)), _text(value.key)))


def _by_name(encoder: Encoder, value: Any) -> bytes:
    return encoder.node(b"named", (_text(class_name(type(value))), _text(str(value.name))))


def _own(encoder: Encoder, value: Any) -> bytes:
    try:
        answer = value.__fingerprint__()
    except Exception as error:
        raise Unstable(f"{class_name(type(value))}.__fingerprint__ raised {error!r}") from error
    return encoder.node(b"own", (encoder.named(type(value)), encoder.encode(answer)))


def _refuse(encoder: Encoder, value: Any) -> bytes:
    kind = type(value)
    raise Unstable(f"a {kind.__module__}.{kind.__qualname__} is a handle, not a value")


def _reduced(encoder: Encoder, value: Any) -> bytes:
    """Encode what pickle would keep of an instance: its class, arguments and state."""
    kind = type(value)
    try:
        reducer = copyreg.dispatch_table.get(kind)
        reduced: Any = reducer(value) if reducer else value.__reduce_ex__(4)
    except RecursionError:
        raise
    except Exception as error:
        raise Unstable(f"{kind.__module__}.{kind.__qualname__} keeps no state ({error})") from error
    if isinstance(reduced, str):
        module = getattr(value, "__module__", None) or kind.__module__
        return encoder.node(b"global", (encoder.named(kind), _text(f"{module}:{reduced}")))
    make, arguments, state, items, pairs = [*reduced, None, None, None][:5]
    pieces = [encoder.named(kind), _maker(encoder, make)]
    pieces += [_argument(encoder, argument) for argument in arguments]
    pieces.append(_state(encoder, state))
    if items is not None:
        pieces.append(encoder.sequence(b"items", list(items)))
    if pairs is not None:
        pieces.append(encoder.mapping(b"pairs", dict(pairs)))
    return encoder.node(b"reduced", pieces)


def _maker(encoder: Encoder, make: Any) -> bytes:
    name = getattr(make, "__qualname__", None)
    if name is None or name.count("<"):
        return encoder.encode(make)
    return _text(f"{make.__module__}:{name}")


def _argument(encoder: Encoder, argument: Any) -> bytes:
    # A class here says what to make: its name counts, as for any other instance, not its code.
    return encoder.named(argument) if isinstance(argument, type) else encoder.encode(argument)


def _state(encoder: Encoder, state: Any) -> bytes:
    if type(state) is dict:
        return encoder.attributes(state)
    if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
        return _state(encoder, state[0]) + encoder.attributes(state[1])
    return encoder.encode(state)


def _handler(kind: type) -> Callable[[Encoder, Any], bytes]:
    handler = _find(kind)
    _HANDLERS[kind] = handler
    return handler


def _find(kind: type) -> Callable[[Encoder, Any], bytes]:
    if any("__fingerprint__" in cls.__dict__ for cls in kind.__mro__):
        return _own
    if issubclass(kind, enum.Enum):
        return _enum
    if issubclass(kind, CODE_TYPES):
        return Encoder.code
    if issubclass(kind, (logging.Logger, logging.Handler)):
        return _by_name
    zones = sys.modules.get("zoneinfo")
    if zones is not None and issubclass(kind, zones.ZoneInfo):
        return _zone
    special = array_handler(kind)
    if special is not None:
        return special
    reduces = (kind.__reduce_ex__, kind.__reduce__, getattr(kind, "__getstate__", None))
    for base, content in _BUILTINS.items():
        if issubclass(kind, base):
            plain = (base.__reduce_ex__, base.__reduce__, getattr(base, "__getstate__", None))
            return content if list(reduces) == list(plain) else _reduced
    if hasattr(kind, "__next__") and kind.__module__ in _ITERATORS:
        return _refuse
    return _reduced


_ITERATORS = ("builtins", itertools.__name__, "_collections_abc", "collections")
_BUILTINS: dict[type, Callable[[Encoder, Any], bytes]] = {
    collections.OrderedDict: _ordered_dict,
    collections.defaultdict: _default_dict,
    dict: _subclass(_dict),
    set: _subclass(lambda encoder, value: encoder.node(b"set", _members(encoder, value))),
    frozenset: _subclass(lambda encoder, value: encoder.node(b"set", _members(encoder, value))),
    list: _subclass(lambda encoder, value: encoder.sequence(b"list", list(value))),
    tuple: _subclass(lambda encoder, value: encoder.sequence(b"tuple", tuple(value))),
}
_HANDLERS: dict[type, Callable[[Encoder, Any], bytes]] = {
    list: lambda encoder, value: encoder.sequence(b"list", value),
    tuple: lambda encoder, value: encoder.sequence(b"tuple", value),
    dict: lambda encoder, value: encoder.mapping(b"dict", value),
    set: _set,
    frozenset: _set,
    memoryview: _memoryview,
    types.MappingProxyType: lambda encoder, value: encoder.mapping(b"proxy", dict(value)),
}
