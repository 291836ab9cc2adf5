"""Flows: the attributes of a flow class of a known `self`."""

from __future__ import annotations

import types
from collections.abc import Callable, Collection, Iterable
from typing import Any

from memoflow.fingerprint.modules import location_named, owner_of_class
from memoflow.fingerprint.values import CODE_TYPES

MISSING = object()
# Kept by Python or a library for itself; what of it matters is looked at in another way.
BOOKKEEPING = frozenset(
    {
        "__abstractmethods__", "__annotate__", "__annotate_func__", "__annotations__",
        "__annotations_cache__", "__attrs_own_setattr__", "__classcell__",
        "__dataclass_fields__", "__dataclass_params__", "__dict__", "__doc__",
        "__firstlineno__", "__match_args__", "__module__", "__non_callable_proto_members__",
        "__orig_bases__", "__parameters__", "__protocol_attrs__", "__qualname__", "__slotnames__",
        "__slots__", "__static_attributes__", "__type_params__", "__weakref__", "_abc_impl",
        "_is_protocol", "_is_runtime_protocol",
    }
)  # fmt: skip
# Asked of an object or class, these tell anything.
TELLING = frozenset(
    {
        "__base__", "__bases__", "__dict__", "__dir__", "__getattr__", "__getattribute__",
        "__getstate__", "__mro__", "__reduce__", "__reduce_ex__", "mro",
    }
)  # fmt: skip
NAMES_OF_CLASS = frozenset({"__module__", "__name__", "__qualname__"})


class Flow:
    """The flow class of `self` in a step."""

    def __init__(
        self, cls: type, name: str, is_step: Callable[[object], bool], kept: Collection[str]
    ) -> None:
        self.cls = cls
        self.root = name
        self.is_step = is_step
        self._kept = kept
        self.classes = [
            each for each in cls.__mro__ if location_named(each.__module__).owner == "user"
        ]
        step = _wrapped(getattr(cls, name, None))
        self.joins = step is not None and step.__code__.co_argcount > 1
        self.names = {(each.__module__, each.__qualname__): each for each in self.classes}

    def called(self, module: str, qualname: str) -> str:
        """Return the name of a function in the fingerprint: equal flows may have other names."""
        prefix = f"{self.cls.__qualname__}."
        if module == self.cls.__module__ and qualname.startswith(prefix):
            return f"self.{qualname.removeprefix(prefix)}"
        return qualname

    def find(self, name: str) -> Any:
        """Return the raw attribute of the class, None for one of Metaflow's, or MISSING."""
        for each in self.homes(name)[:1]:
            known = location_named(each.__module__).owner in ("user", "installed")
            return each.__dict__[name] if known else None
        return MISSING

    def shown(self, cls: type, name: str) -> str:
        """Return the name of a class attribute for digests; the same in equal flows."""
        own = f"_{cls.__name__.lstrip('_')}__"
        plain = f"__{name.removeprefix(own)}" if name.startswith(own) else name
        return self.called(cls.__module__, f"{cls.__qualname__}.{plain}")

    def data(self, *, public: bool) -> Iterable[tuple[type, str, Any]]:
        """Yield (class, name, value) of the data in the user's classes.

        Public data of the flow class itself is made inputs by Metaflow before a step runs; that
        of the classes it is made from is there to be found with `public`.
        """
        for cls in self.classes:
            for name, value in sorted(cls.__dict__.items()):
                known = name in BOOKKEEPING or name in self._kept or name.startswith("_abc_")
                dunder = name.startswith("__") and name.endswith("__")
                ours = owner_of_class(type(value)) == "ours"
                if not (known or dunder or ours or isinstance(value, CODE_TYPES)) and (
                    public or name.startswith("_")
                ):
                    yield cls, name, value

    def homes(self, name: str, *, after: type | None = None) -> list[type]:
        """Return the classes that have an attribute of their own of this name, nearest first."""
        mro = list(self.cls.__mro__)
        start = mro.index(after) + 1 if after else 0
        return [each for each in mro[start:] if name in each.__dict__]

    def owner(self, f: types.FunctionType) -> type | None:
        """Return the class of the flow that a function is a method of."""
        return self.names.get((f.__module__, f.__qualname__.rpartition(".")[0]))

    def is_body(self, f: types.FunctionType) -> bool:
        """Return whether a function is the body of a step: its decorators count elsewhere."""
        owner = self.owner(f)
        name = f.__name__
        if owner is None:
            return False
        return name == self.root or self.is_step(f) or self.is_step(owner.__dict__.get(name))

    def methods(self) -> Iterable[Any]:
        """Yield the code that `self` may look up by any name: all but steps and data."""
        for cls in self.classes:
            for name, value in cls.__dict__.items():
                is_code = isinstance(value, CODE_TYPES) and name not in BOOKKEEPING
                if is_code and name != self.root and not self.is_step(value):
                    yield value


def _wrapped(f: Any) -> types.FunctionType | None:
    """Return the function at the bottom of a stack of `functools.wraps`, or None."""
    while isinstance(f, types.FunctionType) and hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    return f if isinstance(f, types.FunctionType) else None
