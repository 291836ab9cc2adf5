"""Dataclass: the standard library's, in which the methods of all classes are the same.

`dataclasses` writes and compiles up to six methods for each class, which takes 0.5 ms, and a worker
imports some fifty. Here they go by the names of the fields, which takes 0.1 ms. All else is the
standard library's: `replace`, `asdict` and `fields` work, and type checkers see its decorator.
An instance takes two to three times as long to make: what is made by the thousand uses that one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any

_MISSING = dataclasses.MISSING

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls=None, *, frozen=False, eq=True, slots=False):
        """Make a class a dataclass, as the standard library's decorator does."""
        if cls is None:
            return lambda found: dataclass(found, frozen=frozen, eq=eq, slots=slots)
        own = {name for name, value in vars(cls).items() if value is not None}
        cls.__doc__ = cls.__doc__ or cls.__name__  # Or it is made of the signature, which is slow.
        made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        for name, method in _methods(made, frozen=frozen, eq=eq, slots=slots).items():
            if name not in own:
                setattr(made, name, method)
        return made


def _methods(cls: type, *, frozen: bool, eq: bool, slots: bool) -> dict[str, Any]:
    fields = dataclasses.fields(cls)
    methods: dict[str, Any] = {
        "__init__": _init(cls, fields, slots=slots),
        "__repr__": _repr([field.name for field in fields if field.repr]),
    }
    if eq:
        values = _values([field.name for field in fields if field.compare])
        methods["__eq__"] = _eq(values)
        methods["__hash__"] = _hash(values) if frozen else None
    if frozen:
        methods |= {"__setattr__": _no_change, "__delattr__": _no_change}
    if frozen and slots:
        methods |= _state([field.name for field in fields])
    return methods


def _init(
    cls: type, fields: tuple[dataclasses.Field[Any], ...], *, slots: bool
) -> Callable[..., None]:
    names = [field.name for field in fields]
    places = {name: place for place, name in enumerate(names)}
    defaults = [field.default for field in fields]
    factories = [
        (place, field.default_factory)
        for place, field in enumerate(fields)
        if field.default_factory is not _MISSING
    ]
    required = sum(field.default is field.default_factory for field in fields)  # Both missing.
    setters = [getattr(cls, name).__set__ for name in names] if slots else []

    def complete(given: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
        """Return the value of each field: as given, else by default."""
        values = [*given, *defaults[len(given) :]]
        for name, value in named.items():
            if places.get(name, -1) < len(given):
                raise TypeError(f"{cls.__name__}() takes no argument {name!r} here")
            values[places[name]] = value
        for place, factory in factories:
            if values[place] is _MISSING:
                values[place] = factory()
        if len(values) > len(names):
            raise TypeError(f"{cls.__name__}() takes {len(names)} arguments, not {len(values)}")
        for place in range(len(given), required):
            if values[place] is _MISSING:
                raise TypeError(f"{cls.__name__}() lacks the argument {names[place]!r}")
        return values

    def of_dict(self: Any, *given: Any, **named: Any) -> None:
        values = complete(given, named) if named or len(given) != len(names) else given
        vars(self).update(zip(names, values, strict=True))

    def of_slots(self: Any, *given: Any, **named: Any) -> None:
        values = complete(given, named) if named or len(given) != len(names) else given
        for put, value in zip(setters, values, strict=True):
            put(self, value)

    return of_slots if slots else of_dict


def _repr(names: list[str]) -> Callable[[Any], str]:
    def shown(self: Any) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({values})"

    return shown


def _values(names: list[str]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda self: tuple(getattr(self, name) for name in names)


def _eq(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any, Any], Any]:
    def equal(self: Any, other: Any) -> Any:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return values(self) == values(other)

    return equal


def _hash(values: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], int]:
    return lambda self: hash(values(self))


def _no_change(self: Any, name: str, *value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot change field {name!r}")


def _state(names: list[str]) -> dict[str, Any]:
    """Return the methods by which pickles of the standard library's are read and written."""

    def read(self: Any, state: list[Any]) -> None:
        for name, value in zip(names, state, strict=True):
            object.__setattr__(self, name, value)

    return {"__getstate__": lambda self: [getattr(self, name) for name in names],
            "__setstate__": read}  # fmt: skip


__all__ = ["dataclass"]
