"""Members: the attributes of a class that are the user's code and data.

What a library adds to a class of the user's, schemas, validators made of C, registries and
caches, is made from what the user wrote; it differs from process to process, and its package's
version stands for it.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from memoflow.errors import NoFingerprintError
from memoflow.fingerprint.arrays import array_handler
from memoflow.fingerprint.code_unit import CodeUnit
from memoflow.fingerprint.encoding import Unstable
from memoflow.fingerprint.flows import BOOKKEEPING
from memoflow.fingerprint.modules import place_named
from memoflow.fingerprint.name_resolution import follow_statement
from memoflow.fingerprint.ownership import owner_of, owner_of_class, owner_of_function
from memoflow.fingerprint.source import root_of
from memoflow.fingerprint.source_location import written_in_class
from memoflow.fingerprint.values import CODE_TYPES, Encoder
from memoflow.fingerprint.walk import Walk
from memoflow.fingerprint.written import WrittenClass

_GENERATED = ("<string>", "<attrs generated", "<namedtuple")
_PLAIN_METACLASSES = (type, abc.ABCMeta, enum.EnumMeta)


class Members:
    """The attributes of one class of the user's."""

    def __init__(self, walk: Walk, cls: type, body: CodeUnit, written: WrittenClass) -> None:
        self._walk = walk
        self._cls = cls
        self._body = body
        self._written = written
        self._of_framework = _is_of_framework(cls, written)
        generated = dataclasses.is_dataclass(cls) or hasattr(cls, "__attrs_attrs__")
        self._generated = generated or (issubclass(cls, tuple) and hasattr(cls, "_fields"))

    def follow(self, held: dict[str, str]) -> frozenset[str]:
        """Follow the attributes; return the names of those that hold data."""
        members = self._enumeration(held)
        taken = set(members)
        for name, value in sorted(self._cls.__dict__.items()):
            if name in BOOKKEEPING or name in members:
                continue
            if issubclass(self._cls, enum.Enum) and (
                not isinstance(value, CODE_TYPES)
                or (isinstance(value, type) and name.startswith("_"))
            ):
                continue
            if isinstance(value, CODE_TYPES):
                self._code(name, value, held)
            elif type(value).__name__ != "_tuplegetter" and self._data(name, value, held):
                taken.add(name)  # A `_tuplegetter` is the field of a named tuple.
        return frozenset(taken)

    def _enumeration(self, held: dict[str, str]) -> Mapping[str, Any]:
        cls: Any = self._cls
        members = dict(cls.__members__) if issubclass(cls, enum.Enum) else {}
        for name, member in members.items():
            held[name] = self._constant(name, member._value_)
        if members:
            held["members"] = repr(list(members))
        return members

    def _code(self, name: str, value: Any, held: dict[str, str]) -> None:
        inner = getattr(value, "__func__", value)
        path = getattr(getattr(inner, "__code__", None), "co_filename", "")
        if self._generated and path.startswith(_GENERATED):
            return
        if not self._of_framework or name in self._written.assigned:
            held[name] = self._walk.code(value)
            return
        home = getattr(inner, "__globals__", {}).get("__name__", "")
        if path.startswith("<") and place_named(str(home)).owner != "user":
            return
        try:
            held[name] = self._walk.code(value)
        except NoFingerprintError:
            if not path or owner_of_function(inner) == "user":
                raise

    def _data(self, name: str, value: Any, held: dict[str, str]) -> bool:
        """Count an attribute by its value; return False if it does not, or by its statement."""
        assigned = name in self._written.assigned
        library = owner_of_class(type(value)) == "installed" and not array_handler(type(value))
        if assigned and library and (self._of_framework or name in self._written.defined):
            return self._defined(name, held)
        own = assigned or not self._of_framework
        if not own and (name.startswith("__") or library or not self._is_plain(value)):
            return False
        try:
            held[name] = self._constant(name, value)
        except NoFingerprintError:
            # What a metaclass or decorator of a library put there, it can answer for.
            if assigned or (self._written.node is None and not self._of_framework):
                raise
        return True

    def _defined(self, name: str, held: dict[str, str]) -> bool:
        """Count a library's wrapper of a function by the function's statement."""
        node = self._written.defined.get(name)
        if node is not None:
            shown = f"{self._body.shown}.{name}()"
            body = dataclasses.replace(self._body, shown=shown)
            held[name] = follow_statement(self._walk, node, body)
        return False

    def _is_plain(self, value: Any) -> bool:
        """Say whether a value holds nothing of a library's."""
        found: list[type] = []
        try:
            Encoder(lambda code: "", found.append).encode(value)
        except (Unstable, RecursionError):
            return False
        return all(owner_of_class(cls) in ("user", "missing") for cls in found)

    def _constant(self, name: str, value: Any) -> str:
        place = written_in_class(self._cls, name)
        shown = f"{self._body.shown}.{name}"
        return self._walk.constant_part(value, shown, self._body.namespace, *place)


def _is_of_framework(cls: type, written: WrittenClass) -> bool:
    """Say whether a library had a hand in making a class: by a base, metaclass or decorator."""
    made_by = [*type.mro(type(cls))[:-2], *cls.__mro__[1:]]
    if any(owner_of_class(each) == "installed" for each in made_by):
        return True
    decorators = written.node.decorator_list if written.node else ()
    values = (written.namespace.get(root_of(each)) for each in decorators)
    return any(owner_of(value) == "installed" for value in values)
